"""Computes the comparison of a trial: the ratio of candidate time to baseline time, and its interval."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from gate.errors import BadInputError
from gate.records import (
    BASELINE,
    BASELINE_AGAIN,
    CANDIDATE,
    EMPTY,
    Comparison,
    Estimate,
    Evaluation,
    Measurement,
    Policy,
    Status,
    Trial,
)
from gate.records.sdpa import PREFIX
from gate.stats.diagnostics import sample_warnings
from gate.stats.interval import detectable_difference, log_ratios, paired_ratio, unpaired_degrees, unpaired_ratio
from gate.stats.sequential import alpha_at

NOISY_CV = 0.12
UNPAIRED = "candidate and baseline were not timed in one trial: weaker evidence with a wider interval"


def compare(evaluation: Evaluation, policy: Policy) -> Comparison | None:
    """The candidate's comparison on one workload; None if the trial failed or has no baseline."""
    trial, sdpa = evaluation.trial, evaluation.sdpa
    if trial is None or trial.status is not Status.OK:
        return None
    if trial.has(CANDIDATE, BASELINE):
        return _paired(evaluation, trial, policy)
    if trial.has(CANDIDATE) and sdpa is not None and sdpa.status is Status.OK:
        return _unpaired(evaluation, trial, sdpa, policy)
    return None


def join(measurement: Measurement, sdpa: Measurement) -> Measurement:
    """A candidate's measurement in which SDPA's trials are replaced by those of `sdpa`, workload by workload.

    Raises BadInputError if the device models differ or the two measurements are swapped.
    """
    same_device(measurement, sdpa)
    if measurement.impl is None and sdpa.impl is not None:
        raise BadInputError(f"--cand contains no candidate, but --sdpa contains {sdpa.impl}; swap the two files")
    found = {evaluation.workload: evaluation for evaluation in sdpa.evaluations if evaluation.sdpa is not None}
    joined = tuple(_beside(evaluation, found.get(evaluation.workload)) for evaluation in measurement.evaluations)
    return replace(measurement, evaluations=joined)


def _beside(evaluation: Evaluation, sdpa: Evaluation | None) -> Evaluation:
    if sdpa is None:
        return evaluation
    more = tuple(added for added in sdpa.traces if evaluation.trace(added.implementation) is None)
    return replace(evaluation, sdpa=sdpa.sdpa, traces=(*evaluation.traces, *more))


def same_device(one: Measurement, other: Measurement) -> None:
    """Raises BadInputError if two measurements come from different device models."""
    names = one.environment.device_name, other.environment.device_name
    if names[0] != names[1]:
        raise BadInputError(f"not comparable: measured on {names[0]} and on {names[1]}; measure both on one machine")


def fastest(sdpa: Trial) -> str:
    """The arm of the SDPA backend with the smallest median time."""
    return min((arm for arm in sdpa.median_ms if arm != EMPTY), key=lambda arm: sdpa.median_ms[arm])


def chosen_backends(evaluations: Iterable[Evaluation]) -> str | None:
    """The baselines of all trials, without prefix: `cudnn, flash`; None if there are none."""
    trials = [
        evaluation.trial
        for evaluation in evaluations
        if evaluation.trial is not None and evaluation.trial.has(BASELINE)
    ]
    return ", ".join(sorted({trial.implementation(BASELINE).removeprefix(PREFIX) for trial in trials})) or None


def percentile_ms(trial: Trial, arm: str, percent: float) -> float:
    """A percentile of all samples of an arm, in ms."""
    return float(np.percentile(np.asarray(trial.samples(arm)), percent))


def coefficient_of_variation(trial: Trial, arm: str) -> float:
    """Standard deviation over mean of all samples of an arm."""
    times = np.asarray(trial.samples(arm)).ravel()
    return float(times.std() / times.mean()) if times.mean() > 0 else 0.0


