"""Decides from a run whether the machine is fit to measure, independent of the candidate."""

from __future__ import annotations

from gate.records import Outcome, Run

MACHINE_GATES = ("completeness", "machine", "clocks", "control")


def machine_findings(run: Run) -> tuple[bool, list[str]]:
    """Whether the machine is fit, and one line for each of its gates. A workload without A/A control is not fit."""
    gates = [gate for gate in run.verdict.gates if gate.name in MACHINE_GATES]
    unfit = any(gate.outcome is not Outcome.PASS for gate in gates)
    lines = [f"{gate.outcome}: {gate.name} ({gate.workload}): {gate.evidence}" for gate in gates]
    controlled = {gate.workload for gate in gates if gate.name == "control"}
    missing = [str(workload) for workload in run.measurement.workloads if workload not in controlled]
    return not (unfit or missing), [*lines, *(f"no A/A control at {workload}" for workload in missing)]
