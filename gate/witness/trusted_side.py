"""The trusted side: writes new random inputs, sends `go`, reads its own clock, and verifies every output."""

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
from gate.witness.socket_channel import (
    BaselineProcessError,
    CandidateRefusedError,
    Channel,
    DisconnectedError,
    listening,
)

GO, OVER = Reply("go"), Reply("over")
CALLS_A_TRY = 10
VERIFIED_BYTES = 32 << 20
"""Output bytes to verify at once. With SDPA's outputs, both in float64, and the errors: 14 times as much memory."""

T = TypeVar("T")


class WrongOutputError(Exception):
    """The candidate's output is wrong."""


def run_trusted_side(request: TrustedSideRequest) -> TrustedSideAnswer:
    """Runs all batches. If the candidate side or the baseline process is lost, the rest get its status."""
    witnesses: list[Witness] = []
    with _baseline_process(request.device) as own:  # forks before CUDA is initialised: CUDA does not survive a fork
        device, folder = open_device(request.device), Path(request.folder)
        try:
            with listening(folder) as channel:
                witness_batches = [
                    size_batch(device, witness_batch)
                    for witness_batch in _while_connected(channel, request.witness_batches)
                ]
                ours, theirs, clocks = allocate_shared(device, folder, witness_batches)
                ours.admit(own)
                pairs = _while_connected(channel, zip(witness_batches, clocks, strict=True))
                alone = [
                    baseline_solo_ms(device, witness_batch, clock, request.rounds) for witness_batch, clock in pairs
                ]
                theirs.admit(channel)
                channel.lost = DisconnectedError  # the candidate is loaded from now on
                for witness_batch, clock, shortest in zip(witness_batches, clocks, alone, strict=True):
                    device.reset_peak()  # frees the graph and the outputs of the last batch
                    witness = _BatchTrial(device, witness_batch, request.rounds, clock, own, channel).witness()
                    witnesses.append(replace(witness, baseline_solo_ms=shortest))
        except DisconnectedError as error:
            witnesses += [Witness(error.status, str(error))] * (len(request.witness_batches) - len(witnesses))
    return TrustedSideAnswer(tuple(witnesses))


def _while_connected(channel: Channel, steps: Iterable[T]) -> Iterator[T]:
    """Yields the steps, as long as the candidate's process, which waits meanwhile, stays connected."""
    for step in steps:
        channel.require_silence()
        yield step


def allocate_shared(
    device: Device, folder: Path, witness_batches: list[WitnessBatch]
) -> tuple[SharedMemory, SharedMemory, list[Clock]]:
    """Shared memory for the baseline process and for the candidate's process, and a clock for every batch."""
    device.reset_peak()  # otherwise the allocator could take a part of a larger free segment
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
    """A process that runs the baseline as the candidate's process runs the candidate, to measure the IPC overhead."""
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    pid = os.fork()
    if pid == 0:
        ours.close()
        _serve_baseline(Channel(theirs), device)
    theirs.close()
    with ours:
        yield Channel(ours, BaselineProcessError)


def _serve_baseline(channel: Channel, kind: str) -> NoReturn:
    """Serves the batches in the forked process, and never returns to the code that forked it."""
    try:
        device = open_device(kind)
        serve_batches(channel, device, map_shared(channel, device), _baseline)
    except DisconnectedError:
        os._exit(0)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)


def _baseline(witness_batch: WitnessBatch) -> SdpaBackend:
    return SdpaBackend(witness_batch.baseline.removeprefix(PREFIX))


def size_batch(device: Device, witness_batch: WitnessBatch) -> WitnessBatch:
    """The batch with as many calls as take the baseline `batch_ms` and fit into memory; independent of candidates."""
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
    """The baseline's shortest batch before the candidate is loaded: afterwards, a candidate could slow it down."""
    device.reset_peak()
    clock.warm_up()
    implementation = _baseline(witness_batch)
    launch = capture_batch(device, implementation, clock.trusted, capture=True)
    return min(clock.time_ms(clock.trusted, lambda: compute(device, implementation, launch)) for _ in range(rounds))


def _took_ms(device: Device, implementation: SdpaBackend, launch: Launch, calls: int) -> float:
    device.synchronize()
    started = time.perf_counter_ns()
    with implementation.selected():
        for _ in range(calls):
            launch()
    device.synchronize()
    return (time.perf_counter_ns() - started) / 1e6 / calls


