"""The baseline gate: the timed baseline is the required SDPA backend and runs at its full speed."""

from __future__ import annotations

from gate.analysis.comparison import fastest, percentile_ms
from gate.records import (
    BASELINE,
    EMPTY,
    Comparison,
    Estimate,
    Evaluation,
    Gate,
    Measurement,
    Outcome,
    Policy,
    Status,
    Trial,
)
from gate.records.sdpa import AVAILABLE, BACKENDS, BEST, PREFIX
from gate.stats.interval import paired_ratio


def baseline_gate(
    evaluation: Evaluation, comparison: Comparison | None, policy: Policy, measurement: Measurement
) -> Gate | None:
    """None if no other backend was timed and the policy requires none."""
    if comparison is None:
        return None
    device, wanted = measurement.environment.device, measurement.baseline
    doubt = _unknown(comparison) or baseline_doubt(evaluation, comparison, device, wanted)
    if doubt:
        return Gate("baseline", evaluation.workload, Outcome.UNDECIDED, doubt)
    sdpa = evaluation.sdpa
    if not comparison.paired or sdpa is None or sdpa.status is not Status.OK:
        return None
    doubt, evidence = _compare_backends(evaluation, sdpa, comparison.baseline, policy)
    return Gate("baseline", evaluation.workload, Outcome.UNDECIDED if doubt else Outcome.PASS, doubt or evidence)


def _unknown(comparison: Comparison) -> str:
    known = [PREFIX + name for name in BACKENDS]
    return "" if comparison.baseline in known else f"{comparison.baseline} is not an SDPA backend"


def baseline_doubt(evaluation: Evaluation, comparison: Comparison, device: str, wanted: str | None) -> str:
    """Why the timed baseline is not the required one (`best`: the device's fastest); empty if it is.

    Also empty if `wanted` is None.
    """
    if wanted is None:
        return ""
    if not comparison.paired:
        return "candidate and baseline were not timed in one trial"
    if wanted != BEST:
        named, timed = PREFIX + wanted, comparison.baseline
        return "" if timed == named else f"the required baseline is {named}, but {timed} was timed"
    if evaluation.sdpa is None or evaluation.sdpa.status is not Status.OK:
        return f"no measurement shows that {comparison.baseline} is the fastest SDPA backend"
    refused = {trace.implementation for trace in evaluation.traces if trace.refusal}
    covered = refused | {arm.implementation for arm in evaluation.sdpa.arms}
    untimed = [name for name in AVAILABLE[device] if PREFIX + name not in covered]
    return f"SDPA backends neither timed nor refused: {', '.join(untimed)}" if untimed else ""


def _compare_backends(evaluation: Evaluation, sdpa: Trial, baseline: str, policy: Policy) -> tuple[str, str]:
    """(doubt, ""): the reason against this baseline; or ("", evidence)."""
    chosen = next((arm.name for arm in sdpa.arms if arm.implementation == baseline), None)
    if chosen is None:
        return f"{baseline} is not among the SDPA backends that were compared", ""
    slowdown = _slowdown(evaluation, sdpa, chosen)
    if slowdown > 1 + policy.witness_tolerance:
        return f"{baseline} takes {slowdown:.2f} times as long with the candidate loaded as without it", ""
    others = [arm.name for arm in sdpa.arms if arm.name not in (EMPTY, chosen)]
    if not others:
        return "", f"{baseline}; no other SDPA backend was timed"
    rival = min(others, key=lambda name: sdpa.median_ms[name])
    ratio = paired_ratio(sdpa.samples(rival), sdpa.samples(chosen), policy.alpha)
    name, numbers = sdpa.implementation(rival), f"ratio {ratio} over {ratio.replicates} replicates"
    if fastest(sdpa) == rival and not _shows_no_difference(ratio, policy):
        return f"{name} is faster than {baseline}: {numbers}", ""
    return "", f"no SDPA backend proved faster than {baseline}; closest is {name}: {numbers}"


def _shows_no_difference(rival: Estimate, policy: Policy) -> bool:
    """Whether there are enough replicates and their interval reaches 1."""
    return rival.replicates >= policy.min_replicates and rival.high is not None and rival.high >= 1


def _slowdown(evaluation: Evaluation, sdpa: Trial, chosen: str) -> float:
    """The baseline's time in the candidate's process over its time in processes without a candidate.

    It compares lower quartiles: a short disturbance does not raise them, a candidate that loads the GPU does.
    """
    if evaluation.trial is None:
        return 1.0
    return percentile_ms(evaluation.trial, BASELINE, 25) / percentile_ms(sdpa, chosen, 25)
