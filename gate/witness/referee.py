"""The witness's side: fills inputs that nobody has seen, says go, reads its own clock, and looks at every output."""

from __future__ import annotations

import contextlib
import math
import os
import socket
import time
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NoReturn, TypeVar

import torch

from gate.accuracy import allowed_error, sdpa_answer, timed_limit
from gate.device import Device, Launch, open_device
from gate.implementations import SdpaBackend
from gate.records import Status, Witness
from gate.reference import solve
from gate.sdpa import PREFIX
from gate.witness.arena import TENSORS, Arena, Lent, arena_bytes
from gate.witness.channel import Channel, HungUpError, OwnPlayerError, RefusedError, waiting
from gate.witness.clock import TRIES, Clock
from gate.witness.messages import Bout, Refereeing, Reply, Start, Witnesses
from gate.witness.player import compete, mapped, run, together

GO, OVER = Reply("go"), Reply("over")
CALLS_A_TRY = 10
VERIFIED_BYTES = 32 << 20
"""Of outputs at once. With the answers, both in float64, and the errors they take 14 times as much."""

T = TypeVar("T")


class WrongOutputError(Exception):
    """The candidate's output is not what it should be."""


def referee(asked: Refereeing) -> Witnesses:
    """All bouts. Where a player is lost, those that remain say so, and which it was."""
    seen: list[Witness] = []
    with _own_player(asked.device) as own:  # before CUDA is in use, which no fork survives
        device, folder = open_device(asked.device), Path(asked.folder)
        try:
            with waiting(folder) as channel:
                bouts = [sized(device, bout) for bout in _while_met(channel, asked.bouts)]
                ours, theirs, clocks = lent(device, folder, bouts)
                ours.let_in(own)
                pairs = _while_met(channel, zip(bouts, clocks, strict=True))
                alone = [alone_ms(device, bout, clock, asked.rounds) for bout, clock in pairs]
                theirs.let_in(channel)
                channel.lost = HungUpError  # the candidate is loaded from now on
                for bout, clock, shortest in zip(bouts, clocks, alone, strict=True):
                    device.begin_peak()  # the graph and the outputs of the last bout are gone
                    witness = _Ring(device, bout, asked.rounds, clock, own, channel).witness()
                    seen.append(replace(witness, alone_ms=shortest))
        except HungUpError as error:
            seen += [Witness(error.status, str(error))] * (len(asked.bouts) - len(seen))
    return Witnesses(tuple(seen))


def _while_met(channel: Channel, each: Iterable[T]) -> Iterator[T]:
    """One after the other, as long as the candidate's process, which waits meanwhile, is there."""
    for one in each:
        channel.require_silence()
        yield one


def lent(device: Device, folder: Path, bouts: list[Bout]) -> tuple[Lent, Lent, list[Clock]]:
    """Memory for the witness's own player and for the candidate, and each bout's clock on it."""
    device.begin_peak()  # else a piece could be cut from a larger one that is free
    size = max(map(arena_bytes, bouts))
    ours, theirs, private = Lent(device, size, folder), Lent(device, size, folder), device.allocate(size)
    return ours, theirs, [Clock(device, bout, ours.memory, theirs.memory, private) for bout in bouts]


@contextlib.contextmanager
def _own_player(device: str) -> Iterator[Channel]:
    """A process that plays the baseline as the candidate is played: what the way there and back takes, it shows."""
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    pid = os.fork()
    if pid == 0:
        ours.close()
        _play_baseline(Channel(theirs), device)
    theirs.close()
    with ours:
        yield Channel(ours, OwnPlayerError)


def _play_baseline(channel: Channel, kind: str) -> NoReturn:
    """Never returns to what the referee was doing when it forked."""
    try:
        device = open_device(kind)
        compete(channel, device, mapped(channel, device), _baseline)
    except HungUpError:
        os._exit(0)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)


def _baseline(bout: Bout) -> SdpaBackend:
    return SdpaBackend(bout.baseline.removeprefix(PREFIX))


def sized(device: Device, bout: Bout) -> Bout:
    """With as many calls as last for `batch_ms` and fit: no candidate has a say in that."""
    arena = Arena(device.allocate(arena_bytes(one := replace(bout, launches=1))), one)
    arena.inputs.normal_()
    implementation = _baseline(bout)
    launch = together(device, implementation, arena, capture=True)
    _took_ms(device, implementation, launch, 1)
    calls = CALLS_A_TRY if _took_ms(device, implementation, launch, 1) < bout.batch_ms else 1
    shortest = min(_took_ms(device, implementation, launch, calls) for _ in range(TRIES))
    fitting = device.most_shared // bout.workload.bytes
    return replace(bout, launches=max(1, min(bout.launches, fitting, math.ceil(bout.batch_ms / shortest))))


