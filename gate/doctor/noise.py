"""Measures this machine's noise: an A/A trial of SDPA against itself for a few seconds."""

from __future__ import annotations

import time
from dataclasses import replace

from gate.analysis.comparison import compare
from gate.measure.trial import candidate_arms, replicate_request, take_trials
from gate.records import Comparison, Evaluation, Policy, Status, Trial, Workload
from gate.records.diagnosis import Finding
from gate.records.sdpa import AVAILABLE, PREFIX
from gate.session import Session

SECONDS = 10.0
MAX_REPLICATES = 50
COARSE = 0.05
"""The gate requires a ratio below 0.95: a machine that cannot detect a difference of 5% cannot decide."""


def expected_noise(session: Session, workload: Workload, seconds: float = SECONDS) -> Finding:
    """Runs an A/A trial for about `seconds`; finds the smallest difference it detects with 80% power."""
    backend = AVAILABLE[session.device][0]
    plan = replicate_request(workload, candidate_arms(PREFIX + backend, backend), session.settings, session.device)
    enough, started = session.settings.gates.min_replicates, time.monotonic()

    def over(trial: Trial, _: Workload) -> bool:
        return len(trial.replicates) >= enough and time.monotonic() - started >= seconds

    def progress(done: int) -> None:
        session.progress(f"SDPA against itself at {workload}", done, MAX_REPLICATES)

    interim_replicates = tuple(range(1, MAX_REPLICATES + 1))
    (trial,) = take_trials(
        session.server, [plan], interim_replicates, session.settings.limits.replicate_s, over, progress
    )
    return noise_finding(trial, workload)


def noise_finding(trial: Trial, workload: Workload) -> Finding:
    """The finding of a trial. The interval needs no correction for interim analyses: time alone ended the trial."""
    item = f"noise at {workload}"
    remedy = "stop other programs on this machine, and see docs/dev_env.md; otherwise only large differences count"
    seen = compare(Evaluation(workload, trial=replace(trial, interim_replicates=())), Policy())
    if trial.status is not Status.OK or seen is None or seen.detectable_difference is None:
        return Finding(item, False, trial.message or "no interval", remedy, needed=True)
    return Finding(item, seen.detectable_difference <= COARSE, _noise_text(seen, len(trial.replicates)), remedy)


def _noise_text(seen: Comparison, replicates: int) -> str:
    again = f"{seen.baseline} against itself {seen.ratio}"
    return f"detects ±{seen.detectable_difference:.1%} with {replicates} replicates ({again})"
