"""The gates on whether evidence can be believed: it is the candidate's own work, possible, and seen by others too."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from gate.analysis.provenance import sdpa_kernel_used
from gate.analysis.roofline import floor_ms
from gate.errors import UnfitEnvironmentError
from gate.records import (
    BASELINE,
    CANDIDATE,
    Comparison,
    Environment,
    Evaluation,
    Gate,
    Gpu,
    Measurement,
    Outcome,
    Policy,
    Status,
    Telemetry,
    Trial,
    Witness,
)
from gate.records.gpu import COUNTERS
from gate.records.verdict import OUTCOMES

MAX_IPC_SHARE = 0.5
"""Of a batch; at most 0.38 was seen on an H200, where memory bounds the batch."""
MACHINE_STEP = (
    "Free and cool the GPU (`kernel-gate doctor`), then measure again; what a driver cannot tell at all "
    "(WSL, a virtual GPU, a MIG slice) can be accepted by name: gates.accept_unmeasured in gate.toml."
)
MAX_NAME_CHARS = 100
"""Kernels made of templates have names of thousands of letters."""


def complete_gate(evaluation: Evaluation, comparison: Comparison | None, environment: Environment) -> Gate | None:
    """Nothing where all is there that every measurement on a GPU has: without it the gates below would be silent."""
    lacking = list(_lacking(evaluation, comparison, environment.gpu)) if comparison else []
    if environment.device != "cuda" or not lacking:
        return None
    return Gate("measured", evaluation.workload, Outcome.UNDECIDED, f"the evidence lacks {', '.join(lacking)}")


def _lacking(evaluation: Evaluation, comparison: Comparison, gpu: Gpu | None) -> Iterator[str]:
    replicates = evaluation.trial.replicates if evaluation.trial else ()
    if gpu is None or floor_ms(evaluation.workload, gpu) is None:
        yield "what the GPU can reach"
    if not all(replicate.telemetry for replicate in replicates):
        yield "how the GPU fared beside every replicate"
    if not all({BASELINE, CANDIDATE} <= set(replicate.clocks) for replicate in replicates):
        yield "the host's clock beside the device's"
    if not all(evaluation.trace(name) for name in (comparison.baseline, comparison.candidate)):
        yield "the kernels that were run"


def own_work_gate(evaluation: Evaluation, impl: str | None) -> Gate | None:
    """Whether the candidate computes by itself; nothing where no profiler could look into what it runs.

    Known before anything is timed.
    """
    trace = evaluation.trace(impl) if impl else None
    if trace is None or trace.refusal:
        return None
    kernel = sdpa_kernel_used(evaluation, trace.implementation)
    if kernel is None:
        return Gate("own work", evaluation.workload, Outcome.PASS, "none of SDPA's own kernels was seen")
    seen = f"runs SDPA's own kernel {kernel[:MAX_NAME_CHARS]}: it cannot be faster than itself"
    return Gate("own work", evaluation.workload, Outcome.REJECTED, seen)


def possible_gate(comparison: Comparison | None, gpu: Gpu | None) -> Gate | None:
    """A time that the device cannot reach is not a record: something was not done, or not timed."""
    floor = floor_ms(comparison.workload, gpu) if comparison and gpu else None
    if comparison is None or floor is None:
        return None
    seen = f"{comparison.candidate_ms:.4g} ms, and the least possible is {floor:.4g} ms"
    outcome = Outcome.PASS if comparison.candidate_ms >= floor else Outcome.REJECTED
    return Gate("possible", comparison.workload, outcome, seen)


def machine_gate(evaluation: Evaluation, policy: Policy, gpu: Gpu | None) -> Gate | None:
    """Whether every replicate had the GPU to itself, at full speed: the candidate's, or SDPA's alone.

    What the driver did not tell is not taken for calm: it is named, and undecided unless the policy accepts it.
    """
    watched = _watched(evaluation)
    if not watched:
        return None
    disturbances = tuple(dict.fromkeys(each for telemetry in watched for each in telemetry.disturbances))
    unmeasured = tuple(name for name in COUNTERS if any(_is_absent(name, telemetry, gpu) for telemetry in watched))
    refused = ", ".join(name for name in unmeasured if name not in policy.accept_unmeasured)
    accepted = ", ".join(name for name in unmeasured if name in policy.accept_unmeasured)
    calm = f"nothing {'that was measured ' if accepted else ''}disturbed the GPU in {len(watched)} replicates"
    seen = (
        *disturbances,
        *((f"the driver does not tell {refused}, so that nobody knows what disturbed the GPU",) if refused else ()),
        *(() if disturbances or refused else (calm,)),
        *((f"not measured, which the policy accepts: {accepted}",) if accepted else ()),
    )
    outcome = Outcome.UNDECIDED if disturbances or refused else Outcome.PASS
    return Gate("machine", evaluation.workload, outcome, "; ".join(seen))


def _watched(evaluation: Evaluation) -> list[Telemetry]:
    timed = evaluation.trial or evaluation.sdpa
    return [replicate.telemetry for replicate in timed.replicates if replicate.telemetry] if timed else []


def _is_absent(name: str, telemetry: Telemetry, gpu: Gpu | None) -> bool:
    """Whether a counter was not read, and could have been: without ECC there are no such errors to count."""
    return name in telemetry.unmeasured and (name != "ecc_errors" or (gpu is not None and gpu.ecc is True))


def unexplained_clocks(evaluation: Evaluation, gpu: Gpu | None) -> tuple[str, ...]:
    """A warning where the SM clock was far below its highest, and the driver said that nothing held it down."""
    watched = _watched(evaluation)
    looks = [look for telemetry in watched for look in (telemetry.before, telemetry.after)]
    clocks = [gpu.sm_clock_max_mhz if gpu else None, *(look.sm_clock_mhz for look in looks)]
    highest = max((clock for clock in clocks if clock is not None), default=0)
    low = [clock for telemetry in watched for clock in telemetry.unexplained_clocks_mhz(highest)]
    if not low:
        return ()
    beside = f"in {len(low)} of {len(looks)} looks"
    return (
        f"the SM clock was at {min(low)} of {highest} MHz {beside}, and the driver gives no reason: "
        "do not rely on its throttle reasons (`nvidia-smi -q -d CLOCK,PERFORMANCE`)",
    )


def refuse_disturbed(measurement: Measurement, policy: Policy) -> None:
    """Raises UnfitEnvironmentError where the machine was not fit to be recorded."""
    for evaluation in measurement.evaluations:
        seen = machine_gate(evaluation, policy, measurement.environment.gpu)
        if seen is not None and seen.outcome is not Outcome.PASS:
            reason = f"{evaluation.workload}: {seen.evidence}"
            raise UnfitEnvironmentError(f"{reason}; {MACHINE_STEP[0].lower()}{MACHINE_STEP[1:]}")


def clocks_gate(evaluation: Evaluation, policy: Policy) -> Gate | None:
    """Whether the device's clock and the host's agree on the same batch of launches, arm by arm."""
    apart = {arm: _disagreement(evaluation.trial, arm) for arm in (BASELINE, CANDIDATE)} if evaluation.trial else {}
    known = {arm: each for arm, each in apart.items() if each is not None}
    if not known:
        return None
    arm, worst = max(known.items(), key=lambda pair: abs(pair[1]))
    seen = f"the device's clock reads {worst:+.1%} against the host's, at most, for the {arm}"
    outcome = Outcome.PASS if abs(worst) <= policy.clock_tolerance else Outcome.UNDECIDED
    return Gate("clocks", evaluation.workload, outcome, seen)


def witness_gate(evaluation: Evaluation, comparison: Comparison | None, policy: Policy) -> Gate | None:
    """What a process that never loaded the candidate saw of its outputs and of its speed."""
    seen, workload = evaluation.witness, evaluation.workload
    if comparison is None:
        return None
    if seen is None and comparison.ratio.point >= 1:
        return None  # by its own process's word it is slower: there is nothing to doubt
    if seen is None:
        return Gate("witness", workload, Outcome.UNDECIDED, "nobody but the candidate's own process saw its speed")
    if seen.status is not Status.OK:
        return Gate("witness", workload, OUTCOMES[seen.status], f"seen from outside: {seen.message}")
    evidence = witness_evidence(seen, comparison)
    if comparison.ratio.point < policy.speedup and (doubt := witness_doubt(seen, comparison, policy)):
        return Gate("witness", workload, Outcome.UNDECIDED, f"{doubt}: {evidence}")
    return Gate("witness", workload, Outcome.PASS, evidence)


def witness_evidence(seen: Witness, comparison: Comparison) -> str:
    """Both ratios, the witness's first."""
    return (
        f"ratio {seen.ratio:.3f} by a clock that the candidate cannot reach ({seen.launches} calls in a row, "
        f"{len(seen.candidate_ms)} times), {comparison.ratio.point:.3f} by its own process's"
    )