def alone_ms(device: Device, bout: Bout, clock: Clock, rounds: int) -> float:
    """The baseline's shortest batch: of later ones, a candidate could make every one longer."""
    device.begin_peak()
    clock.rehearse()
    implementation = _baseline(bout)
    launch = together(device, implementation, clock.ours, capture=True)
    return min(clock.time_ms(clock.ours, lambda: run(device, implementation, launch)) for _ in range(rounds))


def _took_ms(device: Device, implementation: SdpaBackend, launch: Launch, calls: int) -> float:
    device.synchronize()
    started = time.perf_counter_ns()
    with implementation.selected():
        for _ in range(calls):
            launch()
    device.synchronize()
    return (time.perf_counter_ns() - started) / 1e6 / calls


class _Ring:
    """One bout: the clock, either player, and the rounds."""

    def __init__(self, device: Device, bout: Bout, rounds: int, clock: Clock, own: Channel, channel: Channel) -> None:
        self._device, self._bout, self._count, self._clock = device, bout, rounds, clock
        self._channels = own, channel
        self._implementation = _baseline(bout)

    def witness(self) -> Witness:
        """Raises HungUpError where a player is lost that nothing was seen of yet."""
        seen = self._seen()
        try:
            self._end()
        except HungUpError:
            if seen.status is Status.OK:
                raise
        return seen

    def _seen(self) -> Witness:
        try:
            candidate, near, far = zip(*self._rounds(), strict=True)
        except WrongOutputError as error:
            return Witness(Status.INCORRECT, str(error), self._bout.launches)
        except RefusedError as error:
            return Witness(Status.CRASHED, str(error), self._bout.launches)
        return Witness(Status.OK, "", self._bout.launches, candidate, near, far, self._bout.direct)

    def _rounds(self) -> list[tuple[float, float, float]]:
        """Milliseconds of candidate, baseline and baseline in a process of its own, round by round."""
        self._clock.rehearse()
        for channel in self._channels:
            channel.say(Start(self._bout))
        launch = together(self._device, self._implementation, self._clock.ours, capture=True)
        error = _own_error(self._clock.secret, self._bout)
        for channel in self._channels:  # both got ready meanwhile
            channel.expect("ready")
        return [self._round(number, launch, error) for number in range(self._count)]

    def _end(self) -> None:
        """Either player gets ready for the next bout, whatever came of this one."""
        for channel in self._channels:
            channel.say(OVER)
        for channel in self._channels:
            channel.expect("here")

    def _round(self, number: int, launch: Launch, error: float) -> tuple[float, float, float]:
        clock, (own, channel) = self._clock, self._channels
        clock.draw()
        near = clock.time_ms(clock.ours, lambda: run(self._device, self._implementation, launch))
        clock.draw()  # as before the candidate's turn: a CPU's other processes are slow to wake after it
        far = clock.time_ms(clock.ours, lambda: _go(own))
        clock.draw()  # what `ours` held may have been seen
        candidate = clock.time_ms(clock.theirs, lambda: _go(channel))
        _verify(number, clock, self._bout, error)
        return candidate, near, far


def _go(channel: Channel) -> None:
    channel.say(GO)
    channel.expect("done")


def _own_error(secret: torch.Tensor, bout: Bout) -> float:
    """What SDPA errs by on the first call's inputs. The check knows too, but in the candidate's process."""
    batch, scale, causal = bout.workload.batch, bout.workload.head_dim**-0.5, bout.workload.causal
    q, k, v = (each[:batch] for each in secret)
    return allowed_error((q, k, v), scale, causal, solve(q, k, v, scale, causal))


def _verify(number: int, clock: Clock, bout: Bout, own_error: float) -> None:
    """Raises WrongOutputError for the first call whose output is off, or whose inputs were written to."""
    if not torch.equal(clock.theirs.inputs, clock.secret):
        raise WrongOutputError(f"round {number}: wrote to its inputs")
    for call, (error, magnitude) in enumerate(errors(clock, bout)):
        limit = timed_limit(own_error, magnitude, clock.seen.dtype)
        if not error <= limit:
            raise WrongOutputError(f"round {number}, call {call}: off by {error:.2e}, more than {limit:.2e}")


def errors(clock: Clock, bout: Bout) -> Iterator[tuple[float, float]]:
    """Of every call, how far its output is from SDPA's, and the largest magnitude of that: read many at a time."""
    workload, batch = bout.workload, bout.workload.batch
    at_once = batch * max(1, TENSORS * VERIFIED_BYTES // workload.bytes)
    for *inputs, out in zip(*(torch.split(each, at_once) for each in (*clock.secret, clock.seen)), strict=True):
        calls = zip(*(torch.split(each, batch) for each in inputs), strict=True)
        answers = [sdpa_answer(call, workload.head_dim**-0.5, workload.causal) for call in calls]
        expected = torch.cat(answers).double()
        off = (out.double() - expected).abs().view(len(answers), -1).amax(1)
        magnitudes = expected.abs().view(len(answers), -1).amax(1)
        yield from zip(*torch.stack([off, magnitudes]).tolist(), strict=True)
