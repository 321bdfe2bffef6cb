"""The gates: each one checks one property of the evidence on one workload and states its evidence.

In order: build; resources (registers, spills and stack within the limits, if any); correctness; provenance (no SDPA
kernel); completeness (no evidence is missing); physical floor (no time is below it); machine (GPU undisturbed);
clocks (device and host clock agree); witness (an independent process measured the same); counters (no contradiction
to the clock); control (A/A: the baseline does not differ from itself); baseline (the required SDPA backend); speedup
(the point estimate); confidence interval (all of it). The first gate that does not pass ends the sequence.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from gate.analysis.build_limits import has_limits
from gate.records import (
    Build,
    Comparison,
    Estimate,
    Evaluation,
    Gate,
    Measurement,
    Outcome,
    Policy,
    ResourceLimits,
    Status,
    Workload,
)
from gate.records.sdpa import PREFIX
from gate.records.verdict import OUTCOMES
from gate.stats.multiplicity import holm
from gate.verdict.gate_baseline import baseline_gate
from gate.verdict.gate_correctness import correctness_gate
from gate.verdict.gate_counters import counters_gate
from gate.verdict.gate_trust import (
    clocks_gate,
    completeness_gate,
    machine_gate,
    physical_floor_gate,
    provenance_gate,
    witness_gate,
)


def build_gates(build: Build | None, policy: Policy) -> Iterator[Gate]:
    """The gates on the build: none if it succeeded and the policy limits no resource."""
    if build is None:
        yield Gate("completeness", None, Outcome.UNDECIDED, "the evidence contains no candidate")
    elif build.status is not Status.OK:
        yield Gate("build", None, OUTCOMES[build.status], build.message)
    elif has_limits(build, policy.resources):
        yield _resources(build, policy.resources)


def _resources(build: Build, limits: ResourceLimits) -> Gate:
    """Passes if every kernel is within the limits on every compiled architecture."""
    violations = limits.broken_by(build.resources)
    if not build.resources:
        return Gate("resources", None, Outcome.UNDECIDED, "the compiler did not report the kernels' resources")
    if violations:
        more = f" (and {len(violations) - 1} more)" if violations[1:] else ""
        return Gate("resources", None, Outcome.REJECTED, f"{violations[0]}{more}")
    return Gate("resources", None, Outcome.PASS, f"{len(build.resources)} kernels within the limits")


def unfit_workloads(comparisons: Sequence[Comparison], policy: Policy) -> tuple[Workload, ...]:
    """Workloads whose A/A control fires: significantly (Holm over workloads) and by more than `control_margin`."""
    controls = [
        (comparison.workload, comparison.control) for comparison in comparisons if comparison.control is not None
    ]
    known = [(workload, control, control.p_value) for workload, control in controls if control.p_value is not None]
    alarms = holm([p_value for _, _, p_value in known], policy.control_alpha)
    return tuple(
        workload
        for (workload, control, _), alarm in zip(known, alarms, strict=True)
        if alarm and abs(control.point - 1) > policy.control_margin
    )


def workload_gates(
    evaluation: Evaluation,
    comparison: Comparison | None,
    policy: Policy,
    unfit: Collection[Workload],
    measurement: Measurement,
) -> list[Gate]:
    """The gates up to the first that does not pass; both speed gates are always reported together."""
    gates: list[Gate] = []
    environment = measurement.environment
    witnessed = witness_gate(evaluation, comparison, policy)
    if witnessed is not None and witnessed.outcome is Outcome.REJECTED:
        return [witnessed]  # a wrong output found by the witness outranks whatever the candidate's process reports
    stages = (
        correctness_gate(evaluation),
        provenance_gate(evaluation, measurement.impl),
        _timed(evaluation, comparison),
        completeness_gate(evaluation, comparison, environment),
        physical_floor_gate(comparison, environment.gpu),
        machine_gate(evaluation, policy, environment.gpu),
        clocks_gate(evaluation, policy),
        witnessed,
        counters_gate(evaluation, comparison, policy),
        _control(comparison, policy, unfit),
        baseline_gate(evaluation, comparison, policy, measurement),
    )
    for gate in stages:
        if gate is not None:
            gates.append(gate)
            if gate.outcome is not Outcome.PASS:
                return gates
    if comparison is not None:
        gates += [_speedup(comparison, policy), _confidence_interval(comparison, policy)]
    return gates


def _timed(evaluation: Evaluation, comparison: Comparison | None) -> Gate | None:
    """What went wrong during timing; None if nothing did."""
    trial = evaluation.trial
    if trial is None and evaluation.sdpa is not None and evaluation.sdpa.status is not Status.OK:
        reason = f"SDPA could not be timed: {evaluation.sdpa.message}"
        return Gate("completeness", evaluation.workload, Outcome.ENVIRONMENT, reason)
    refused = [trace for trace in evaluation.traces if trace.refusal and trace.implementation.startswith(PREFIX)]
    refusals = [f"{trace.implementation}: {trace.refusal}" for trace in refused]
    if trial is None and refusals:
        return Gate("completeness", evaluation.workload, Outcome.ENVIRONMENT, f"no baseline: {refusals[0]}")
    if trial is None:
        return Gate("completeness", evaluation.workload, Outcome.UNDECIDED, "the candidate was checked but not timed")
    if trial.status is Status.OK:
        if comparison is not None:
            return None
        evidence = "candidate and baseline were not both timed"
        return Gate("completeness", evaluation.workload, Outcome.UNDECIDED, evidence)
    outcome = OUTCOMES[trial.status]
    name = "correctness" if outcome in (Outcome.REJECTED, Outcome.FAILED) else "completeness"
    name = "speedup" if trial.status is Status.TOO_SLOW else name
    return Gate(name, evaluation.workload, outcome, f"during timing: {trial.message}")


def _control(comparison: Comparison | None, policy: Policy, unfit: Collection[Workload]) -> Gate | None:
    """If the A/A control fires on one workload, the machine is unfit to judge any workload."""
    control = comparison.control if comparison else None
    if comparison is None or not comparison.paired:
        return None
    if control is None:
        return Gate("control", comparison.workload, Outcome.UNDECIDED, "no A/A control: the baseline was timed once")
    if control.low is None:
        return Gate("control", comparison.workload, Outcome.UNDECIDED, _no_interval(control, policy))
    if comparison.workload in unfit:
        reason = f"the baseline differs from itself: A/A ratio {control}"
        return Gate("control", comparison.workload, Outcome.UNDECIDED, reason)
    if unfit:
        reason = f"the machine is unfit: the A/A control fired at {', '.join(map(str, unfit))}"
        return Gate("control", comparison.workload, Outcome.UNDECIDED, reason)
    return Gate("control", comparison.workload, Outcome.PASS, f"A/A ratio {control}")


def _speedup(comparison: Comparison, policy: Policy) -> Gate:
    """The point estimate is below the threshold; with `strict`, the whole interval is."""
    ratio = comparison.ratio
    limit = ratio.high if policy.strict and ratio.high is not None else ratio.point
    required = f"{'whole interval' if policy.strict else 'ratio'} below {policy.speedup:g}"
    return _speed_gate("speedup", comparison, policy, limit < policy.speedup, policy.speedup, required)


def _confidence_interval(comparison: Comparison, policy: Policy) -> Gate:
    """The whole interval is below 1: the candidate is faster, by any amount."""
    high = comparison.ratio.high
    return _speed_gate(
        "confidence interval", comparison, policy, high is not None and high < 1, 1.0, "whole interval below 1"
    )


def _speed_gate(name: str, comparison: Comparison, policy: Policy, met: bool, bound: float, required: str) -> Gate:
    """Pass if `met`; rejected if the whole interval lies at or above `bound`; otherwise undecided."""
    ratio = comparison.ratio
    if ratio.low is None:
        return Gate(name, comparison.workload, Outcome.UNDECIDED, _no_interval(ratio, policy))
    beyond = Outcome.REJECTED if ratio.low >= bound else Outcome.UNDECIDED
    interval = f"{100 * ratio.confidence:.4g}% confidence, {ratio.replicates} replicates"
    evidence = f"ratio {comparison.ratio} to {comparison.baseline} ({interval}); required: {required}"
    return Gate(name, comparison.workload, Outcome.PASS if met else beyond, evidence)


def _no_interval(estimate: Estimate, policy: Policy) -> str:
    if estimate.replicates < policy.min_replicates:
        return f"{estimate.replicates} replicates; an interval needs at least {policy.min_replicates}"
    return f"all {estimate.replicates} replicates are identical, which a real measurement never is"
