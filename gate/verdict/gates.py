"""The gates: each looks at one thing in the evidence on one workload, and says what it saw.

In order: build; resources (registers, spills and stack, where limited); correct; own work (no kernel of SDPA's);
measured (what the next gates rest on is there); possible (no faster than the device); machine (nothing disturbed the
GPU); clocks (two of them agree); witness (a process without the candidate saw the same); counters (nothing
contradicts the clock); control (the baseline shows no difference to itself); baseline (the SDPA backend that was to
be beaten); faster (the point); interval (the whole of it). A gate whose forerunner did not pass is not reached.
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
from gate.verdict.gate_correctness import correct_gate
from gate.verdict.gate_counters import counters_gate
from gate.verdict.gate_trust import (
    clocks_gate,
    complete_gate,
    machine_gate,
    own_work_gate,
    possible_gate,
    witness_gate,
)


def build_gates(build: Build | None, policy: Policy) -> Iterator[Gate]:
    """What the build says; nothing where it succeeded, and no limit is set on what its kernels take."""
    if build is None:
        yield Gate("measured", None, Outcome.UNDECIDED, "the evidence holds no candidate")
    elif build.status is not Status.OK:
        yield Gate("build", None, OUTCOMES[build.status], build.message)
    elif has_limits(build, policy.resources):
        yield _resources(build, policy.resources)


def _resources(build: Build, limits: ResourceLimits) -> Gate:
    """Whether every kernel keeps to its limits, on every architecture that it was compiled for."""
    broken = limits.broken_by(build.resources)
    if not build.resources:
        return Gate("resources", None, Outcome.UNDECIDED, "the compiler did not report what the kernels take")
    if broken:
        more = f" (and {len(broken) - 1} more)" if broken[1:] else ""
        return Gate("resources", None, Outcome.REJECTED, f"{broken[0]}{more}")
    return Gate("resources", None, Outcome.PASS, f"{len(build.resources)} kernels keep to their limits")


def unfit_workloads(comparisons: Sequence[Comparison], policy: Policy) -> tuple[Workload, ...]:
    """Where the baseline differs from itself: beyond chance (Holm over workloads), and by enough to matter."""
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
    """The gates up to the first that did not pass; the two on speed are both shown."""
    gates: list[Gate] = []
    environment = measurement.environment
    witnessed = witness_gate(evaluation, comparison, policy)
    if witnessed is not None and witnessed.outcome is Outcome.REJECTED:
        return [witnessed]  # a wrong output, seen from outside, goes before all that the candidate's process says
    stages = (
        correct_gate(evaluation),
        own_work_gate(evaluation, measurement.impl),
        _timed(evaluation, comparison),
        complete_gate(evaluation, comparison, environment),
        possible_gate(comparison, environment.gpu),
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
        gates += [_faster(comparison, policy), _interval(comparison, policy)]
    return gates


def _timed(evaluation: Evaluation, comparison: Comparison | None) -> Gate | None:
    """What went wrong while timing; nothing to add where nothing did."""
    trial = evaluation.trial
    if trial is None and evaluation.sdpa is not None and evaluation.sdpa.status is not Status.OK:
        return Gate("measured", evaluation.workload, Outcome.ENVIRONMENT, f"SDPA itself: {evaluation.sdpa.message}")
    refused = [trace for trace in evaluation.traces if trace.refusal and trace.implementation.startswith(PREFIX)]
    refusals = [f"{trace.implementation}: {trace.refusal}" for trace in refused]
    if trial is None and refusals:
        return Gate("measured", evaluation.workload, Outcome.ENVIRONMENT, f"no baseline: {refusals[0]}")
    if trial is None:
        return Gate("measured", evaluation.workload, Outcome.UNDECIDED, "checked, and not timed")
    if trial.status is Status.OK:
        if comparison is not None:
            return None
        evidence = "the evidence holds no candidate beside a baseline"
        return Gate("measured", evaluation.workload, Outcome.UNDECIDED, evidence)
    outcome = OUTCOMES[trial.status]
    name = "correct" if outcome in (Outcome.REJECTED, Outcome.FAILED) else "measured"
    name = "faster" if trial.status is Status.TOO_SLOW else name
    return Gate(name, evaluation.workload, outcome, f"while timed: {trial.message}")


def _control(comparison: Comparison | None, policy: Policy, unfit: Collection[Workload]) -> Gate | None:
    """One workload whose control fires makes the machine unfit to judge any."""
    control = comparison.control if comparison else None
    if comparison is None or not comparison.paired:
        return None
    if control is None:
        return Gate("control", comparison.workload, Outcome.UNDECIDED, "the baseline was not timed twice")
    if control.low is None:
        return Gate("control", comparison.workload, Outcome.UNDECIDED, _no_interval(control, policy))
    seen = f"ratio {control}"
    if comparison.workload in unfit:
        return Gate("control", comparison.workload, Outcome.UNDECIDED, f"the baseline differs from itself: {seen}")
    if unfit:
        where = ", ".join(map(str, unfit))
        return Gate("control", comparison.workload, Outcome.UNDECIDED, f"the machine is unfit: it fired at {where}")
    evidence = f"the baseline shows no difference to itself: {seen}"
    return Gate("control", comparison.workload, Outcome.PASS, evidence)


def _faster(comparison: Comparison, policy: Policy) -> Gate:
    """The point under the threshold; with `strict`, the whole interval."""
    ratio = comparison.ratio
    limit = ratio.high if policy.strict and ratio.high is not None else ratio.point
    needs = f"{'the whole interval' if policy.strict else 'the ratio'} under {policy.speedup:g}"
    return _speed_gate("faster", comparison, policy, limit < policy.speedup, policy.speedup, needs)


def _interval(comparison: Comparison, policy: Policy) -> Gate:
    """The whole interval below 1: faster beyond doubt, by however little."""
    high = comparison.ratio.high
    return _speed_gate("interval", comparison, policy, high is not None and high < 1, 1.0, "the interval below 1")


def _speed_gate(name: str, comparison: Comparison, policy: Policy, met: bool, bound: float, needs: str) -> Gate:
    """Passed where met; rejected where the whole interval lies beyond the bound; undecided between the two."""
    ratio = comparison.ratio
    if ratio.low is None:
        return Gate(name, comparison.workload, Outcome.UNDECIDED, _no_interval(ratio, policy))
    beyond = Outcome.REJECTED if ratio.low >= bound else Outcome.UNDECIDED
    sure = f"{ratio.confidence:.4g} confidence over {ratio.replicates} replicates"
    evidence = f"ratio {comparison.ratio} to {comparison.baseline}, {sure}; needs {needs}"
    return Gate(name, comparison.workload, Outcome.PASS if met else beyond, evidence)


def _no_interval(estimate: Estimate, policy: Policy) -> str:
    if estimate.replicates < policy.min_replicates:
        return f"{estimate.replicates} replicates; {policy.min_replicates} are needed for an interval"
    return f"all {estimate.replicates} replicates say the same: not a measurement"
