"""The parent's side: chooses the batches, runs the two processes at once, and combines their answers."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from gate.machine.preflight import SHARED_BYTES, shared_memory_folder
from gate.records import BASELINE, CANDIDATE, Evaluation, Status, Witness
from gate.sandbox.calls import CallFailure, call
from gate.sandbox.client import WorkerServer
from gate.sandbox.job import Answer, JobKind
from gate.witness.protocol import (
    CANDIDATE_SIDE,
    TRUSTED_SIDE,
    CandidateSideAnswer,
    CandidateSideRequest,
    TrustedSideAnswer,
    TrustedSideRequest,
    WitnessBatch,
)
from gate.witness.socket_channel import mark_ended

BATCH_MS = {"cpu": 20.0, "cuda": 8.0}
"""Much longer than a message between the processes. The device's `max_shared_bytes` can make a batch shorter."""
MAX_LAUNCHES = 1000
ROUNDS = 7
MAX_SHORTENING = 4.0
"""A slow candidate's batch is at most this much shorter: in less, messages would dominate the baseline's time."""
CALLS = ROUNDS + 2
"""How often one arm runs a batch: to warm up, and once a round."""
MAX_CANDIDATE_MS = 15_000.0
"""Time limit of all runs of the candidate in one batch."""
OVERHEAD = 4.0
"""A batch's whole time over its slower arm's time: the other arms, and SDPA's outputs for the comparison."""
MAX_S = 600.0
"""Time limit of one batch: a candidate that forges its times cannot occupy the machine for longer."""
GRACE_S = 30.0
SHARED_BUFFERS = 2
"""Shared buffers on a CPU: one for the candidate's process, and one for the witness's own baseline process."""

Side = TypeVar("Side", TrustedSideRequest, CandidateSideRequest)


def witness_batch_of(evaluation: Evaluation, device: str) -> WitnessBatch | None:
    """The batch that the witness times; None if there is no successful trial, or if not even one call fits.

    The trial's times come from the candidate's process. They decide only this: a candidate that reports to be slower
    gets a shorter batch, with as few calls as fit, and none if it reports that not even one call fits.
    """
    trial, workload = evaluation.trial, evaluation.workload
    if trial is None or trial.status is not Status.OK:
        return None
    slowdown = trial.median_ms[CANDIDATE] / trial.median_ms[BASELINE]
    fitting = int(MAX_CANDIDATE_MS / (CALLS * trial.median_ms[CANDIDATE])) if slowdown >= 1 else MAX_LAUNCHES
    if not fitting:
        return None
    return WitnessBatch(
        workload=workload,
        baseline=trial.implementation(BASELINE),
        launches=min(MAX_LAUNCHES, fitting),
        batch_ms=BATCH_MS[device] / min(max(1.0, slowdown), MAX_SHORTENING),
        uncaptured=any(CANDIDATE in replicate.uncaptured for replicate in trial.replicates),
    )


def seconds_of(evaluation: Evaluation, witness_batch: WitnessBatch) -> float:
    """The expected seconds of a batch, by the trial's times."""
    medians = evaluation.trial.median_ms if evaluation.trial else {}
    launches = min(witness_batch.launches, math.ceil(witness_batch.batch_ms / medians[BASELINE]))
    return min(MAX_S, OVERHEAD * CALLS * launches * max(medians[CANDIDATE], medians[BASELINE]) / 1e3)


def witness(
    trusted: WorkerServer,
    server: WorkerServer,
    device: str,
    impl: str,
    source: str,
    witness_batches: Sequence[WitnessBatch],
    limit_s: float,
) -> list[Witness]:
    """One witness for every batch, in order. `trusted` never runs a candidate; `server` runs this one."""
    if not witness_batches:
        return []
    largest = max(witness_batch.workload.bytes for witness_batch in witness_batches)
    shared = shared_memory_folder(max(SHARED_BYTES, SHARED_BUFFERS * largest) if device == "cpu" else 0)
    if shared is None:
        needed = SHARED_BUFFERS * largest >> 20
        reason = f"no space for {needed} MiB of shared memory; enlarge /dev/shm, or set TMPDIR to a larger disk"
        return [Witness(Status.ENVIRONMENT, reason)] * len(witness_batches)
    with tempfile.TemporaryDirectory(dir=shared, prefix="kernel-gate-") as folder, ThreadPoolExecutor(1) as pool:
        request = TrustedSideRequest(device, folder, ROUNDS, tuple(witness_batches))
        # a longer limit than the candidate's, to find out which of the two does not end
        trusted_answer = pool.submit(_ended, trusted, TRUSTED_SIDE, request, limit_s + GRACE_S)
        candidate_answer = _ended(server, CANDIDATE_SIDE, CandidateSideRequest(device, folder, impl, source), limit_s)
        return combine_answers(trusted_answer.result(), candidate_answer, len(witness_batches))


def _ended(
    server: WorkerServer, kind: JobKind[Side, Answer], request: Side, limit_s: float
) -> list[Answer] | CallFailure:
    """Calls one side, and marks its end for the other one, which may wait for it."""
    try:
        return call(server, kind, [request], limit_s)
    finally:
        mark_ended(Path(request.folder))


def combine_answers(
    trusted_answer: list[TrustedSideAnswer] | CallFailure,
    candidate_answer: list[CandidateSideAnswer] | CallFailure,
    count: int,
) -> list[Witness]:
    """The trusted side's witnesses; if it lost the candidate's process, how that process ended.

    If the trusted side failed, the machine or Kernel Gate is at fault and not the candidate, however its process
    ended, unless both timed out, because one waits for the other.
    """
    ending = candidate_answer if isinstance(candidate_answer, CallFailure) else candidate_answer[0]
    if isinstance(trusted_answer, CallFailure):
        waited = trusted_answer.status is ending.status is Status.TIMED_OUT
        at_fault = ending if waited else CallFailure(Status.ENVIRONMENT, trusted_answer.message)
        return [Witness(at_fault.status, at_fault.message)] * count
    (answer,) = trusted_answer
    return [_with_ending(witness, ending) for witness in answer.witnesses]


def _with_ending(witness: Witness, ending: CallFailure | CandidateSideAnswer) -> Witness:
    if ending.status is Status.OK:
        return witness
    if witness.status is Status.ENVIRONMENT:
        return replace(witness, message=f"{witness.message}: {ending.message}")
    if witness.status is Status.CRASHED:
        return replace(witness, status=ending.status, message=ending.message)
    return witness
