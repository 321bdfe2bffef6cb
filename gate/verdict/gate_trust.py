"""Gates on whether the evidence is plausible: complete, own kernels, above the physical floor, clocks that agree."""

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
"""Largest share of a batch's time that IPC may take; at most 0.38 was measured on an H200 (batch bound by memory)."""
MACHINE_STEP = (
    "Free and cool the GPU (`kernel-gate doctor`), then measure again; counters that the driver never reports "
    "(WSL, virtual GPU, MIG slice) can be accepted by name: gates.accept_unmeasured in gate.toml."
)
MAX_NAME_CHARS = 100
"""Names of template kernels can have thousands of characters."""


def completeness_gate(evaluation: Evaluation, comparison: Comparison | None, environment: Environment) -> Gate | None:
    """Undecided if a measurement on a GPU lacks what the following gates need; they would be skipped silently."""
    lacking = list(_lacking(evaluation, comparison, environment.gpu)) if comparison else []
    if environment.device != "cuda" or not lacking:
        return None
    return Gate(
        "completeness", evaluation.workload, Outcome.UNDECIDED, f"missing from the evidence: {', '.join(lacking)}"
    )


def _lacking(evaluation: Evaluation, comparison: Comparison, gpu: Gpu | None) -> Iterator[str]:
    replicates = evaluation.trial.replicates if evaluation.trial else ()
    if gpu is None or floor_ms(evaluation.workload, gpu) is None:
        yield "the GPU's peak throughput"
    if not all(replicate.telemetry for replicate in replicates):
        yield "GPU telemetry of every replicate"
    if not all({BASELINE, CANDIDATE} <= set(replicate.clocks) for replicate in replicates):
        yield "host clock times of every replicate"
    if not all(evaluation.trace(name) for name in (comparison.baseline, comparison.candidate)):
        yield "kernel traces of candidate and baseline"


def provenance_gate(evaluation: Evaluation, impl: str | None) -> Gate | None:
    """Rejects a candidate that launches SDPA's kernels; None if no kernel trace exists.

    The pipeline evaluates this gate before it times anything.
    """
    trace = evaluation.trace(impl) if impl else None
    if trace is None or trace.refusal:
        return None
    kernel = sdpa_kernel_used(evaluation, trace.implementation)
    if kernel is None:
        return Gate("provenance", evaluation.workload, Outcome.PASS, "launches no SDPA kernel")
    evidence = f"launches SDPA's kernel {kernel[:MAX_NAME_CHARS]}, which cannot be faster than itself"
    return Gate("provenance", evaluation.workload, Outcome.REJECTED, evidence)


def physical_floor_gate(comparison: Comparison | None, gpu: Gpu | None) -> Gate | None:
    """Rejects a time below the device's physical floor: some work was skipped or not timed."""
    floor = floor_ms(comparison.workload, gpu) if comparison and gpu else None
    if comparison is None or floor is None:
        return None
    possible = comparison.candidate_ms >= floor
    relation = "above" if possible else "below"
    evidence = f"{comparison.candidate_ms:.4g} ms, {relation} the physical floor of {floor:.4g} ms"
    return Gate("physical floor", comparison.workload, Outcome.PASS if possible else Outcome.REJECTED, evidence)


def machine_gate(evaluation: Evaluation, policy: Policy, gpu: Gpu | None) -> Gate | None:
    """Passes if no replicate's telemetry shows a disturbance: another process, throttling, errors.

    A counter that the driver does not report is undecided, unless the policy accepts it by name.
    """
    recorded = _telemetry(evaluation)
    if not recorded:
        return None
    disturbances = tuple(dict.fromkeys(reason for telemetry in recorded for reason in telemetry.disturbances))
    unmeasured = tuple(name for name in COUNTERS if any(_is_absent(name, telemetry, gpu) for telemetry in recorded))
    refused = ", ".join(name for name in unmeasured if name not in policy.accept_unmeasured)
    accepted = ", ".join(name for name in unmeasured if name in policy.accept_unmeasured)
    undisturbed = f"no {'measured ' if accepted else ''}disturbance of the GPU in {len(recorded)} replicates"
    evidence = (
        *disturbances,
        *((f"the driver does not report {refused}: disturbances cannot be excluded",) if refused else ()),
        *(() if disturbances or refused else (undisturbed,)),
        *((f"not measured, accepted by the policy: {accepted}",) if accepted else ()),
    )
    outcome = Outcome.UNDECIDED if disturbances or refused else Outcome.PASS
    return Gate("machine", evaluation.workload, outcome, "; ".join(evidence))


def _telemetry(evaluation: Evaluation) -> list[Telemetry]:
    timed = evaluation.trial or evaluation.sdpa
    return [replicate.telemetry for replicate in timed.replicates if replicate.telemetry] if timed else []


def _is_absent(name: str, telemetry: Telemetry, gpu: Gpu | None) -> bool:
    """Whether a counter was not read although the GPU has it: without ECC there are no ECC errors to count."""
    return name in telemetry.unmeasured and (name != "ecc_errors" or (gpu is not None and gpu.ecc is True))


