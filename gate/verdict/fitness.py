"""What a run says of the machine, whatever it says of the candidate."""

from __future__ import annotations

from gate.records import Outcome, Run

MACHINE_GATES = ("measured", "machine", "clocks", "control")


def machine_findings(run: Run) -> tuple[bool, list[str]]:
    """Whether the machine is fit, and each of its gates. Without a control nothing was seen, and that is not fit."""
    seen = [gate for gate in run.verdict.gates if gate.name in MACHINE_GATES]
    unfit = any(gate.outcome is not Outcome.PASS for gate in seen)
    lines = [f"{gate.outcome}: {gate.name} ({gate.workload}): {gate.evidence}" for gate in seen]
    controlled = {gate.workload for gate in seen if gate.name == "control"}
    missing = [str(workload) for workload in run.measurement.workloads if workload not in controlled]
    return not (unfit or missing), [*lines, *(f"no control at {workload}" for workload in missing)]
