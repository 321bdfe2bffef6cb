"""Computes the verdict from a measurement and a policy. Pure: anyone can repeat it from the raw samples.

Every workload must pass; such an intersection of tests needs no correction of alpha.
"""

from __future__ import annotations

from gate.analysis.comparison import compare
from gate.records import Build, Comparison, Correctness, Gate, Measurement, Outcome, Policy, Run, Trial, Verdict
from gate.records.verdict import OUTCOMES
from gate.verdict.gate_counters import oddities
from gate.verdict.gate_trust import MACHINE_STEP, provenance_gate, unexplained_clocks
from gate.verdict.gates import build_gates, unfit_workloads, workload_gates

FASTER = "Make the kernel faster; the table shows its distance from the threshold."
NEXT_STEPS = {
    Outcome.REJECTED: {
        "build": "Declare the architecture in kernel.toml, or judge on another GPU.",
        "resources": "Use a smaller tile or fewer registers; `kernel-gate build` lists each kernel's resources.",
        "correctness": "Fix the kernel; `kernel-gate fuzz` shows on which workloads it is wrong.",
        "provenance": "Compute attention with your own kernels; matrix products from a library are allowed.",
        "physical floor": "Find the work that was skipped or not timed: no kernel is faster than the physical floor.",
        "speedup": FASTER,
        "confidence interval": FASTER,
    },
    Outcome.FAILED: {
        "build": "Fix the build; the compiler's output is below.",
        "correctness": "Fix the kernel; `kernel-gate fuzz` finds the smallest workload on which it fails.",
    },
    Outcome.UNDECIDED: {
        "completeness": "Measure every required workload with `kernel-gate measure-candidate`, then judge again.",
        "machine": MACHINE_STEP,
        "counters": "Find out why counters and clock disagree; `kernel-gate profile` lists the launched kernels.",
        "clocks": "Find out what disturbs one of the clocks; a candidate that patches timers does that.",
        "control": "Reduce the noise on the machine (`kernel-gate doctor` helps), then measure again.",
        "baseline": "Measure again on a quiet machine, against the required backend (`--baseline`).",
    },
}
NEED_AN_INTERVAL = ("control", "speedup", "confidence interval")
MORE_REPLICATES = "Measure again with `--replicates {0}` or more, or without this option: fewer give no interval."
UNDECIDED_STEP = (
    "Measure again on a quiet machine, or with more replicates (`--set measure.interim_replicates=[10,20,40]`)."
)
ENVIRONMENT_STEP = "Fix the machine (`kernel-gate doctor` shows how), then run again."
PASS_STEP = "Nothing more to do on these workloads."


def judge(measurement: Measurement, policy: Policy) -> Run:
    """The verdict on a candidate's measurement, with its comparisons and gates."""
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
            gates.append(Gate("completeness", workload, Outcome.UNDECIDED, "required, but missing from the evidence"))
    clocks = tuple(
        f"{evaluation.workload}: {warning}"
        for evaluation in measurement.evaluations
        for warning in unexplained_clocks(evaluation, measurement.environment.gpu)
    )
    odd = (*clocks, *oddities(measurement, policy))
    return Run(measurement, policy, present, _verdict(measurement.impl or "nothing", gates, present, odd, policy))


def measurement_outcome(measurement: Measurement) -> Outcome:
    """The worst outcome of the measurement's stages, without a judgement on speed."""
    stages: list[Build | Correctness | Trial | None] = [measurement.build]
    stages += [
        stage
        for evaluation in measurement.evaluations
        for stage in (evaluation.correctness, evaluation.sdpa, evaluation.trial)
    ]
    outcomes = [OUTCOMES[stage.status] for stage in stages if stage is not None]
    own_work = [provenance_gate(evaluation, measurement.impl) for evaluation in measurement.evaluations]
    outcomes += [gate.outcome for gate in own_work if gate is not None]
    outcomes += [] if measurement.evaluations else [Outcome.UNDECIDED]
    return min(outcomes, key=list(Outcome).index)


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
        speedup = f"{slowest.ratio.speedup()} against {slowest.baseline}"
        scope = f" on all {len(comparisons)} workloads; smallest speedup" if len(comparisons) > 1 else ""
        return f"{impl} is correct and faster{scope}: {speedup}"
    workload = f" at {deciding.workload}" if deciding.workload else ""
    return f"{impl}{workload}, {deciding.name}: {deciding.evidence}"


def _step(deciding: Gate, comparisons: tuple[Comparison, ...], policy: Policy) -> str:
    if deciding.outcome is Outcome.PASS:
        return PASS_STEP
    short = {comparison.workload for comparison in comparisons if comparison.ratio.replicates < policy.min_replicates}
    if deciding.outcome is Outcome.UNDECIDED and deciding.workload in short and deciding.name in NEED_AN_INTERVAL:
        return MORE_REPLICATES.format(policy.min_replicates)
    default = ENVIRONMENT_STEP if deciding.outcome is Outcome.ENVIRONMENT else UNDECIDED_STEP
    return NEXT_STEPS.get(deciding.outcome, {}).get(deciding.name, default)
