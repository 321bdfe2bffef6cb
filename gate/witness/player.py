"""The candidate's side: maps the memory, gets ready, and computes at `go`. Nothing that it says is evidence."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable
from pathlib import Path

import torch

from gate.buffers import GuardedTensor
from gate.device import Device, Launch, open_device
from gate.implementations import CandidateError, Implementation, open_implementation
from gate.records import Status
from gate.witness.arena import Arena, arena_bytes
from gate.witness.channel import Channel, HungUpError, meeting
from gate.witness.messages import Bout, Played, Playing, Reply, Start

HERE, READY, DONE, FAILED = (Reply(word) for word in ("here", "ready", "done", "failed"))


def play(asked: Playing) -> Played:
    """The candidate in every bout, until the referee hangs up."""
    with meeting(Path(asked.folder)) as channel:
        channel.say(HERE)
        candidate = open_implementation(asked.impl, asked.candidate)
        compete(channel, open_device(asked.device), lambda _: candidate)
    return Played(Status.OK)


def compete(channel: Channel, device: Device, player: Callable[[Bout], Implementation]) -> None:
    """Bout after bout, until the referee hangs up."""
    with contextlib.suppress(HungUpError):
        while True:
            start = channel.hear(Start)
            _bout(channel, device, player(start.bout), start)
            gc.collect()


def _bout(channel: Channel, device: Device, implementation: Implementation, start: Start) -> None:
    arena = Arena(device.open_shared(start.handle, arena_bytes(start.bout)), start.bout)
    try:
        launch = together(device, implementation, arena, capture=not start.bout.direct)
        _run(device, implementation, launch)
    except CandidateError as error:
        channel.say(Reply("failed", str(error)))
        raise
    channel.say(READY)
    while channel.hear(Reply).word == "go":
        _run(device, implementation, launch)
        channel.say(DONE)
    channel.say(HERE)


def _run(device: Device, implementation: Implementation, launch: Launch) -> None:
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
