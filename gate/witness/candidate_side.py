"""The candidate's side: maps the shared memory, warms up, and computes at `go`. Nothing that it sends is evidence."""

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
from gate.witness.socket_channel import Channel, DisconnectedError, connected

HERE, READY, DONE, FAILED = (Reply(word) for word in ("here", "ready", "done", "failed"))


def run_candidate_side(request: CandidateSideRequest) -> CandidateSideAnswer:
    """Runs the candidate in every batch, until the trusted side disconnects. If it never connected, all is `ok`."""
    with contextlib.suppress(DisconnectedError), connected(Path(request.folder)) as channel:
        channel.wait()  # this process stays idle while the witness times SDPA alone
        device = open_device(request.device)
        memory = map_shared(channel, device)
        candidate = open_implementation(request.impl, request.candidate)
        serve_batches(channel, device, memory, lambda _: candidate)
    return CandidateSideAnswer(Status.OK)


def map_shared(channel: Channel, device: Device) -> torch.Tensor:
    """Maps the shared memory of all batches."""
    shared = channel.receive(Shared)
    memory = device.open_shared(shared.handle, shared.size)
    channel.send(HERE)
    return memory


def serve_batches(
    channel: Channel,
    device: Device,
    memory: torch.Tensor,
    implementation_of: Callable[[WitnessBatch], Implementation],
) -> None:
    """Serves one batch after another. Raises DisconnectedError when the trusted side disconnects."""
    while True:
        witness_batch = channel.receive(Start).witness_batch
        _serve_batch(
            channel,
            device,
            implementation_of(witness_batch),
            SharedTensors(memory, witness_batch),
            capture=not witness_batch.uncaptured,
        )
        device.reset_peak()  # frees the graph and the outputs before the next batch
        channel.send(HERE)


def _serve_batch(
    channel: Channel, device: Device, implementation: Implementation, tensors: SharedTensors, capture: bool
) -> None:
    try:
        launch = capture_batch(device, implementation, tensors, capture)
        compute(device, implementation, launch)
    except CandidateError as error:
        channel.send(Reply("failed", str(error)))
        raise
    channel.send(READY)
    while channel.receive(Reply).word == "go":
        compute(device, implementation, launch)
        channel.send(DONE)


def compute(device: Device, implementation: Implementation, launch: Launch) -> None:
    """Launches, and waits for the end."""
    with implementation.selected():
        launch()
    device.synchronize()


def capture_batch(device: Device, implementation: Implementation, tensors: SharedTensors, capture: bool) -> Launch:
    """One launch of all calls of a batch; with `capture`, as a graph. Raises CaptureError."""
    launches: list[Launch] = []
    workspace: GuardedTensor | None = None
    for operands in tensors.calls():
        bound = implementation.bind(operands, device, workspace)
        workspace = bound.workspace
        launches.append(bound.launch)

    def launch() -> torch.Tensor:
        return [call() for call in launches][-1]

    if not capture:
        return launch
    with implementation.selected():
        return device.capture(launch).launch
