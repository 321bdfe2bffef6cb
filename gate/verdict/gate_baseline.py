"""The gate on the baseline: an SDPA backend, the one that was to be beaten, and as fast as it can be."""

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
    """Nothing where no other backend was seen beside the chosen one, and nobody said which was to be beaten."""
    if comparison is None:
        return None
    device, wanted = measurement.environment.device, measurement.baseline
    doubt = _unknown(comparison) or baseline_doubt(evaluation, comparison, device, wanted)
    if doubt:
        return Gate("baseline", evaluation.workload, Outcome.UNDECIDED, doubt)
    sdpa = evaluation.sdpa
    if not comparison.paired or sdpa is None or sdpa.status is not Status.OK:
        return None
    doubt, seen = _beside_the_others(evaluation, sdpa, comparison.baseline, policy)
    return Gate("baseline", evaluation.workload, Outcome.UNDECIDED if doubt else Outcome.PASS, doubt or seen)


def _unknown(comparison: Comparison) -> str:
    known = [PREFIX + name for name in BACKENDS]
    return "" if comparison.baseline in known else f"{comparison.baseline} is not an SDPA backend"


def baseline_doubt(evaluation: Evaluation, comparison: Comparison, device: str, wanted: str | None) -> str:
    """Why the backend that was to be beaten (`best`: the fastest of the device's) is not the one that was timed.

    Empty where it is, and where none was wanted.
    """
    if wanted is None:
        return ""
    if not comparison.paired:
        return "candidate and baseline were not interleaved"
    if wanted != BEST:
        named, timed = PREFIX + wanted, comparison.baseline
        return "" if timed == named else f"{named} was to be beaten, and {timed} was timed"
    if evaluation.sdpa is None or evaluation.sdpa.status is not Status.OK:
        return f"nothing shows {comparison.baseline} to be the fastest SDPA backend"
    refused = {trace.implementation for trace in evaluation.traces if trace.refusal}
    seen = refused | {arm.implementation for arm in evaluation.sdpa.arms}
    unseen = [name for name in AVAILABLE[device] if PREFIX + name not in seen]
    return f"of SDPA's backends, {', '.join(unseen)} was neither timed nor refused" if unseen else ""


def _beside_the_others(evaluation: Evaluation, sdpa: Trial, baseline: str, policy: Policy) -> tuple[str, str]:
    """What speaks against this baseline, and else what was seen."""
    chosen = next((arm.name for arm in sdpa.arms if arm.implementation == baseline), None)
    if chosen is None:
        return f"{baseline} is not among the backends that were compared", ""
    slowed = _slowed(evaluation, sdpa, chosen)
    if slowed > 1 + policy.witness_tolerance:
        return f"{baseline} takes {slowed:.2f} times as long beside the candidate as without it", ""
    others = [arm.name for arm in sdpa.arms if arm.name not in (EMPTY, chosen)]
    if not others:
        return "", f"no other SDPA backend was timed beside {baseline}"
    rival = min(others, key=lambda name: sdpa.median_ms[name])
    ratio = paired_ratio(sdpa.samples(rival), sdpa.samples(chosen), policy.alpha)
    against = f"{sdpa.implementation(rival)} takes {ratio} of its time, over {ratio.replicates} replicates"
    if fastest(sdpa) == rival and not _as_fast(ratio, policy):
        return f"{sdpa.implementation(rival)} is faster than {baseline}: {against}", ""
    return "", f"no SDPA backend was shown to be faster than {baseline}: {against}"


def _as_fast(rival: Estimate, policy: Policy) -> bool:
    """Whether enough replicates show no difference."""
    return rival.replicates >= policy.min_replicates and rival.high is not None and rival.high >= 1


def _slowed(evaluation: Evaluation, sdpa: Trial, chosen: str) -> float:
    """The baseline beside the candidate over the same in processes that had none.

    By the lower quartiles, so that a busy minute does not count: who keeps a machine busy on purpose does so always.
    """
    if evaluation.trial is None:
        return 1.0
    return percentile_ms(evaluation.trial, BASELINE, 25) / percentile_ms(sdpa, chosen, 25)
