"""Measurement and Policy to Verdict: pure, so that it can be repeated anywhere from the raw samples.

Over workloads all must pass: an intersection of tests needs no correction of alpha.
"""

from __future__ import annotations

from gate.analysis.comparison import compare
from gate.records import Build, Comparison, Correctness, Gate, Measurement, Outcome, Policy, Run, Trial, Verdict
from gate.records.verdict import OUTCOMES
from gate.verdict.gate_counters import oddities
from gate.verdict.gate_trust import MACHINE_STEP, own_work_gate, unexplained_clocks
from gate.verdict.gates import build_gates, unfit_workloads, workload_gates

FASTER = "Make the kernel faster; the table says how far it is from the threshold."
NEXT_STEPS = {
    Outcome.REJECTED: {
        "build": "Declare the architecture in kernel.toml, or judge on another GPU.",
        "resources": "Take a smaller tile or fewer registers; `kernel-gate build` shows what each kernel takes.",
        "correct": "Fix the kernel; `kernel-gate fuzz` shows on which workloads it is wrong.",
        "own work": "Compute attention by kernels of your own; matrix products by a library are fine.",
        "possible": "Find the work that was not done or not timed: no kernel is faster than the device.",
        "faster": FASTER,
        "interval": FASTER,
    },
    Outcome.FAILED: {
        "build": "Fix the build; the compiler's own words are below.",
        "correct": "Fix the kernel; `kernel-gate fuzz` finds the smallest workload that ends it.",
    },
    Outcome.UNDECIDED: {
        "measured": "Measure every required workload with `kernel-gate measure-candidate`, then judge again.",
        "machine": MACHINE_STEP,
        "counters": "Find why the counters contradict the clock; `kernel-gate profile` shows what was launched.",
        "clocks": "Find what disturbs one of the clocks; a candidate that patches timers would.",
        "control": "Quieten the machine (`kernel-gate doctor`), then measure again.",
        "baseline": "Measure again on a quiet machine, against the backend that is to be beaten (`--baseline`).",
    },
}
NEED_AN_INTERVAL = ("control", "faster", "interval")
MORE_REPLICATES = "Measure again with `--replicates {0}` or more, or without that option: fewer give no interval."
UNDECIDED_STEP = "Measure again on a quiet machine, or with more replicates (`--set measure.looks=[10,20,40]`)."
ENVIRONMENT_STEP = "Fix the machine (`kernel-gate doctor` says how), then run again."
PASS_STEP = "Nothing more to do on these workloads."


def judge(measurement: Measurement, policy: Policy) -> Run:
    """The verdict on a candidate's measurement, with the comparisons and gates it rests on."""
    found = {evaluation.workload: evaluation for evaluation in measurement.evaluations}
    comparisons = {workload: compare(evaluation, policy) for workload, evaluation in found.items()}
    present = tuple(comparison for comparison in comparisons.values() if comparison is not None)
    unfit = unfit_workloads(present, policy)
    gates = list(build_gates(measurement.build, policy))
    stopped = any(gate.outcome is not Outcome.PASS for gate in gates)
    for workload in () if stopped else measurement.workloads:
        if workload in found:
            gates += workload_gates(found[workload], comparisons[workload], policy, unfit, measurement)
        else:
            gates.append(Gate("measured", workload, Outcome.UNDECIDED, "asked for, and not in the evidence"))
    clocks = tuple(
        f"{evaluation.workload}: {warning}"
        for evaluation in measurement.evaluations
        for warning in unexplained_clocks(evaluation, measurement.environment.gpu)
    )
    odd = (*clocks, *oddities(measurement, policy))
    return Run(measurement, policy, present, _verdict(measurement.impl or "nothing", gates, present, odd, policy))


def measurement_outcome(measurement: Measurement) -> Outcome:
    """How the measuring itself went, speed aside: the worst status of any stage, and what kept it from timing."""
    stages: list[Build | Correctness | Trial | None] = [measurement.build]
    stages += [
        stage
        for evaluation in measurement.evaluations
        for stage in (evaluation.correctness, evaluation.sdpa, evaluation.trial)
    ]
    seen = [OUTCOMES[stage.status] for stage in stages if stage is not None]
    own_work = [own_work_gate(evaluation, measurement.impl) for evaluation in measurement.evaluations]
    seen += [gate.outcome for gate in own_work if gate is not None]
    seen += [] if measurement.evaluations else [Outcome.UNDECIDED]
    return min(seen, key=list(Outcome).index)


def _verdict(
    impl: str, gates: list[Gate], comparisons: tuple[Comparison, ...], odd: tuple[str, ...], policy: Policy
) -> Verdict:
    outcome = min((gate.outcome for gate in gates), key=list(Outcome).index)
    deciding = next(gate for gate in gates if gate.outcome is outcome)
    warnings = tuple(
        f"{comparison.workload}: {warning}" for comparison in comparisons for warning in comparison.warnings
    )
    reason = _reason(impl, outcome, deciding, comparisons)
    return Verdict(outcome, reason, _step(deciding, comparisons, policy), tuple(gates), (*warnings, *odd))


def _reason(impl: str, outcome: Outcome, deciding: Gate, comparisons: tuple[Comparison, ...]) -> str:
    if outcome is Outcome.PASS:
        slowest = max(comparisons, key=lambda each: each.ratio.point)
        gain = f"{slowest.ratio.speedup()} against {slowest.baseline}"
        many = f" on all {len(comparisons)} workloads, where it gains least" if len(comparisons) > 1 else ""
        return f"{impl} is correct and faster{many}: {gain}"
    where = f" at {deciding.workload}" if deciding.workload else ""
    return f"{impl}{where}, {deciding.name}: {deciding.evidence}"


def _step(deciding: Gate, comparisons: tuple[Comparison, ...], policy: Policy) -> str:
    if deciding.outcome is Outcome.PASS:
        return PASS_STEP
    short = {comparison.workload for comparison in comparisons if comparison.ratio.replicates < policy.min_replicates}
    if deciding.outcome is Outcome.UNDECIDED and deciding.workload in short and deciding.name in NEED_AN_INTERVAL:
        return MORE_REPLICATES.format(policy.min_replicates)
    default = ENVIRONMENT_STEP if deciding.outcome is Outcome.ENVIRONMENT else UNDECIDED_STEP
    return NEXT_STEPS.get(deciding.outcome, {}).get(deciding.name, default)
