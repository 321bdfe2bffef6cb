"""The records that flow through Kernel Gate, and nothing that computes on them.

Every arrow of the pipeline returns one of these frozen records; each checks itself, so that a state that
makes no sense cannot be built. `gate.records.codec` turns them into JSON and back. Times are milliseconds.
"""

from gate.records.base import SCHEMA_VERSION, Record, SchemaVersion, Status
from gate.records.build import Build, KernelResources, MergeBase, ResourceLimits
from gate.records.case import CONTIGUOUS, NORMAL, Case, Distribution, Layout
from gate.records.correctness import MAX_BLOCKS, Check, Correctness, Fault
from gate.records.evidence import (
    BASELINE,
    BASELINE_AGAIN,
    CANDIDATE,
    EMPTY,
    Arm,
    ClockPair,
    Environment,
    Evaluation,
    Measurement,
    Replicate,
    Trace,
    Trial,
)
from gate.records.gpu import Gpu, GpuState, Telemetry
from gate.records.profile import Ceilings, KernelCounters, MachineCode, Profile
from gate.records.verdict import EXIT_CODES, Comparison, Estimate, Gate, Outcome, Policy, Run, Verdict
from gate.records.witness import Witness
from gate.records.workload import DTYPE_BYTES, Dtype, Workload

__all__ = [
    "BASELINE",
    "BASELINE_AGAIN",
    "CANDIDATE",
    "CONTIGUOUS",
    "DTYPE_BYTES",
    "EMPTY",
    "EXIT_CODES",
    "MAX_BLOCKS",
    "NORMAL",
    "SCHEMA_VERSION",
    "Arm",
    "Build",
    "Case",
    "Ceilings",
    "Check",
    "ClockPair",
    "Comparison",
    "Correctness",
    "Distribution",
    "Dtype",
    "Environment",
    "Estimate",
    "Evaluation",
    "Fault",
    "Gate",
    "Gpu",
    "GpuState",
    "KernelCounters",
    "KernelResources",
    "Layout",
    "MachineCode",
    "Measurement",
    "MergeBase",
    "Outcome",
    "Policy",
    "Profile",
    "Record",
    "Replicate",
    "ResourceLimits",
    "Run",
    "SchemaVersion",
    "Status",
    "Telemetry",
    "Trace",
    "Trial",
    "Verdict",
    "Witness",
    "Workload",
]
