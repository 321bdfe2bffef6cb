"""The records that flow through Kernel Gate, and nothing that computes on them.

Every arrow of the pipeline returns one of these frozen records; each checks itself, so that a state that
makes no sense cannot be built. `gate.files` turns them into JSON and back. Times are milliseconds.
"""

from gate.records.base import SCHEMA_VERSION, Record, Status
from gate.records.evidence import (
    BASELINE,
    BASELINE_AGAIN,
    CANDIDATE,
    EMPTY,
    Arm,
    Build,
    Check,
    ClockPair,
    Correctness,
    Environment,
    Evaluation,
    Measurement,
    Replicate,
    Trace,
    Trial,
)
from gate.records.gpu import Gpu, GpuState, Telemetry
from gate.records.verdict import EXIT_CODES, Comparison, Estimate, Gate, Outcome, Policy, Run, Verdict
from gate.records.workload import DTYPE_BYTES, Dtype, Workload

__all__ = [
    "BASELINE",
    "BASELINE_AGAIN",
    "CANDIDATE",
    "DTYPE_BYTES",
    "EMPTY",
    "EXIT_CODES",
    "SCHEMA_VERSION",
    "Arm",
    "Build",
    "Check",
    "ClockPair",
    "Comparison",
    "Correctness",
    "Dtype",
    "Environment",
    "Estimate",
    "Evaluation",
    "Gate",
    "Gpu",
    "GpuState",
    "Measurement",
    "Outcome",
    "Policy",
    "Record",
    "Replicate",
    "Run",
    "Status",
    "Telemetry",
    "Trace",
    "Trial",
    "Verdict",
    "Workload",
]