def _paired(evaluation: Evaluation, trial: Trial, policy: Policy) -> Comparison:
    baseline, candidate = trial.samples(BASELINE), trial.samples(CANDIDATE)
    control = None
    if trial.has(BASELINE_AGAIN):
        again = trial.samples(BASELINE_AGAIN)
        control = paired_ratio(again, baseline, policy.control_alpha, policy.min_replicates)
    ratio = paired_ratio(candidate, baseline, _alpha(trial, policy), policy.min_replicates)
    odd = sample_warnings(log_ratios(candidate, baseline), np.log(np.divide(candidate, baseline)))
    return _comparison(
        evaluation,
        trial,
        (trial, BASELINE),
        ratio,
        control,
        detectable_difference(ratio),
        (*_noise(trial, BASELINE, CANDIDATE), *odd, *_surroundings(trial)),
    )


def _unpaired(evaluation: Evaluation, trial: Trial, sdpa: Trial, policy: Policy) -> Comparison:
    arm = fastest(sdpa)
    sides, alpha = (trial.samples(CANDIDATE), sdpa.samples(arm)), _alpha(trial, policy)
    ratio = unpaired_ratio(*sides, alpha, policy.session_sd, policy.min_replicates)
    seen = (
        detectable_difference(ratio, unpaired_degrees(*sides, policy.session_sd)) if ratio.low is not None else None
    )
    warnings = (UNPAIRED, *_noise(trial, CANDIDATE), *_noise(sdpa, arm))
    return _comparison(evaluation, trial, (sdpa, arm), ratio, None, seen, warnings)


def _alpha(trial: Trial, policy: Policy) -> float:
    """The alpha available at the interim analysis at which this trial stopped."""
    return alpha_at(policy.alpha, trial.interim_replicates, len(trial.replicates))


def _comparison(
    evaluation: Evaluation,
    trial: Trial,
    baseline: tuple[Trial, str],
    ratio: Estimate,
    control: Estimate | None,
    seen: float | None,
    warnings: tuple[str, ...],
) -> Comparison:
    beside, arm = baseline
    return Comparison(
        workload=evaluation.workload,
        baseline=beside.implementation(arm),
        candidate=trial.implementation(CANDIDATE),
        paired=beside is trial,
        baseline_ms=beside.median_ms[arm],
        candidate_ms=trial.median_ms[CANDIDATE],
        ratio=ratio,
        control=control,
        empty_launch_ms=trial.median_ms.get(EMPTY),
        detectable_difference=seen,
        warnings=warnings,
    )


def _noise(trial: Trial, *arms: str) -> tuple[str, ...]:
    spreads = {trial.implementation(arm): coefficient_of_variation(trial, arm) for arm in arms}
    return tuple(
        f"noisy: {name} varies by {spread:.0%} (CV)" for name, spread in spreads.items() if spread > NOISY_CV
    )


def _surroundings(trial: Trial) -> tuple[str, ...]:
    """Warnings on telemetry, on arms without a CUDA graph, and on a reduced number of rounds."""
    looks = [replicate.telemetry.warnings for replicate in trial.replicates if replicate.telemetry]
    uncaptured = dict.fromkeys(arm for replicate in trial.replicates for arm in replicate.uncaptured)
    launched = tuple(f"{arm} was launched directly: CUDA graph capture failed" for arm in uncaptured)
    return (*dict.fromkeys(warning for warnings in looks for warning in warnings), *launched, *_fewer_rounds(trial))


def _fewer_rounds(trial: Trial) -> tuple[str, ...]:
    taken, planned = len(trial.replicates[0].times_ms), trial.planned_rounds
    if planned is None:
        return ()
    return (f"only {taken} of {planned} rounds per replicate fit into limits.replicate_s",)


def is_clear(comparison: Comparison | None, policy: Policy) -> bool:
    """Whether a trial may stop early: the whole interval lies on one side of the threshold.

    Stopping as soon as the gates pass would be wrong: it gives a candidate at the threshold several attempts.
    """
    if comparison is None or comparison.ratio.low is None or comparison.ratio.high is None:
        return False
    return comparison.ratio.high < policy.speedup or comparison.ratio.low >= policy.speedup


def gated_ms(evaluation: Evaluation) -> float | None:
    """The candidate's median minus the empty launch's, in ms: the time of its kernels and the gaps between them."""
    trial = evaluation.trial
    if trial is None or not trial.replicates or not trial.has(CANDIDATE, EMPTY):
        return None
    return trial.median_ms[CANDIDATE] - trial.median_ms[EMPTY]
