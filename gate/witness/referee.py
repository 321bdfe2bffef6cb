"""The witness's side: fills inputs that nobody has seen, says go, reads its own clock, and looks at every output."""

from __future__ import annotations

import contextlib
import math
import os
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import torch

from gate.accuracy import allowed_error, ulp_at
from gate.device import Device, Launch, open_device
from gate.implementations import SdpaBackend
from gate.records import Status, Witness
from gate.reference import solve
from gate.sdpa import PREFIX
from gate.witness.arena import Arena, arena_bytes
from gate.witness.channel import Channel, HungUpError, OwnPlayerError, waiting
from gate.witness.messages import Bout, Refereeing, Reply, Start, Witnesses
from gate.witness.player import compete, together

GO, OVER = Reply("go"), Reply("over")
SLACK = 2.0
"""Outputs are held against SDPA, not the oracle, on inputs of their own: as for timed outputs (gate/replicate.py)."""
TRIES, CALLS_A_TRY = 5, 10


class WrongOutputError(Exception):
    """The candidate's output is not what it should be."""


class RefusedError(Exception):
    """The candidate says that it cannot."""


def referee(asked: Refereeing) -> Witnesses:
    """All bouts. Where a player is lost, those that remain say so, and which it was."""
    seen: list[Witness] = []
    with _own_player(asked.device) as own:  # before CUDA is in use, which no fork survives
        device = open_device(asked.device)
        bouts = [sized(device, bout) for bout in asked.bouts]  # before the candidate's process is let in
        try:
            with waiting(Path(asked.folder)) as channel:
                channel.hear(Reply)
                for number, bout in enumerate(bouts):
                    device.begin_peak()  # nothing of the last bout is left, nor shares its memory with this one's
                    seen.append(_Ring(device, asked, bout, asked.seed + number, own, channel).witness())
        except HungUpError as error:
            status = Status.ENVIRONMENT if isinstance(error, OwnPlayerError) else Status.CRASHED
            seen += [Witness(status, str(error))] * (len(bouts) - len(seen))
    return Witnesses(tuple(seen))


@contextlib.contextmanager
def _own_player(device: str) -> Iterator[Channel]:
    """A process that plays the baseline as the candidate is played: what the way there and back takes, it shows."""
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    pid = os.fork()
    if pid == 0:
        ours.close()
        compete(Channel(theirs), open_device(device), _baseline)
        os._exit(0)
    theirs.close()
    with ours:
        yield Channel(ours, OwnPlayerError)


def _baseline(bout: Bout) -> SdpaBackend:
    return SdpaBackend(bout.baseline.removeprefix(PREFIX))


def sized(device: Device, bout: Bout) -> Bout:
    """With as many calls as last for `batch_ms`: no candidate has a say in that."""
    arena = Arena(device.allocate(arena_bytes(one := replace(bout, launches=1))), one)
    arena.inputs.normal_()
    implementation = _baseline(bout)
    launch = together(device, implementation, arena, capture=True)
    _took_ms(device, implementation, launch, 1)
    calls = CALLS_A_TRY if _took_ms(device, implementation, launch, 1) < bout.batch_ms else 1
    shortest = min(_took_ms(device, implementation, launch, calls) for _ in range(TRIES))
    return replace(bout, launches=max(1, min(bout.launches, math.ceil(bout.batch_ms / shortest))))


def _took_ms(device: Device, implementation: SdpaBackend, launch: Launch, calls: int) -> float:
    device.synchronize()
    started = time.perf_counter_ns()
    with implementation.selected():
        for _ in range(calls):
            launch()
    device.synchronize()
    return (time.perf_counter_ns() - started) / 1e6 / calls