def unexplained_clocks(evaluation: Evaluation, gpu: Gpu | None) -> tuple[str, ...]:
    """A warning if the SM clock was far below its maximum and the driver reports no throttle reason."""
    recorded = _telemetry(evaluation)
    readings = [reading for telemetry in recorded for reading in (telemetry.before, telemetry.after)]
    clocks = [gpu.sm_clock_max_mhz if gpu else None, *(reading.sm_clock_mhz for reading in readings)]
    highest = max((clock for clock in clocks if clock is not None), default=0)
    low = [clock for telemetry in recorded for clock in telemetry.unexplained_clocks_mhz(highest)]
    if not low:
        return ()
    return (
        f"the SM clock fell to {min(low)} of {highest} MHz in {len(low)} of {len(readings)} telemetry readings, but "
        "the driver reports no throttle reason; check `nvidia-smi -q -d CLOCK,PERFORMANCE`",
    )


def refuse_disturbed(measurement: Measurement, policy: Policy) -> None:
    """Raises UnfitEnvironmentError if a disturbance makes the measurement unfit to be recorded."""
    for evaluation in measurement.evaluations:
        gate = machine_gate(evaluation, policy, measurement.environment.gpu)
        if gate is not None and gate.outcome is not Outcome.PASS:
            reason = f"{evaluation.workload}: {gate.evidence}"
            raise UnfitEnvironmentError(f"{reason}; {MACHINE_STEP[0].lower()}{MACHINE_STEP[1:]}")


def clocks_gate(evaluation: Evaluation, policy: Policy) -> Gate | None:
    """Passes if device clock and host clock agree on the same batch of launches, for baseline and candidate."""
    arms = (BASELINE, CANDIDATE) if evaluation.trial else ()
    measured = {arm: _clock_difference(evaluation.trial, arm) for arm in arms if evaluation.trial}
    known = {arm: difference for arm, difference in measured.items() if difference is not None}
    if not known:
        return None
    arm, worst = max(known.items(), key=lambda pair: abs(pair[1]))
    evidence = f"device clock {worst:+.1%} against host clock (worst arm: {arm})"
    outcome = Outcome.PASS if abs(worst) <= policy.clock_tolerance else Outcome.UNDECIDED
    return Gate("clocks", evaluation.workload, outcome, evidence)


def witness_gate(evaluation: Evaluation, comparison: Comparison | None, policy: Policy) -> Gate | None:
    """Compares the candidate's outputs and speed with those measured by a process that never loaded the candidate."""
    witness, workload = evaluation.witness, evaluation.workload
    if comparison is None:
        return None
    if witness is None and comparison.ratio.point >= 1:
        return None  # the candidate's own process reports that it is slower, and has no reason to forge that
    if witness is None:
        return Gate("witness", workload, Outcome.UNDECIDED, "no independent clock timed the candidate")
    if witness.status is not Status.OK:
        return Gate("witness", workload, OUTCOMES[witness.status], f"in the witness process: {witness.message}")
    evidence = witness_evidence(witness, comparison)
    if comparison.ratio.point < policy.speedup and (doubt := witness_doubt(witness, comparison, policy)):
        return Gate("witness", workload, Outcome.UNDECIDED, f"{doubt}: {evidence}")
    return Gate("witness", workload, Outcome.PASS, evidence)


def witness_evidence(witness: Witness, comparison: Comparison) -> str:
    """The witness's ratio and the trial's."""
    batches = f"{len(witness.candidate_ms)} batches of {witness.launches} calls"
    return f"independent clock: ratio {witness.ratio:.3f} ({batches}); trial: ratio {comparison.ratio.point:.3f}"


def witness_doubt(witness: Witness, comparison: Comparison, policy: Policy) -> str:
    """Why the witness contradicts the trial's ratio, or cannot confirm it; empty if it confirms it."""
    limit, local_ms = 1 + policy.witness_tolerance, min(witness.baseline_local_ms)
    if witness.ratio > comparison.ratio.point * limit:
        return "the independent clock contradicts the trial"
    if witness.baseline_solo_ms is None:
        return "SDPA was not timed before the candidate was loaded"
    slowdowns = {
        "in the witness as in the trial": local_ms / witness.launches / comparison.baseline_ms,
        "with the candidate loaded as without it": local_ms / witness.baseline_solo_ms,
    }
    if witness.uncaptured:
        slowdowns["by direct launches as in a CUDA graph"] = min(witness.baseline_ipc_ms) / local_ms
    condition, slowdown = max(slowdowns.items(), key=lambda item: item[1])
    if slowdown > limit:
        return f"SDPA took {slowdown:.2f} times as long {condition}"
    if witness.ipc_overhead_ms > MAX_IPC_SHARE * local_ms:
        overhead = f"{witness.ipc_overhead_ms:.3g} ms of IPC"
        return f"batch too short for the independent clock: {local_ms:.3g} ms, with {overhead}"
    return ""


def _clock_difference(trial: Trial, arm: str) -> float | None:
    """Median of device time over host time, less 1."""
    pairs = [replicate.clocks[arm] for replicate in trial.replicates if arm in replicate.clocks]
    return statistics.median(pair.device_ms / pair.host_ms - 1 for pair in pairs) if pairs else None
