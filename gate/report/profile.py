"""Formats profiles: the table of `kernel-gate profile`, and a section of the verdict's evidence."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from gate.analysis.comparison import gated_ms
from gate.analysis.conditions import Subject
from gate.analysis.derived import Derived, derive
from gate.analysis.explanation import paragraph
from gate.records import Ceilings, Evaluation, Gpu, Measurement, Profile, Run
from gate.records.sdpa import PREFIX

NOT_MEASURED = "not measured"
MAX_NAME = 70


@dataclass(frozen=True, slots=True)
class CounterRow:
    """One line of the table: a number of a call, its format, and the factor to its unit."""

    title: str
    of: Callable[[Derived], float | None]
    form: str = "{:.1f}"
    times: float = 1.0


def _counter(name: str) -> Callable[[Derived], float | None]:
    return lambda call: call.total(name)


def _share_of(rate: str, roof: str) -> Callable[[Derived], float | None]:
    def share(call: Derived) -> float | None:
        value, ceiling = getattr(call, rate), getattr(getattr(call, roof), rate)
        return None if value is None or ceiling is None else value / ceiling

    return share


PERCENT = 100.0
ROWS: tuple[CounterRow, ...] = (
    CounterRow("kernels", lambda call: float(len(call.profile.kernels)), "{:.0f}"),
    CounterRow("duration µs", _counter("duration_ns"), "{:.2f}", 1e-3),
    CounterRow("TFLOP/s", lambda call: call.flops_per_s, "{:.1f}", 1e-12),
    CounterRow("  % of measured ceiling", _share_of("flops_per_s", "measured"), times=PERCENT),
    CounterRow("  % of theoretical", _share_of("flops_per_s", "theoretical"), times=PERCENT),
    CounterRow("DRAM GB/s", lambda call: call.bytes_per_s, "{:.0f}", 1e-9),
    CounterRow("  % of measured ceiling", _share_of("bytes_per_s", "measured"), times=PERCENT),
    CounterRow("  % of theoretical", _share_of("bytes_per_s", "theoretical"), times=PERCENT),
    CounterRow("flops per byte", lambda call: call.intensity, "{:.0f}"),
    CounterRow("% of the roofline", lambda call: call.roofline_share, times=PERCENT),
    CounterRow("tensor cores %", _counter("tensor_pct")),
    CounterRow("tensor instructions", _counter("tensor_instructions"), "{:,.0f}"),
    CounterRow("instructions", _counter("instructions"), "{:,.0f}"),
    CounterRow("SM %", _counter("sm_pct")),
    CounterRow("issue slots %", _counter("issue_pct")),
    CounterRow("memory %", _counter("memory_pct")),
    CounterRow("DRAM %", _counter("dram_pct")),
    CounterRow("DRAM sectors read", _counter("dram_sectors_read"), "{:,.0f}"),
    CounterRow("DRAM sectors written", _counter("dram_sectors_write"), "{:,.0f}"),
    CounterRow("L2 %", _counter("l2_pct")),
    CounterRow("L2 hits %", _counter("l2_hit_pct")),
    CounterRow("occupancy %", _counter("occupancy_pct")),
    CounterRow("  at most %", _counter("occupancy_limit_pct")),
    CounterRow("bank conflicts %", lambda call: call.conflict_share, times=PERCENT),
    CounterRow("uncoalesced sectors %", lambda call: call.uncoalesced_share, times=PERCENT),
    CounterRow("local memory instructions", _counter("local_instructions"), "{:,.0f}"),
    CounterRow("registers per thread", _counter("registers"), "{:.0f}"),
    CounterRow("shared memory per block", _counter("shared_bytes"), "{:,.0f}"),
    CounterRow("blocks", _counter("blocks"), "{:,.0f}"),
    CounterRow("waves", _counter("waves"), "{:.2f}"),
    CounterRow("SM clock MHz", _counter("sm_hz"), "{:.0f}", 1e-6),
)


def derived_of(evaluation: Evaluation, gpu: Gpu | None) -> list[Derived]:
    """The derived numbers of every measured profile, with the ceilings measured on this device."""
    ceilings = ceilings_of(evaluation)
    return [
        derive(profile, evaluation.workload, gpu, ceilings) for profile in evaluation.profiles if profile.measured
    ]


def ceilings_of(evaluation: Evaluation) -> Ceilings | None:
    """The ceilings measured on the device; None if no profile has them."""
    return next((profile.ceilings for profile in evaluation.profiles if profile.ceilings is not None), None)


def profile_text(measurement: Measurement) -> str:
    """For each workload: the table, the bound, and the explanation."""
    gpu = measurement.environment.gpu
    return "\n\n".join(
        text for evaluation in measurement.evaluations for text in _evaluation(evaluation, gpu) if text
    )


def _evaluation(evaluation: Evaluation, gpu: Gpu | None) -> Iterator[str]:
    from gate.report.table import table

    seen = derived_of(evaluation, gpu)
    yield f"{evaluation.workload}"
    yield "\n".join(_absences(evaluation.profiles))
    if seen:
        yield table(_rows(seen), "", *(call.profile.implementation for call in seen), *_difference_title(seen))
        yield "\n".join(_kernels(seen))
        yield "\n".join(_explained(seen))


def _rows(seen: Sequence[Derived]) -> Iterator[list[str]]:
    for row in ROWS:
        values = [row.of(call) for call in seen]
        yield [row.title, *(_cell(row, each) for each in values), *_difference(values)]
    yield ["bound by", *(call.bound or NOT_MEASURED for call in seen), *([""] if len(seen) > 1 else [])]
    yield ["occupancy limited by", *(call.limiter or NOT_MEASURED for call in seen), *([""] if len(seen) > 1 else [])]
    for number in range(3):
        waits = [f"{name} {share:.0%}" for call in seen for name, share in call.stalls[number : number + 1]]
        if len(waits) == len(seen):
            yield [f"stall {number + 1}", *waits, *([""] if len(seen) > 1 else [])]


def _cell(row: CounterRow, value: float | None) -> str:
    return NOT_MEASURED if value is None else row.form.format(value * row.times)


def _difference_title(seen: Sequence[Derived]) -> list[str]:
    return ["first / second"] if len(seen) == 2 else []


def _difference(values: Sequence[float | None]) -> list[str]:
    if len(values) != 2:
        return []
    one, other = values
    return ["–" if one is None or not other else f"{one / other:.2f}"]


def _absences(profiles: Sequence[Profile]) -> Iterator[str]:
    """Every missing profile or counter, and the reason."""
    for profile in profiles:
        if not profile.measured:
            yield f"{profile.implementation}: {NOT_MEASURED}: {profile.message}"
        for name, reason in profile.missing.items():
            yield f"{profile.implementation}: {name}: {NOT_MEASURED}: {reason}"


def _kernels(seen: Sequence[Derived]) -> Iterator[str]:
    for call in seen:
        for kernel in call.profile.kernels:
            us = kernel.counters.get("duration_ns", 0.0) / 1e3
            sizes = f"{'×'.join(map(str, kernel.grid))} blocks of {'×'.join(map(str, kernel.block))}"
            yield f"{call.profile.implementation}: {us:.2f} µs, {sizes}: {kernel.kernel[:MAX_NAME]}"


def _explained(seen: Sequence[Derived]) -> Iterator[str]:
    """One paragraph for each profile; the candidate's compares it with the baseline's."""
    baseline = next((call for call in seen if call.profile.implementation.startswith(PREFIX)), None)
    for call in seen:
        beside = baseline if baseline is not call else None
        yield f"{call.profile.implementation}: {paragraph(Subject(call, beside))}"


def profile_lines(run: Run) -> list[str]:
    """The verdict's evidence from profiles, workload by workload; empty if no counters were requested."""
    gpu = run.measurement.environment.gpu
    return [line for evaluation in run.measurement.evaluations for line in _lines(evaluation, gpu)]


def _lines(evaluation: Evaluation, gpu: Gpu | None) -> Iterator[str]:
    for line in (*_absences(evaluation.profiles), *_explained(derived_of(evaluation, gpu))):
        yield f"{evaluation.workload}: {line}"
    seen = evaluation.profiles[0] if evaluation.profiles else None
    gated = gated_ms(evaluation)
    counted = derive(seen, evaluation.workload, gpu, None).duration_ms if seen and seen.measured else None
    if gated is not None and counted is not None:
        yield f"{evaluation.workload}: {counted:.4g} ms by counters, {gated:.4g} ms gated less the empty launch"


def is_profiled(run: Run) -> bool:
    """Whether any counters were measured."""
    return any(profile.measured for evaluation in run.measurement.evaluations for profile in evaluation.profiles)
