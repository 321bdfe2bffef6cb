"""The gates: each looks at one thing in the evidence on one workload, and says what it saw.

In order: build; resources (registers, spills and stack, where limited); correct; own work (no kernel of SDPA's);
possible (no faster than the device); machine (nothing disturbed the GPU); clocks (two of them agree); witness (a
process without the candidate saw the same); counters (nothing contradicts the clock); control (the baseline equals
itself); baseline (no other SDPA backend is faster); faster (the point); interval (the whole of it). A gate whose
forerunner did not pass is not reached.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from gate.belief import clocks_gate, machine_gate, own_work_gate, possible_gate, witness_gate
from gate.compare import fastest, percentile_ms
from gate.outcomes import OUTCOMES
from gate.profiling.crosscheck import counters_gate
from gate.records import (
    BASELINE,
    Build,
    Comparison,
    Correctness,
    Estimate,
    Evaluation,
    Gate,
    Gpu,
    Outcome,
    Policy,
    ResourceLimits,
    Status,
    Trial,
    Workload,
)
from gate.sdpa import PREFIX
from gate.stats.families import holm
from gate.stats.interval import paired_ratio
from gate.words import in_words, speed_in_words


def build_gates(build: Build | None, policy: Policy) -> Iterator[Gate]:
    """What the build says; nothing where it succeeded, and no limit is set on what its kernels take."""
    if build is None:
        yield Gate("measured", None, Outcome.UNDECIDED, "the evidence holds no candidate")
    elif build.status is not Status.OK:
        yield Gate("build", None, OUTCOMES[build.status], build.message)
    elif policy.resources != ResourceLimits() and build.architectures:
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
    controls = [(each.workload, each.control) for each in comparisons if each.control is not None]
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
    gpu: Gpu | None,
) -> list[Gate]:
    """The gates up to the first that did not pass; the two on speed are both shown."""
    gates: list[Gate] = []
    stages = (
        _correct(evaluation),
        _timed(evaluation, comparison),
        own_work_gate(evaluation, comparison),
        possible_gate(comparison, gpu),
        machine_gate(evaluation),
        clocks_gate(evaluation, policy),
        witness_gate(evaluation, comparison, policy),
        counters_gate(evaluation, comparison, policy),
        _control(comparison, policy, unfit),
        _baseline(evaluation, comparison, policy),
    )
    for gate in stages:
        if gate is not None:
            gates.append(gate)
            if gate.outcome is not Outcome.PASS:
                return gates
    if comparison is not None:
        gates += [_faster(comparison, policy), _interval(comparison, policy)]
    return gates


def _correct(evaluation: Evaluation) -> Gate:
    seen = evaluation.correctness
    if seen is None:
        return Gate("correct", evaluation.workload, Outcome.UNDECIDED, "not checked")
    return Gate("correct", evaluation.workload, OUTCOMES[seen.status], seen.message or _errors(seen))


def _errors(seen: Correctness) -> str:
    return f"max error {seen.max_abs_err:.1e} (SDPA's own: {seen.sdpa_max_abs_err:.1e}), {len(seen.checks)} checks"


def _timed(evaluation: Evaluation, comparison: Comparison | None) -> Gate | None:
    """What went wrong while timing; nothing to add where nothing did."""
    trial = evaluation.trial
    if trial is None and evaluation.sdpa is not None and evaluation.sdpa.status is not Status.OK:
        return Gate("measured", evaluation.workload, Outcome.ENVIRONMENT, f"SDPA itself: {evaluation.sdpa.message}")
    refusals = [f"{each.implementation}: {each.refusal}" for each in evaluation.traces if each.refusal]
    if trial is None and refusals:
        return Gate("measured", evaluation.workload, Outcome.ENVIRONMENT, f"no baseline: {refusals[0]}")
    if trial is None:
        return Gate("measured", evaluation.workload, Outcome.UNDECIDED, "checked, and not timed")
    if trial.status is Status.OK:
        if comparison is not None:
            return None
        evidence = "the evidence holds no candidate beside a baseline"
        return Gate("measured", evaluation.workload, Outcome.UNDECIDED, evidence)
    name = "correct" if OUTCOMES[trial.status] in (Outcome.REJECTED, Outcome.FAILED) else "measured"
    return Gate(name, evaluation.workload, OUTCOMES[trial.status], f"while timed: {trial.message}")


def _control(comparison: Comparison | None, policy: Policy, unfit: Collection[Workload]) -> Gate | None:
    """One workload whose control fires makes the machine unfit to judge any."""
    control = comparison.control if comparison else None
    if comparison is None or not comparison.paired:
        return None
    if control is None:
        return Gate("control", comparison.workload, Outcome.UNDECIDED, "the baseline was not timed twice")
    if control.low is None:
        return Gate("control", comparison.workload, Outcome.UNDECIDED, _no_interval(control, policy))
    seen = f"ratio {in_words(control)} to itself"
    if comparison.workload in unfit:
        return Gate("control", comparison.workload, Outcome.UNDECIDED, f"the baseline differs from itself: {seen}")
    if unfit:
        where = ", ".join(map(str, unfit))
        return Gate("control", comparison.workload, Outcome.UNDECIDED, f"the machine is unfit: it fired at {where}")
    return Gate("control", comparison.workload, Outcome.PASS, f"the baseline equals itself: {seen}")


def _baseline(evaluation: Evaluation, comparison: Comparison | None, policy: Policy) -> Gate | None:
    """Whether another backend, seen beside the chosen one, is faster beyond doubt."""
    sdpa = evaluation.sdpa
    if comparison is not None and not comparison.baseline.startswith(PREFIX):
        evidence = f"{comparison.baseline} is not an SDPA backend"
        return Gate("baseline", evaluation.workload, Outcome.UNDECIDED, evidence)
    if comparison is None or not comparison.paired or sdpa is None or sdpa.status is not Status.OK:
        return None
    chosen = _arm_of(sdpa, comparison.baseline)
    best = fastest(sdpa)
    if chosen is None:
        evidence = f"{comparison.baseline} is not among the backends that were compared"
        return Gate("baseline", evaluation.workload, Outcome.UNDECIDED, evidence)
    ratio = paired_ratio(sdpa.samples(best), sdpa.samples(chosen), policy.alpha)
    if ratio.high is not None and ratio.high < 1:
        evidence = f"{sdpa.implementation(best)} is faster than {comparison.baseline}: {in_words(ratio)}"
        return Gate("baseline", evaluation.workload, Outcome.UNDECIDED, evidence)
    slowed = _slowed(evaluation, chosen)
    if slowed > 1 + policy.witness_tolerance:
        evidence = f"{comparison.baseline} takes {slowed:.2f} times as long beside the candidate as without it"
        return Gate("baseline", evaluation.workload, Outcome.UNDECIDED, evidence)
    evidence = f"no SDPA backend is faster than {comparison.baseline}"
    return Gate("baseline", evaluation.workload, Outcome.PASS, evidence)


def _slowed(evaluation: Evaluation, chosen: str) -> float:
    """The baseline beside the candidate over the same in processes that had none.

    By the lower quartiles, so that a busy minute does not count: who keeps a machine busy on purpose does so always.
    """
    if evaluation.trial is None or evaluation.sdpa is None:
        return 1.0
    return percentile_ms(evaluation.trial, BASELINE, 25) / percentile_ms(evaluation.sdpa, chosen, 25)


def _arm_of(sdpa: Trial, implementation: str) -> str | None:
    return next((arm.name for arm in sdpa.arms if arm.implementation == implementation), None)


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
    evidence = f"{speed_in_words(comparison)}, {sure}; needs {needs}"
    return Gate(name, comparison.workload, Outcome.PASS if met else beyond, evidence)


def _no_interval(estimate: Estimate, policy: Policy) -> str:
    if estimate.replicates < policy.min_replicates:
        return f"{estimate.replicates} replicates; {policy.min_replicates} are needed for an interval"
    return f"all {estimate.replicates} replicates say the same: not a measurement"
