"""The candidate's side: maps the memory, gets ready, and computes at `go`. Nothing that it says is evidence."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import torch

from gate.buffers import GuardedTensor
from gate.device import Device, Launch, open_device
from gate.implementations import CandidateError, Implementation, open_implementation
from gate.records import Status
from gate.witness.arena import Arena
from gate.witness.channel import Channel, HungUpError, meeting
from gate.witness.messages import Bout, Played, Playing, Reply, Shared, Start

HERE, READY, DONE, FAILED = (Reply(word) for word in ("here", "ready", "done", "failed"))


def play(asked: Playing) -> Played:
    """The candidate in every bout, until the referee hangs up; where it never came, no candidate is to blame."""
    with contextlib.suppress(HungUpError), meeting(Path(asked.folder)) as channel:
        channel.wait()  # the witness times SDPA meanwhile, and this process does nothing beside it
        device = open_device(asked.device)
        memory = mapped(channel, device)
        candidate = open_implementation(asked.impl, asked.candidate)
        compete(channel, device, memory, lambda _: candidate)
    return Played(Status.OK)


def mapped(channel: Channel, device: Device) -> torch.Tensor:
    """The memory of all bouts."""
    shared = channel.hear(Shared)
    memory = device.open_shared(shared.handle, shared.size)
    channel.say(HERE)
    return memory


def compete(channel: Channel, device: Device, memory: torch.Tensor, player: Callable[[Bout], Implementation]) -> None:
    """Bout after bout. Raises HungUpError where the referee hangs up."""
    while True:
        bout = channel.hear(Start).bout
        _bout(channel, device, player(bout), Arena(memory, bout), capture=not bout.direct)
        device.begin_peak()  # its graph and outputs are gone before the next bout needs room
        channel.say(HERE)


def _bout(channel: Channel, device: Device, implementation: Implementation, arena: Arena, capture: bool) -> None:
    try:
        launch = together(device, implementation, arena, capture)
        run(device, implementation, launch)
    except CandidateError as error:
        channel.say(Reply("failed", str(error)))
        raise
    channel.say(READY)
    while channel.hear(Reply).word == "go":
        run(device, implementation, launch)
        channel.say(DONE)


def run(device: Device, implementation: Implementation, launch: Launch) -> None:
    """The launch, to its end."""
    with implementation.selected():
        launch()
    device.synchronize()


def together(device: Device, implementation: Implementation, arena: Arena, capture: bool) -> Launch:
    """All calls of a bout as one launch."""
    launches: list[Launch] = []
    workspace: GuardedTensor | None = None
    for operands in arena.calls():
        bound = implementation.bind(operands, device, workspace)
        workspace = bound.workspace
        launches.append(bound.launch)

    def launch() -> torch.Tensor:
        return [each() for each in launches][-1]

    if not capture:
        return launch
    with implementation.selected():
        return device.capture(launch).launch
