"""Counters against the clock, and against what a candidate claims. Pure.

Counters come from a process that runs the candidate, so that they can convict and never acquit: what contradicts
the gated time keeps a verdict from passing, and no counter makes one pass.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from gate.analysis.comparison import gated_ms
from gate.analysis.counters import SECTOR_BYTES
from gate.analysis.derived import Derived, derive
from gate.analysis.provenance import sdpa_kernel_used
from gate.records import CANDIDATE, Comparison, Evaluation, Gate, Measurement, Outcome, Policy, Profile, Trace

LONG_ENOUGH_MS = 0.020
"""Shorter calls are not compared: a microsecond of launching is more than 5% of them."""
EXPLAINED = 0.05
"""How far counted and gated durations may lie apart without a word."""
LOOK_ALIKES = re.compile(r"flash_fwd|flash_attn|fmha|cudnn", re.IGNORECASE)
"""Names that would be odd for a kernel of a candidate's own."""
MAX_NAME = 60


@dataclass(frozen=True, slots=True)
class CounterFlag:
    """Something odd. `contradicts`: the gated time, or the candidate's word, cannot be right if this is."""

    name: str
    evidence: str
    contradicts: bool


def counter_flags(evaluation: Evaluation, tolerance: float) -> tuple[CounterFlag, ...]:
    """What is odd about the candidate on this workload, by its counters and by the kernels that were seen.

    `tolerance` is how far its kernels may be counted to last over the gated time.
    """
    impl = _candidate_of(evaluation)
    profile = evaluation.profile(impl) if impl else None
    seen = list(_sdpa_kernel_flags(evaluation, impl, profile)) if impl else []
    if profile is not None and profile.measured:
        derived = derive(profile, evaluation.workload, None, None)
        seen += [flag for look in COUNTER_CHECKS if (flag := look(derived))]
        seen += list(_duration(evaluation, derived, tolerance))
    return tuple(seen)


def _candidate_of(evaluation: Evaluation) -> str | None:
    trial = evaluation.trial
    return trial.implementation(CANDIDATE) if trial is not None and trial.has(CANDIDATE) else None


def _sdpa_kernel_flags(evaluation: Evaluation, impl: str, profile: Profile | None) -> Iterator[CounterFlag]:
    """SDPA's kernels under a candidate's name: those that were counted, since a traced one is a gate's business."""
    trace = evaluation.trace(impl)
    counted = tuple(launched.kernel for launched in (profile.kernels if profile else ()))
    others = tuple(trace for trace in evaluation.traces if trace.implementation != impl)
    theirs = sdpa_kernel_used(replace(evaluation, traces=(*others, Trace(impl, counted))), impl)
    if theirs is not None:
        yield CounterFlag("SDPA's kernels", f"it launches SDPA's own kernel {theirs[:MAX_NAME]}", True)
        return
    alike = next(filter(LOOK_ALIKES.search, (*counted, *(trace.kernels if trace else ()))), None)
    if alike is not None:
        yield CounterFlag("SDPA's kernels", f"its kernel {alike[:MAX_NAME]} is named like one of SDPA's", False)


def _no_work(it: Derived) -> CounterFlag | None:
    """Caches are cold, so that inputs must come from memory; half of them leaves room for how counters sample."""
    if it.total("instructions") == 0:
        return CounterFlag("no work", "its kernels executed no instruction", True)
    read = it.total("dram_sectors_read")
    inputs = it.workload.bytes * 3 / 4
    if read is not None and read * SECTOR_BYTES < inputs / 2:
        read_mb, inputs_mb = read * SECTOR_BYTES / 1e6, inputs / 1e6
        seen = f"its kernels read {read_mb:.2f} MB from memory, and the inputs have {inputs_mb:.2f} MB"
        return CounterFlag("no work", seen, True)
    return None


def _no_tensor_cores(it: Derived) -> CounterFlag | None:
    """Its kernel.toml claims them."""
    idle = it.total("tensor_instructions") == 0 and not it.total("tensor_pct")
    if not it.profile.claims_tensor_cores or not idle:
        return None
    return CounterFlag(
        "no tensor cores", "its kernel.toml claims tensor cores, and no instruction ran on them", False
    )


COUNTER_CHECKS: tuple[Callable[[Derived], CounterFlag | None], ...] = (_no_work, _no_tensor_cores)


def _duration(evaluation: Evaluation, it: Derived, tolerance: float) -> Iterator[CounterFlag]:
    """The sum over kernels against the gated median, less what an empty launch takes."""
    counted, gated = it.duration_ms, gated_ms(evaluation)
    if counted is None or gated is None or gated < LONG_ENOUGH_MS > counted:
        return
    apart = counted / max(gated, 1e-6) - 1
    seen = f"its kernels last {counted:.4g} ms by counters, {apart:+.0%} against the {gated:.4g} ms of the clock"
    if apart > tolerance and len(it.profile.kernels) == 1:
        yield CounterFlag("duration", seen, True)
    elif abs(apart) > EXPLAINED:
        yield CounterFlag("duration", f"{seen}: {_explanation(apart, len(it.profile.kernels))}", False)


def _explanation(apart: float, kernels: int) -> str:
    if apart > 0 and kernels > 1:
        return f"each of {kernels} kernels is counted from cold caches, and within a call they share them"
    if apart > 0:
        return "counters are read at other clocks; hold them (`--lock-clocks`) to compare"
    if kernels > 1:
        return f"the clock has the gaps between {kernels} kernels as well"
    return "the clock sees something else beside the kernels, such as copies or fills"


def counters_gate(evaluation: Evaluation, comparison: Comparison | None, policy: Policy) -> Gate | None:
    """What counters and the kernels' names say against the clock; nothing where none were read, and none required."""
    workload = evaluation.workload
    if comparison is None:
        return None
    contradictions = [
        flag.evidence for flag in counter_flags(evaluation, policy.counters_tolerance) if flag.contradicts
    ]
    if contradictions:
        return Gate("counters", workload, Outcome.UNDECIDED, "; ".join(contradictions))
    seen = evaluation.profile(comparison.candidate)
    if seen is not None and seen.measured:
        evidence = f"nothing that {seen.tool} counted contradicts the clock ({len(seen.kernels)} kernels)"
        return Gate("counters", workload, Outcome.PASS, evidence)
    if policy.require_profile:
        evidence = f"counters are required: {seen.message}" if seen else "counters are required; measure with --ncu"
        return Gate("counters", workload, Outcome.ENVIRONMENT, evidence)
    return None


def oddities(measurement: Measurement, policy: Policy) -> tuple[str, ...]:
    """What a reader of the verdict should know, workload by workload."""
    return tuple(
        f"{evaluation.workload}: {flag.evidence}"
        for evaluation in measurement.evaluations
        for flag in counter_flags(evaluation, policy.counters_tolerance)
    )
