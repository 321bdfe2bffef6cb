"""The parent's side: which bouts, two processes at once, and what becomes of their answers."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from gate.asking import Failure, Kind, ask
from gate.preflight import SHARED_BYTES, roomy_folder
from gate.records import BASELINE, CANDIDATE, Evaluation, Record, Status, Witness
from gate.witness.channel import hang_up
from gate.witness.messages import Bout, Played, Playing, Refereeing, Witnesses
from gate.workers import WorkerServer

BATCH_MS = {"cpu": 20.0, "cuda": 8.0}
"""Long beside the way from process to process and back. What the device may share (`most_shared`) can be less."""
MOST_LAUNCHES = 1000
ROUNDS = 7
MOST_SHORTER = 4.0
"""How much shorter a slow candidate's batch is: the way there and back would hide the baseline in less."""
CALLS = ROUNDS + 2
"""Batches of one arm in a bout: to get ready, and one a round."""
MOST_BOUT_MS = 15_000.0
"""Of the candidate's batches in one bout."""
BESIDE = 4.0
"""What a bout takes over the batches of its slower arm: the other's, and SDPA's answers to compare with."""
MOST_S = 600.0
"""Of one bout: a candidate that makes up its times does not keep the machine for longer."""
GRACE_S = 30.0
PIECES = 2
"""Of memory that are shared on a CPU: for the candidate's process, and for the witness's own."""
REFEREE, PLAY = Kind("referee", Witnesses, "the witness"), Kind("play", Played)

R = TypeVar("R", bound=Record)


def bout_of(evaluation: Evaluation, device: str) -> Bout | None:
    """What the witness is to time; None where there is no trial to compare it with, or nothing to doubt in it.

    The trial's times come from the candidate's process: all that they decide is that a candidate which says that it
    is slower gets a shorter batch, of as few calls as fit, and none where it says that not even one call fits.
    """
    trial, workload = evaluation.trial, evaluation.workload
    if trial is None or trial.status is not Status.OK:
        return None
    slowdown = trial.median_ms[CANDIDATE] / trial.median_ms[BASELINE]
    fitting = int(MOST_BOUT_MS / (CALLS * trial.median_ms[CANDIDATE])) if slowdown >= 1 else MOST_LAUNCHES
    if not fitting:
        return None
    return Bout(
        workload=workload,
        baseline=trial.implementation(BASELINE),
        launches=min(MOST_LAUNCHES, fitting),
        batch_ms=BATCH_MS[device] / min(max(1.0, slowdown), MOST_SHORTER),
        direct=any(CANDIDATE in replicate.direct for replicate in trial.replicates),
    )


def seconds_of(evaluation: Evaluation, bout: Bout) -> float:
    """About how long a bout takes, by the trial's times."""
    medians = evaluation.trial.median_ms if evaluation.trial else {}
    launches = min(bout.launches, math.ceil(bout.batch_ms / medians[BASELINE]))
    return min(MOST_S, BESIDE * CALLS * launches * max(medians[CANDIDATE], medians[BASELINE]) / 1e3)


def witness(
    trusted: WorkerServer,
    server: WorkerServer,
    device: str,
    impl: str,
    source: str,
    bouts: Sequence[Bout],
    limit_s: float,
) -> list[Witness]:
    """One for each bout. `trusted` never runs a candidate; `server` runs this one."""
    if not bouts:
        return []
    largest = max(bout.workload.bytes for bout in bouts)
    shared = roomy_folder(max(SHARED_BYTES, PIECES * largest) if device == "cpu" else 0)
    if shared is None:
        reason = f"no room to share {PIECES * largest >> 20} MiB; enlarge /dev/shm, or set TMPDIR to a larger disk"
        return [Witness(Status.ENVIRONMENT, reason)] * len(bouts)
    with tempfile.TemporaryDirectory(dir=shared, prefix="kernel-gate-") as folder, ThreadPoolExecutor(1) as pool:
        asked = Refereeing(device, folder, ROUNDS, tuple(bouts))
        # longer than the candidate's, so that it sees who does not end
        refereed = pool.submit(_ended, trusted, REFEREE, asked, limit_s + GRACE_S)
        played = _ended(server, PLAY, Playing(device, folder, impl, source), limit_s)
        return settle(refereed.result(), played, len(bouts))


def _ended(server: WorkerServer, kind: Kind[R], asked: Refereeing | Playing, limit_s: float) -> list[R] | Failure:
    """The answer; the other process, which may wait for this one, knows of its end then."""
    try:
        return ask(server, kind, [asked], limit_s)
    finally:
        hang_up(Path(asked.folder))


def settle(refereed: list[Witnesses] | Failure, played: list[Played] | Failure, count: int) -> list[Witness]:
    """What the referee saw; where it saw the candidate's process no more, how that process ended.

    Where the referee failed, the machine or Kernel Gate is at fault, and not the candidate, however its process ended
    then: unless neither came to an end, as the one waits for the other.
    """
    ending = played if isinstance(played, Failure) else played[0]
    if isinstance(refereed, Failure):
        waited = refereed.status is ending.status is Status.TIMED_OUT
        at_fault = ending if waited else Failure(Status.ENVIRONMENT, refereed.message)
        return [Witness(at_fault.status, at_fault.message)] * count
    (seen,) = refereed
    return [_with_ending(each, ending) for each in seen.witnesses]


def _with_ending(seen: Witness, ending: Failure | Played) -> Witness:
    if ending.status is Status.OK:
        return seen
    if seen.status is Status.ENVIRONMENT:
        return replace(seen, message=f"{seen.message}: {ending.message}")
    if seen.status is Status.CRASHED:
        return replace(seen, status=ending.status, message=ending.message)
    return seen
