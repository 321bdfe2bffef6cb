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

from gate.check.accuracy import allowed_error, sdpa_answer, timed_limit
from gate.check.oracle import solve
from gate.records import Status, Witness
from gate.records.sdpa import PREFIX
from gate.runtime.device import Device, Launch, open_device
from gate.runtime.implementations import SdpaBackend
from gate.witness.candidate_side import capture_batch, compute, map_shared, serve_batches
from gate.witness.clock import TRIES, Clock
from gate.witness.protocol import Reply, Start, TrustedSideAnswer, TrustedSideRequest, WitnessBatch
from gate.witness.shared_memory import TENSORS, SharedMemory, SharedTensors, shared_bytes
from gate.witness.socket_channel import BaselineProcessError, CandidateRefusedError, Channel, HungUpError, listening

GO, OVER = Reply("go"), Reply("over")
CALLS_A_TRY = 10
VERIFIED_BYTES = 32 << 20
"""Of outputs at once. With the answers, both in float64, and the errors they take 14 times as much."""

T = TypeVar("T")


class WrongOutputError(Exception):
    """The candidate's output is not what it should be."""


def run_trusted_side(asked: TrustedSideRequest) -> TrustedSideAnswer:
    """All batches. Where a candidate's side is lost, those that remain say so, and which it was."""
    seen: list[Witness] = []
    with _baseline_process(asked.device) as own:  # before CUDA is in use, which no fork survives
        device, folder = open_device(asked.device), Path(asked.folder)
        try:
            with listening(folder) as channel:
                witness_batches = [
                    size_batch(device, witness_batch) for witness_batch in _while_met(channel, asked.witness_batches)
                ]
                ours, theirs, clocks = allocate_shared(device, folder, witness_batches)
                ours.admit(own)
                pairs = _while_met(channel, zip(witness_batches, clocks, strict=True))
                alone = [
                    baseline_solo_ms(device, witness_batch, clock, asked.rounds) for witness_batch, clock in pairs
                ]
                theirs.admit(channel)
                channel.lost = HungUpError  # the candidate is loaded from now on
                for witness_batch, clock, shortest in zip(witness_batches, clocks, alone, strict=True):
                    device.reset_peak()  # the graph and the outputs of the last batch are gone
                    witness = _BatchTrial(device, witness_batch, asked.rounds, clock, own, channel).witness()
                    seen.append(replace(witness, baseline_solo_ms=shortest))
        except HungUpError as error:
            seen += [Witness(error.status, str(error))] * (len(asked.witness_batches) - len(seen))
    return TrustedSideAnswer(tuple(seen))


def _while_met(channel: Channel, each: Iterable[T]) -> Iterator[T]:
    """One after the other, as long as the candidate's process, which waits meanwhile, is there."""
    for one in each:
        channel.require_silence()
        yield one


def allocate_shared(
    device: Device, folder: Path, witness_batches: list[WitnessBatch]
) -> tuple[SharedMemory, SharedMemory, list[Clock]]:
    """Memory for the witness's own candidate's side and for the candidate, and each batch's clock on it."""
    device.reset_peak()  # else a piece could be cut from a larger one that is free
    size = max(map(shared_bytes, witness_batches))
    ours, theirs, private = (
        SharedMemory(device, size, folder),
        SharedMemory(device, size, folder),
        device.allocate(size),
    )
    return (
        ours,
        theirs,
        [Clock(device, witness_batch, ours.memory, theirs.memory, private) for witness_batch in witness_batches],
    )


@contextlib.contextmanager
def _baseline_process(device: str) -> Iterator[Channel]:
    """A process that plays the baseline as the candidate is played: what the way there and back takes, it shows."""
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    pid = os.fork()
    if pid == 0:
        ours.close()
        _serve_baseline(Channel(theirs), device)
    theirs.close()
    with ours:
        yield Channel(ours, BaselineProcessError)


def _serve_baseline(channel: Channel, kind: str) -> NoReturn:
    """Never returns to what the trusted side was doing when it forked."""
    try:
        device = open_device(kind)
        serve_batches(channel, device, map_shared(channel, device), _baseline)
    except HungUpError:
        os._exit(0)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)


def _baseline(witness_batch: WitnessBatch) -> SdpaBackend:
    return SdpaBackend(witness_batch.baseline.removeprefix(PREFIX))


def size_batch(device: Device, witness_batch: WitnessBatch) -> WitnessBatch:
    """With as many calls as last for `batch_ms` and fit: no candidate has a say in that."""
    tensors = SharedTensors(device.allocate(shared_bytes(one := replace(witness_batch, launches=1))), one)
    tensors.inputs.normal_()
    implementation = _baseline(witness_batch)
    launch = capture_batch(device, implementation, tensors, capture=True)
    _took_ms(device, implementation, launch, 1)
    calls = CALLS_A_TRY if _took_ms(device, implementation, launch, 1) < witness_batch.batch_ms else 1
    shortest = min(_took_ms(device, implementation, launch, calls) for _ in range(TRIES))
    fitting = device.max_shared_bytes // witness_batch.workload.bytes
    return replace(
        witness_batch,
        launches=max(1, min(witness_batch.launches, fitting, math.ceil(witness_batch.batch_ms / shortest))),
    )