class _Ring:
    """One bout: memory shared with either player, and the rounds in it."""

    def __init__(
        self, device: Device, asked: Refereeing, bout: Bout, seed: int, own: Channel, channel: Channel
    ) -> None:
        self._device, self._bout, self._count = device, bout, asked.rounds
        self._channels = own, channel
        shared = [device.share(arena_bytes(bout), Path(asked.folder)) for _ in self._channels]
        self._handles = [handle for _, handle in shared]
        self._ours, self._theirs = (Arena(memory, bout) for memory, _ in shared)
        self._secret, self._seen = torch.empty_like(self._ours.inputs), torch.zeros_like(self._ours.out)
        self._generator = torch.Generator(device.kind).manual_seed(seed)
        self._implementation = _baseline(bout)

    def witness(self) -> Witness:
        """Raises HungUpError where the candidate's process is lost."""
        try:
            candidate, near, far = zip(*self._rounds(), strict=True)
            seen = Witness(Status.OK, "", self._bout.launches, candidate, near, far, self._bout.direct)
        except WrongOutputError as error:
            seen = Witness(Status.INCORRECT, str(error), self._bout.launches)
        except RefusedError as error:
            return Witness(Status.CRASHED, str(error), self._bout.launches)
        self._end()
        return seen

    def _rounds(self) -> list[tuple[float, float, float]]:
        """Milliseconds of candidate, baseline and baseline in a process of its own, round by round."""
        self._secret.normal_(generator=self._generator)
        for arena in (self._ours, self._theirs):
            _fill(arena, self._secret)
        launch = together(self._device, self._implementation, self._ours, capture=True)
        self._device.synchronize()
        self._error = _own_error(self._secret, self._bout)
        for channel, handle in zip(self._channels, self._handles, strict=True):
            channel.say(Start(self._bout, handle))
            _expect("ready", channel)
            self._device.unshare(handle)
        return [self._round(number, launch) for number in range(self._count)]

    def _end(self) -> None:
        """Either player gets ready for the next bout, whatever came of this one."""
        for channel in self._channels:
            channel.say(OVER)
            _expect("here", channel)

    def _round(self, number: int, launch: Launch) -> tuple[float, float, float]:
        own, channel = self._channels
        self._secret.normal_(generator=self._generator)
        near = self._clocked(self._ours, lambda: self._run(launch))
        far = self._clocked(self._ours, lambda: _go(own))
        self._secret.normal_(generator=self._generator)  # what `ours` held may have been seen
        candidate = self._clocked(self._theirs, lambda: _go(channel))
        self._seen.copy_(self._theirs.out)  # what comes later comes too late
        self._device.synchronize()
        _verify(number, self._seen, self._theirs, self._secret, self._bout, self._error)
        return candidate, near, far

    def _clocked(self, arena: Arena, work: Callable[[], None]) -> float:
        _fill(arena, self._secret)
        self._device.synchronize()
        started = time.perf_counter_ns()
        work()
        return (time.perf_counter_ns() - started) / 1e6

    def _run(self, launch: Launch) -> None:
        with self._implementation.selected():
            launch()
        self._device.synchronize()


def _fill(arena: Arena, secret: torch.Tensor) -> None:
    arena.out.fill_(float("nan"))
    arena.inputs.copy_(secret)


def _go(channel: Channel) -> None:
    channel.say(GO)
    _expect("done", channel)


def _expect(word: str, channel: Channel) -> None:
    heard = channel.hear(Reply)
    if heard.word == "failed" and channel.lost is HungUpError:
        raise RefusedError(heard.message)
    if heard.word != word:
        raise channel.lost(f"the other side said '{heard.word[:20]}' instead of '{word}' {heard.message}")


def _own_error(secret: torch.Tensor, bout: Bout) -> float:
    """What SDPA errs by on the first call's inputs. The check knows too, but in the candidate's process."""
    batch, scale, causal = bout.workload.batch, bout.workload.head_dim**-0.5, bout.workload.causal
    q, k, v = (each[:batch] for each in secret)
    return allowed_error((q, k, v), scale, causal, solve(q, k, v, scale, causal))


def _verify(
    number: int, seen: torch.Tensor, theirs: Arena, secret: torch.Tensor, bout: Bout, own_error: float
) -> None:
    """Raises WrongOutputError for the first call whose output is off, or whose inputs were written to."""
    if not torch.equal(theirs.inputs, secret):
        raise WrongOutputError(f"round {number}: wrote to its inputs")
    attention = torch.nn.functional.scaled_dot_product_attention
    scale, causal, batch = bout.workload.head_dim**-0.5, bout.workload.causal, bout.workload.batch
    for call, (q, k, v, out) in enumerate(zip(*(torch.split(each, batch) for each in (*secret, seen)), strict=True)):
        expected = attention(q, k, v, is_causal=causal, scale=scale)
        error, magnitude = torch.stack(
            [(out.double() - expected.double()).abs().max(), expected.abs().max().double()]
        ).tolist()
        limit = SLACK * (2 * own_error + ulp_at(magnitude, expected.dtype))
        if not error <= limit:
            raise WrongOutputError(f"round {number}, call {call}: off by {error:.2e}, more than {limit:.2e}")
