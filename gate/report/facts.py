"""The facts of a run that terminal, Markdown and HTML all show.

In order: the verdict and its reason, the next step, one table, the evidence.
"""

from __future__ import annotations

from collections.abc import Iterator

from gate.candidates.tunables import to_text
from gate.records import Build, Comparison, Environment, Evaluation, Gate, Outcome, Run, Status
from gate.report.profile import profile_lines

MARKS = {
    Outcome.PASS: "✅",
    Outcome.REJECTED: "❌",
    Outcome.UNDECIDED: "❔",
    Outcome.FAILED: "💥",
    Outcome.ENVIRONMENT: "🔧",
}
NOT_PROFILED = (
    "Nsight Compute: not measured. `kernel-gate doctor --device cuda` on the runner shows whether its counters can "
    "be read, and how to permit it."
)
MAX_NAME = 80
METHOD = (
    "Every replicate is a fresh process, which creates the arms in random order at random addresses. Every round "
    "runs each arm once, in random order, with a cold cache, on new inputs, into an output filled with NaN; then it "
    "compares the output with SDPA's. The speedup is paired within rounds; its interval is over replicates, not "
    "samples. 'detectable' is the smallest difference that such a trial detects with 80% power."
)


def headline(run: Run) -> str:
    """The verdict and its reason in one line."""
    verdict = run.verdict
    return f"{MARKS[verdict.outcome]} {verdict.outcome.value.upper()}: {verdict.reason}"


def rows(run: Run) -> Iterator[tuple[str, ...]]:
    """One row for each requested workload, in the requested order."""
    compared = {comparison.workload: comparison for comparison in run.comparisons}
    for workload in run.measurement.workloads:
        outcome = _outcome(run, str(workload))
        comparison = compared.get(workload)
        yield (str(workload), *(_cells(comparison) if comparison else ("–",) * 5), outcome)


def _cells(comparison: Comparison) -> tuple[str, ...]:
    detectable = comparison.detectable_difference
    return (
        comparison.baseline,
        f"{comparison.baseline_ms:.4g}",
        f"{comparison.candidate_ms:.4g}",
        comparison.ratio.speedup(),
        "–" if detectable is None else f"±{detectable:.1%}",
    )


def _outcome(run: Run, workload: str) -> str:
    gates = [gate for gate in run.verdict.gates if gate.workload is None or str(gate.workload) == workload]
    worst = min((gate.outcome for gate in gates), key=list(Outcome).index, default=Outcome.UNDECIDED)
    return f"{MARKS[worst]} {worst.value}"


def evidence(run: Run) -> Iterator[tuple[str, list[str]]]:
    """The evidence of the verdict: the title and the lines of each section."""
    measurement = run.measurement
    yield "Gates", [_gate(gate) for gate in run.verdict.gates]
    if measurement.build is not None:
        yield "Build", _build(measurement.build)
    yield "Checks", [line for evaluation in measurement.evaluations for line in _checks(evaluation)]
    yield "Samples", [line for evaluation in measurement.evaluations for line in _samples(evaluation)]
    yield "Kernels", [line for evaluation in measurement.evaluations for line in _kernels(evaluation)]
    yield "Nsight Compute", profile_lines(run)
    yield "Environment", _environment(measurement.environment)
    yield "Method", [METHOD]


def _gate(gate: Gate) -> str:
    where = f" ({gate.workload})" if gate.workload else ""
    return f"{MARKS[gate.outcome]} {gate.name}{where}: {gate.evidence}"


def _build(build: Build) -> list[str]:
    how = "from the cache" if build.cached else "built"
    if build.status is Status.OK:
        tunables = [f"tunables: {to_text(build.config)}"] if build.config else []
        return [f"{build.impl}: {how} in {build.seconds:.2f} s, key {build.key}", *tunables]
    return [f"{build.impl}: {build.status}: {build.message}", *build.log.splitlines()[-40:]]


def _checks(evaluation: Evaluation) -> list[str]:
    if evaluation.correctness is None:
        return []
    return [
        f"{evaluation.workload}: {'ok' if check.passed else 'FAILED'}: {check.name}: {check.evidence}"
        for check in evaluation.correctness.checks
    ]


def _samples(evaluation: Evaluation) -> Iterator[str]:
    for trial in (evaluation.sdpa, evaluation.trial):
        if trial is not None and trial.replicates:
            medians = ", ".join(
                f"{arm.name} ({arm.implementation}) {trial.median_ms[arm.name]:.4g} ms" for arm in trial.arms
            )
            rounds = len(trial.replicates[0].times_ms)
            yield f"{evaluation.workload}: {len(trial.replicates)} replicates × {rounds} rounds, medians: {medians}"


def _kernels(evaluation: Evaluation) -> Iterator[str]:
    for trace in evaluation.traces:
        length = f" ({trace.kernel_ms * 1e3:.1f} µs)" if trace.kernel_ms else ""
        kernels = trace.refusal or ", ".join(name[:MAX_NAME] for name in trace.kernels)
        if kernels:
            yield f"{evaluation.workload}: {trace.implementation}{length}: {kernels}"


def _environment(environment: Environment) -> list[str]:
    from dataclasses import asdict

    return [f"{name}: {value}" for name, value in asdict(environment).items() if value is not None]
