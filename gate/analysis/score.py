"""The score of a measured candidate, term by term (docs/profiling.md): guides a search, never a verdict. Pure.

score = 1000 · sdpa_ms / cand_ms + 2 · tensor_pct + sm_busy_pct − penalty
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from gate.analysis.derived import derive
from gate.analysis.kernel_names import same_kernel
from gate.records import (
    BASELINE,
    CANDIDATE,
    SCHEMA_VERSION,
    Build,
    Evaluation,
    KernelCounters,
    KernelResources,
    Measurement,
    Profile,
    Record,
    SchemaVersion,
    Trial,
    Workload,
)
from gate.records.occupancy import MULTIPROCESSORS, REGISTERS, WARP

A_BARRIER, A_REGISTER, A_SPILLED_BYTE = 5.0, 0.1, 0.1
"""Points; SDPA's speed is 1000 points, so 5 points equal half a percent of time."""
NOT_PROFILED = "not measured; measure with --ncu"


@dataclass(frozen=True, slots=True)
class Term(Record):
    """One part of the score. `points` is None if it is not measured; `evidence` then holds the reason."""

    name: str
    points: float | None
    evidence: str


@dataclass(frozen=True, slots=True)
class Score(Record):
    """All terms of one workload. A term that was not measured adds 0 points and makes the score partial.

    Without terms there is no score: the candidate was not timed against SDPA.
    """

    workload: Workload
    terms: tuple[Term, ...] = ()
    total: float = 0.0
    """Sum of the measured terms."""

    @property
    def complete(self) -> bool:
        """Whether every term was measured; partial scores are not comparable."""
        return all(term.points is not None for term in self.terms)


@dataclass(frozen=True, slots=True)
class Scores(Record):
    """The scores of a measurement's workloads."""

    impl: str | None
    scores: tuple[Score, ...]
    kind: Literal["scores"] = "scores"
    schema_version: SchemaVersion = SCHEMA_VERSION


def score(measurement: Measurement, evaluation: Evaluation) -> Score:
    """The score on one workload."""
    trial = evaluation.trial
    if trial is None or not trial.replicates or not trial.has(CANDIDATE, BASELINE):
        return Score(evaluation.workload)
    profile = evaluation.profile(trial.implementation(CANDIDATE))
    terms = (_speed(trial), *_counted(evaluation, profile), *_penalty(measurement, profile))
    return Score(evaluation.workload, terms, sum(term.points for term in terms if term.points is not None))


def _speed(trial: Trial) -> Term:
    ours, theirs = trial.median_ms[CANDIDATE], trial.median_ms[BASELINE]
    return Term("speed", 1000 * theirs / ours, f"1000 × {theirs:.4g} ms / {ours:.4g} ms")


def _counted(evaluation: Evaluation, profile: Profile | None) -> Iterator[Term]:
    """Percentages of peak, over the whole call."""
    for name, counter, weight in (("tensor", "tensor_pct", 2), ("SM busy", "sm_pct", 1)):
        if profile is None or not profile.measured:
            yield Term(name, None, profile.message if profile else NOT_PROFILED)
            continue
        value = derive(profile, evaluation.workload, None, None).total(counter)
        if value is None:
            yield Term(name, None, profile.missing.get(counter, "not measured for every kernel"))
        else:
            yield Term(name, weight * value, f"{weight} × {value:.1f}%")


def _penalty(measurement: Measurement, profile: Profile | None) -> Iterator[Term]:
    """Points for barriers, registers and spills of the longest kernel: costs that its time need not show."""
    longest = _longest(profile)
    yield _barriers(profile, longest)
    taken = _resources(measurement.build, _architecture(measurement), longest)
    yield _registers(measurement, longest, taken)
    if taken is None:
        reason = "the compiler did not report them" if longest else "without counters the longest kernel is unknown"
        yield Term("spills", None, f"not measured: {reason}")
    else:
        spilled = taken.spill_bytes
        yield Term("spills", -A_SPILLED_BYTE * spilled, f"−{A_SPILLED_BYTE} × {spilled} bytes of {taken.kernel}")


def _longest(profile: Profile | None) -> KernelCounters | None:
    if profile is None or not profile.measured:
        return None
    return max(profile.kernels, key=lambda kernel: kernel.counters.get("duration_ns", 0.0))


def _barriers(profile: Profile | None, longest: KernelCounters | None) -> Term:
    codes = profile.machine_code if profile else ()
    code = next((code for code in codes if longest and same_kernel(code.kernel, longest.kernel)), None)
    if code is None or code.barriers_per_tile is None:
        return Term("barriers", None, "not measured: no machine code of the longest kernel, or no loop in it")
    count = code.barriers_per_tile
    return Term("barriers", -A_BARRIER * count, f"−{A_BARRIER:g} × {count} per tile")


def _registers(measurement: Measurement, longest: KernelCounters | None, taken: KernelResources | None) -> Term:
    limits = MULTIPROCESSORS.get(_architecture(measurement).rstrip("af"))
    counted = longest.counters.get("registers") if longest else None
    registers = counted if counted is not None else taken.registers if taken else None
    if limits is None or registers is None:
        return Term("registers", None, "not measured: neither counters nor the compiler's report")
    allowed = REGISTERS // (limits.warps * WARP)
    over = max(0.0, registers - allowed)
    return Term(
        "registers", -A_REGISTER * over, f"−{A_REGISTER} × {over:.0f} above {allowed}, the limit for full occupancy"
    )


def _architecture(measurement: Measurement) -> str:
    gpu = measurement.environment.gpu
    return gpu.compute_capability if gpu else ""


def _resources(build: Build | None, architecture: str, longest: KernelCounters | None) -> KernelResources | None:
    """The compiler's report on the longest kernel."""
    kernels = [
        kernel for kernel in (build.resources if build else ()) if kernel.architecture.rstrip("af") == architecture
    ]
    return next((kernel for kernel in kernels if longest and same_kernel(kernel.kernel, longest.kernel)), None)