def witness_doubt(seen: Witness, comparison: Comparison, policy: Policy) -> str:
    """What the witness has against a ratio, or against its own view; empty where nothing."""
    most, near = 1 + policy.witness_tolerance, min(seen.baseline_ms)
    if seen.ratio > comparison.ratio.point * most:
        return "contradicted"
    if seen.alone_ms is None:
        return "nobody saw how long SDPA takes while no candidate is there"
    slowed = {
        "before its witness as in the trial": near / seen.launches / comparison.baseline_ms,
        "once the candidate was there": near / seen.alone_ms,
    }
    if seen.direct:
        slowed["called one by one as in a graph: the host hides the rest"] = min(seen.baseline_far_ms) / near
    when, times = max(slowed.items(), key=lambda each: each[1])
    if times > most:
        return f"SDPA took {times:.2f} times as long {when}"
    if seen.way_ms > MAX_IPC_SHARE * near:
        return f"too short to be seen: {near:.3g} ms, and {seen.way_ms:.3g} ms of way"
    return ""


def _disagreement(trial: Trial, arm: str) -> float | None:
    pairs = [replicate.clocks[arm] for replicate in trial.replicates if arm in replicate.clocks]
    return statistics.median(pair.device_ms / pair.host_ms - 1 for pair in pairs) if pairs else None
