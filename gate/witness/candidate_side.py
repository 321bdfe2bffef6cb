"""The candidate's side: maps the memory, gets ready, and computes at `go`. Nothing that it says is evidence."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import torch

from gate.records import Status
from gate.runtime.device import Device, Launch, open_device
from gate.runtime.guarded_tensor import GuardedTensor
from gate.runtime.implementations import CandidateError, Implementation, open_implementation
from gate.witness.protocol import CandidateSideAnswer, CandidateSideRequest, Reply, Shared, Start, WitnessBatch
from gate.witness.shared_memory import SharedTensors
from gate.witness.socket_channel import Channel, HungUpError, connected

HERE, READY, DONE, FAILED = (Reply(word) for word in ("here", "ready", "done", "failed"))


def run_candidate_side(asked: CandidateSideRequest) -> CandidateSideAnswer:
    """The candidate in every batch, until the trusted side hangs up; if that never came, no candidate is to blame."""
    with contextlib.suppress(HungUpError), connected(Path(asked.folder)) as channel:
        channel.wait()  # the witness times SDPA meanwhile, and this process does nothing beside it
        device = open_device(asked.device)
        memory = map_shared(channel, device)
        candidate = open_implementation(asked.impl, asked.candidate)
        serve_batches(channel, device, memory, lambda _: candidate)
    return CandidateSideAnswer(Status.OK)


def map_shared(channel: Channel, device: Device) -> torch.Tensor:
    """The memory of all batches."""
    shared = channel.hear(Shared)
    memory = device.open_shared(shared.handle, shared.size)
    channel.say(HERE)
    return memory


def serve_batches(
    channel: Channel,
    device: Device,
    memory: torch.Tensor,
    implementation_of: Callable[[WitnessBatch], Implementation],
) -> None:
    """Bout after batch. Raises HungUpError where the trusted side hangs up."""
    while True:
        witness_batch = channel.hear(Start).witness_batch
        _serve_batch(
            channel,
            device,
            implementation_of(witness_batch),
            SharedTensors(memory, witness_batch),
            capture=not witness_batch.uncaptured,
        )
        device.reset_peak()  # its graph and outputs are gone before the next batch needs room
        channel.say(HERE)


def _serve_batch(
    channel: Channel, device: Device, implementation: Implementation, tensors: SharedTensors, capture: bool
) -> None:
    try:
        launch = capture_batch(device, implementation, tensors, capture)
        compute(device, implementation, launch)
    except CandidateError as error:
        channel.say(Reply("failed", str(error)))
        raise
    channel.say(READY)
    while channel.hear(Reply).word == "go":
        compute(device, implementation, launch)
        channel.say(DONE)


def compute(device: Device, implementation: Implementation, launch: Launch) -> None:
    """The launch, to its end."""
    with implementation.selected():
        launch()
    device.synchronize()


def capture_batch(device: Device, implementation: Implementation, tensors: SharedTensors, capture: bool) -> Launch:
    """All calls of a batch as one launch."""
    launches: list[Launch] = []
    workspace: GuardedTensor | None = None
    for operands in tensors.calls():
        bound = implementation.bind(operands, device, workspace)
        workspace = bound.workspace
        launches.append(bound.launch)

    def launch() -> torch.Tensor:
        return [each() for each in launches][-1]

    if not capture:
        return launch
    with implementation.selected():
        return device.capture(launch).launch