class _BatchTrial:
    """Times one batch: the clock, the connections to both processes, and the rounds."""

    def __init__(
        self, device: Device, witness_batch: WitnessBatch, rounds: int, clock: Clock, own: Channel, channel: Channel
    ) -> None:
        self._device, self._batch, self._count, self._clock = device, witness_batch, rounds, clock
        self._channels = own, channel
        self._implementation = _baseline(witness_batch)

    def witness(self) -> Witness:
        """Raises DisconnectedError if a process is lost and no other fault of the candidate was found before."""
        witness = self._timed()
        try:
            self._end()
        except DisconnectedError:
            if witness.status is Status.OK:
                raise
        return witness

    def _timed(self) -> Witness:
        try:
            candidate, local, ipc = zip(*self._rounds(), strict=True)
        except WrongOutputError as error:
            return Witness(Status.INCORRECT, str(error), self._batch.launches)
        except CandidateRefusedError as error:
            return Witness(Status.CRASHED, str(error), self._batch.launches)
        return Witness(Status.OK, "", self._batch.launches, candidate, local, ipc, self._batch.uncaptured)

    def _rounds(self) -> list[tuple[float, float, float]]:
        """Milliseconds of the candidate, the baseline here, and the baseline in its own process, round by round."""
        self._clock.warm_up()
        for channel in self._channels:
            channel.send(Start(self._batch))
        launch = capture_batch(self._device, self._implementation, self._clock.trusted, capture=True)
        error = _sdpa_error(self._clock.private_inputs, self._batch)
        for channel in self._channels:  # both warmed up meanwhile
            channel.expect("ready")
        return [self._round(number, launch, error) for number in range(self._count)]

    def _end(self) -> None:
        """Ends the batch: both processes wait for the next one, whatever the result."""
        for channel in self._channels:
            channel.send(OVER)
        for channel in self._channels:
            channel.expect("here")

    def _round(self, number: int, launch: Launch, error: float) -> tuple[float, float, float]:
        clock, (own, channel) = self._clock, self._channels
        clock.refill()
        local = clock.time_ms(clock.trusted, lambda: compute(self._device, self._implementation, launch))
        clock.refill()  # as before the candidate's turn: on a CPU, other processes wake up slowly after it
        ipc = clock.time_ms(clock.trusted, lambda: _compute_remotely(own))
        clock.refill()  # another process has read the last inputs
        candidate = clock.time_ms(clock.candidate, lambda: _compute_remotely(channel))
        _verify(number, clock, self._batch, error)
        return candidate, local, ipc


def _compute_remotely(channel: Channel) -> None:
    channel.send(GO)
    channel.expect("done")


def _sdpa_error(inputs: torch.Tensor, witness_batch: WitnessBatch) -> float:
    """SDPA's error on the first call's inputs. The check's value comes from the candidate's process: not trusted."""
    batch, scale, causal = (
        witness_batch.workload.batch,
        witness_batch.workload.head_dim**-0.5,
        witness_batch.workload.causal,
    )
    q, k, v = (tensor[:batch] for tensor in inputs)
    return allowed_error((q, k, v), scale, causal, solve(q, k, v, scale, causal))


def _verify(number: int, clock: Clock, witness_batch: WitnessBatch, sdpa_error: float) -> None:
    """Raises WrongOutputError for the first call with a wrong output, or if inputs were written to."""
    if not torch.equal(clock.candidate.inputs, clock.private_inputs):
        raise WrongOutputError(f"round {number}: wrote to its inputs")
    for call, (error, magnitude) in enumerate(output_errors(clock, witness_batch)):
        limit = timed_limit(sdpa_error, magnitude, clock.outputs.dtype)
        if not error <= limit:
            raise WrongOutputError(f"round {number}, call {call}: off by {error:.2e}, more than {limit:.2e}")


def output_errors(clock: Clock, witness_batch: WitnessBatch) -> Iterator[tuple[float, float]]:
    """For every call, the largest |output - SDPA's output| and SDPA's largest magnitude, read in large blocks."""
    workload, batch = witness_batch.workload, witness_batch.workload.batch
    at_once = batch * max(1, TENSORS * VERIFIED_BYTES // workload.bytes)
    for *inputs, out in zip(
        *(torch.split(tensor, at_once) for tensor in (*clock.private_inputs, clock.outputs)), strict=True
    ):
        calls = zip(*(torch.split(tensor, batch) for tensor in inputs), strict=True)
        answers = [sdpa_answer(call, workload.head_dim**-0.5, workload.causal) for call in calls]
        expected = torch.cat(answers).double()
        off = (out.double() - expected).abs().view(len(answers), -1).amax(1)
        magnitudes = expected.abs().view(len(answers), -1).amax(1)
        yield from zip(*torch.stack([off, magnitudes]).tolist(), strict=True)
