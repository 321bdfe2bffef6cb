"""Compares hardware counters with the gated time and with the candidate's claims. Pure.

Counters come from a process that runs the candidate and could be forged. Therefore a counter that contradicts the
gated time prevents a pass, but no counter can cause one.
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
"""Shorter calls are not compared: one microsecond of launch overhead is more than 5% of them."""
EXPLAINED = 0.05
"""Relative difference between counted and gated duration above which a warning explains it."""
SDPA_LIKE_NAMES = re.compile(r"flash_fwd|flash_attn|fmha|cudnn", re.IGNORECASE)
"""Kernel names that suggest a library's attention kernel."""
MAX_NAME = 60


@dataclass(frozen=True, slots=True)
class CounterFlag:
    """A suspicious finding. `contradicts`: if it is true, the gated time or the candidate's claim is wrong."""

    name: str
    evidence: str
    contradicts: bool


def counter_flags(evaluation: Evaluation, tolerance: float) -> tuple[CounterFlag, ...]:
    """Suspicious findings about the candidate on this workload, from its counters and its kernels' names.

    `tolerance`: how much longer than the gated time its counted kernels may last, as a fraction.
    """
    impl = _candidate_of(evaluation)
    profile = evaluation.profile(impl) if impl else None
    flags = list(_sdpa_kernel_flags(evaluation, impl, profile)) if impl else []
    if profile is not None and profile.measured:
        derived = derive(profile, evaluation.workload, None, None)
        flags += [flag for check in COUNTER_CHECKS if (flag := check(derived))]
        flags += list(_duration(evaluation, derived, tolerance))
    return tuple(flags)


def _candidate_of(evaluation: Evaluation) -> str | None:
    trial = evaluation.trial
    return trial.implementation(CANDIDATE) if trial is not None and trial.has(CANDIDATE) else None


def _sdpa_kernel_flags(evaluation: Evaluation, impl: str, profile: Profile | None) -> Iterator[CounterFlag]:
    """SDPA's kernels among the counted ones; the traced ones are checked by the gate `provenance`."""
    trace = evaluation.trace(impl)
    counted = tuple(launched.kernel for launched in (profile.kernels if profile else ()))
    others = tuple(trace for trace in evaluation.traces if trace.implementation != impl)
    sdpa_kernel = sdpa_kernel_used(replace(evaluation, traces=(*others, Trace(impl, counted))), impl)
    if sdpa_kernel is not None:
        yield CounterFlag("SDPA's kernels", f"the candidate launches SDPA's kernel {sdpa_kernel[:MAX_NAME]}", True)
        return
    similar = next(filter(SDPA_LIKE_NAMES.search, (*counted, *(trace.kernels if trace else ()))), None)
    if similar is not None:
        evidence = f"the name of the candidate's kernel {similar[:MAX_NAME]} resembles SDPA's kernels"
        yield CounterFlag("SDPA's kernels", evidence, False)


def _no_work(derived: Derived) -> CounterFlag | None:
    """Caches are cold; therefore all inputs come from DRAM. The factor 1/2 allows for sampling by the counters."""
    if derived.total("instructions") == 0:
        return CounterFlag("no work", "the candidate's kernels executed no instruction", True)
    read = derived.total("dram_sectors_read")
    inputs = derived.workload.bytes * 3 / 4
    if read is not None and read * SECTOR_BYTES < inputs / 2:
        read_mb, inputs_mb = read * SECTOR_BYTES / 1e6, inputs / 1e6
        evidence = f"the candidate's kernels read {read_mb:.2f} MB from DRAM, but the inputs have {inputs_mb:.2f} MB"
        return CounterFlag("no work", evidence, True)
    return None


def _no_tensor_cores(derived: Derived) -> CounterFlag | None:
    """kernel.toml claims tensor cores, but the counters show none."""
    idle = derived.total("tensor_instructions") == 0 and not derived.total("tensor_pct")
    if not derived.profile.claims_tensor_cores or not idle:
        return None
    return CounterFlag("no tensor cores", "kernel.toml claims tensor cores, but no tensor instruction ran", False)


COUNTER_CHECKS: tuple[Callable[[Derived], CounterFlag | None], ...] = (_no_work, _no_tensor_cores)


def _duration(evaluation: Evaluation, derived: Derived, tolerance: float) -> Iterator[CounterFlag]:
    """Compares the sum over kernels with the gated median, from which the empty launch is subtracted."""
    counted, gated, kernels = derived.duration_ms, gated_ms(evaluation), len(derived.profile.kernels)
    if counted is None or gated is None or gated < LONG_ENOUGH_MS > counted:
        return
    difference = counted / max(gated, 1e-6) - 1
    evidence = (
        f"the candidate's kernels last {counted:.4g} ms by counters, {gated:.4g} ms by clock ({difference:+.0%})"
    )
    if difference > tolerance and kernels == 1:
        yield CounterFlag("duration", evidence, True)
    elif abs(difference) > EXPLAINED:
        yield CounterFlag("duration", f"{evidence}: {_explanation(difference, kernels)}", False)


def _explanation(difference: float, kernels: int) -> str:
    if difference > 0 and kernels > 1:
        return (
            f"counters start each of the {kernels} kernels with a cold cache, but a call keeps it warm between them"
        )
    if difference > 0:
        return "the GPU's clocks differ while counters are read; lock them (`--lock-clocks`) to compare"
    if kernels > 1:
        return f"the clock includes the gaps between {kernels} kernels"
    return "the clock includes more than the kernels, for example copies or fills"


def counters_gate(evaluation: Evaluation, comparison: Comparison | None, policy: Policy) -> Gate | None:
    """Undecided if counters contradict the gated time; None if counters are neither read nor required."""
    workload = evaluation.workload
    if comparison is None:
        return None
    contradictions = [
        flag.evidence for flag in counter_flags(evaluation, policy.counters_tolerance) if flag.contradicts
    ]
    if contradictions:
        return Gate("counters", workload, Outcome.UNDECIDED, "; ".join(contradictions))
    profile = evaluation.profile(comparison.candidate)
    if profile is not None and profile.measured:
        evidence = f"no counter of {profile.tool} contradicts the clock ({len(profile.kernels)} kernels)"
        return Gate("counters", workload, Outcome.PASS, evidence)
    if policy.require_profile:
        reason = f": {profile.message}" if profile else " but were not read; measure with --ncu"
        return Gate("counters", workload, Outcome.ENVIRONMENT, f"hardware counters are required{reason}")
    return None


def oddities(measurement: Measurement, policy: Policy) -> tuple[str, ...]:
    """Suspicious findings of all workloads, as warnings of the verdict."""
    return tuple(
        f"{evaluation.workload}: {flag.evidence}"
        for evaluation in measurement.evaluations
        for flag in counter_flags(evaluation, policy.counters_tolerance)
    )
