"""The parent's side: which batches, two processes at once, and what becomes of their answers."""

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
from gate.witness.socket_channel import hang_up

BATCH_MS = {"cpu": 20.0, "cuda": 8.0}
"""Much longer than a message between the processes. The device's `max_shared_bytes` can make a batch shorter."""
MAX_LAUNCHES = 1000
ROUNDS = 7
MAX_SHORTENING = 4.0
"""How much shorter a slow candidate's batch is: the way there and back would hide the baseline in less."""
CALLS = ROUNDS + 2
"""Batches of one arm in a batch: to get ready, and one a round."""
MAX_BOUT_MS = 15_000.0
"""Of the candidate's batches in one batch."""
BESIDE = 4.0
"""What a batch takes over the batches of its slower arm: the other's, and SDPA's answers to compare with."""
MAX_S = 600.0
"""Of one batch: a candidate that makes up its times does not keep the machine for longer."""
GRACE_S = 30.0
PIECES = 2
"""Of memory that are shared on a CPU: for the candidate's process, and for the witness's own."""

Side = TypeVar("Side", TrustedSideRequest, CandidateSideRequest)


def witness_batch_of(evaluation: Evaluation, device: str) -> WitnessBatch | None:
    """What the witness is to time; None where there is no trial to compare it with, or nothing to doubt in it.

    The trial's times come from the candidate's process: all that they decide is that a candidate which says that it
    is slower gets a shorter batch, of as few calls as fit, and none where it says that not even one call fits.
    """
    trial, workload = evaluation.trial, evaluation.workload
    if trial is None or trial.status is not Status.OK:
        return None
    slowdown = trial.median_ms[CANDIDATE] / trial.median_ms[BASELINE]
    fitting = int(MAX_BOUT_MS / (CALLS * trial.median_ms[CANDIDATE])) if slowdown >= 1 else MAX_LAUNCHES
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
    """About how long a batch takes, by the trial's times."""
    medians = evaluation.trial.median_ms if evaluation.trial else {}
    launches = min(witness_batch.launches, math.ceil(witness_batch.batch_ms / medians[BASELINE]))
    return min(MAX_S, BESIDE * CALLS * launches * max(medians[CANDIDATE], medians[BASELINE]) / 1e3)


def witness(
    trusted: WorkerServer,
    server: WorkerServer,
    device: str,
    impl: str,
    source: str,
    witness_batches: Sequence[WitnessBatch],
    limit_s: float,
) -> list[Witness]:
    """One for each batch. `trusted` never runs a candidate; `server` runs this one."""
    if not witness_batches:
        return []
    largest = max(witness_batch.workload.bytes for witness_batch in witness_batches)
    shared = shared_memory_folder(max(SHARED_BYTES, PIECES * largest) if device == "cpu" else 0)
    if shared is None:
        reason = f"no room to share {PIECES * largest >> 20} MiB; enlarge /dev/shm, or set TMPDIR to a larger disk"
        return [Witness(Status.ENVIRONMENT, reason)] * len(witness_batches)
    with tempfile.TemporaryDirectory(dir=shared, prefix="kernel-gate-") as folder, ThreadPoolExecutor(1) as pool:
        asked = TrustedSideRequest(device, folder, ROUNDS, tuple(witness_batches))
        # longer than the candidate's, so that it sees who does not end
        trusted_answer = pool.submit(_ended, trusted, TRUSTED_SIDE, asked, limit_s + GRACE_S)
        candidate_answer = _ended(server, CANDIDATE_SIDE, CandidateSideRequest(device, folder, impl, source), limit_s)
        return combine_answers(trusted_answer.result(), candidate_answer, len(witness_batches))


def _ended(
    server: WorkerServer, kind: JobKind[Side, Answer], asked: Side, limit_s: float
) -> list[Answer] | CallFailure:
    """The answer; the other process, which may wait for this one, knows of its end then."""
    try:
        return call(server, kind, [asked], limit_s)
    finally:
        hang_up(Path(asked.folder))


def combine_answers(
    trusted_answer: list[TrustedSideAnswer] | CallFailure,
    candidate_answer: list[CandidateSideAnswer] | CallFailure,
    count: int,
) -> list[Witness]:
    """What the trusted side saw; where it saw the candidate's process no more, how that process ended.

    Where the trusted side failed, the machine or Kernel Gate is at fault, and not the candidate, however its process
    ended then: unless neither came to an end, as the one waits for the other.
    """
    ending = candidate_answer if isinstance(candidate_answer, CallFailure) else candidate_answer[0]
    if isinstance(trusted_answer, CallFailure):
        waited = trusted_answer.status is ending.status is Status.TIMED_OUT
        at_fault = ending if waited else CallFailure(Status.ENVIRONMENT, trusted_answer.message)
        return [Witness(at_fault.status, at_fault.message)] * count
    (seen,) = trusted_answer
    return [_with_ending(each, ending) for each in seen.witnesses]


def _with_ending(seen: Witness, ending: CallFailure | CandidateSideAnswer) -> Witness:
    if ending.status is Status.OK:
        return seen
    if seen.status is Status.ENVIRONMENT:
        return replace(seen, message=f"{seen.message}: {ending.message}")
    if seen.status is Status.CRASHED:
        return replace(seen, status=ending.status, message=ending.message)
    return seen