def baseline_solo_ms(device: Device, witness_batch: WitnessBatch, clock: Clock, rounds: int) -> float:
    """The baseline's shortest batch: of later ones, a candidate could make every one longer."""
    device.reset_peak()
    clock.warm_up()
    implementation = _baseline(witness_batch)
    launch = capture_batch(device, implementation, clock.ours, capture=True)
    return min(clock.time_ms(clock.ours, lambda: compute(device, implementation, launch)) for _ in range(rounds))


def _took_ms(device: Device, implementation: SdpaBackend, launch: Launch, calls: int) -> float:
    device.synchronize()
    started = time.perf_counter_ns()
    with implementation.selected():
        for _ in range(calls):
            launch()
    device.synchronize()
    return (time.perf_counter_ns() - started) / 1e6 / calls


class _BatchTrial:
    """One batch: the clock, either candidate's side, and the rounds."""

    def __init__(
        self, device: Device, witness_batch: WitnessBatch, rounds: int, clock: Clock, own: Channel, channel: Channel
    ) -> None:
        self._device, self._bout, self._count, self._clock = device, witness_batch, rounds, clock
        self._channels = own, channel
        self._implementation = _baseline(witness_batch)

    def witness(self) -> Witness:
        """Raises HungUpError where a candidate's side is lost that nothing was seen of yet."""
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
        except CandidateRefusedError as error:
            return Witness(Status.CRASHED, str(error), self._bout.launches)
        return Witness(Status.OK, "", self._bout.launches, candidate, near, far, self._bout.uncaptured)

    def _rounds(self) -> list[tuple[float, float, float]]:
        """Milliseconds of candidate, baseline and baseline in a process of its own, round by round."""
        self._clock.warm_up()
        for channel in self._channels:
            channel.say(Start(self._bout))
        launch = capture_batch(self._device, self._implementation, self._clock.ours, capture=True)
        error = _own_error(self._clock.secret, self._bout)
        for channel in self._channels:  # both got ready meanwhile
            channel.expect("ready")
        return [self._round(number, launch, error) for number in range(self._count)]

    def _end(self) -> None:
        """Either candidate's side gets ready for the next batch, whatever came of this one."""
        for channel in self._channels:
            channel.say(OVER)
        for channel in self._channels:
            channel.expect("here")

    def _round(self, number: int, launch: Launch, error: float) -> tuple[float, float, float]:
        clock, (own, channel) = self._clock, self._channels
        clock.draw()
        near = clock.time_ms(clock.ours, lambda: compute(self._device, self._implementation, launch))
        clock.draw()  # as before the candidate's turn: a CPU's other processes are slow to wake after it
        far = clock.time_ms(clock.ours, lambda: _go(own))
        clock.draw()  # what `ours` held may have been seen
        candidate = clock.time_ms(clock.theirs, lambda: _go(channel))
        _verify(number, clock, self._bout, error)
        return candidate, near, far


def _go(channel: Channel) -> None:
    channel.say(GO)
    channel.expect("done")


def _own_error(secret: torch.Tensor, witness_batch: WitnessBatch) -> float:
    """What SDPA errs by on the first call's inputs. The check knows too, but in the candidate's process."""
    batch, scale, causal = (
        witness_batch.workload.batch,
        witness_batch.workload.head_dim**-0.5,
        witness_batch.workload.causal,
    )
    q, k, v = (each[:batch] for each in secret)
    return allowed_error((q, k, v), scale, causal, solve(q, k, v, scale, causal))


def _verify(number: int, clock: Clock, witness_batch: WitnessBatch, own_error: float) -> None:
    """Raises WrongOutputError for the first call whose output is off, or whose inputs were written to."""
    if not torch.equal(clock.theirs.inputs, clock.secret):
        raise WrongOutputError(f"round {number}: wrote to its inputs")
    for call, (error, magnitude) in enumerate(output_errors(clock, witness_batch)):
        limit = timed_limit(own_error, magnitude, clock.seen.dtype)
        if not error <= limit:
            raise WrongOutputError(f"round {number}, call {call}: off by {error:.2e}, more than {limit:.2e}")


def output_errors(clock: Clock, witness_batch: WitnessBatch) -> Iterator[tuple[float, float]]:
    """Of every call, how far its output is from SDPA's, and the largest magnitude of that: read many at a time."""
    workload, batch = witness_batch.workload, witness_batch.workload.batch
    at_once = batch * max(1, TENSORS * VERIFIED_BYTES // workload.bytes)
    for *inputs, out in zip(*(torch.split(each, at_once) for each in (*clock.secret, clock.seen)), strict=True):
        calls = zip(*(torch.split(each, batch) for each in inputs), strict=True)
        answers = [sdpa_answer(call, workload.head_dim**-0.5, workload.causal) for call in calls]
        expected = torch.cat(answers).double()
        off = (out.double() - expected).abs().view(len(answers), -1).amax(1)
        magnitudes = expected.abs().view(len(answers), -1).amax(1)
        yield from zip(*torch.stack([off, magnitudes]).tolist(), strict=True)
