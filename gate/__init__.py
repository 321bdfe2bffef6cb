"""Kernel Gate decides whether an attention kernel is correct, and faster than PyTorch's SDPA, beyond doubt.

This package exports the functions that people use in their own scripts; it imports each of them on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gate.machine.determinism import lock_environment
    from gate.machine.environment import write_env
    from gate.notebook.evaluate import evaluate_candidate
    from gate.notebook.memory import MemoryTracker, check_oom_risk
    from gate.stats.two_sample import bootstrap_ci, cliffs_delta, compare_distributions, hedges_g

__version__ = "0.1.0"
__all__ = [
    "MemoryTracker",
    "bootstrap_ci",
    "check_oom_risk",
    "cliffs_delta",
    "compare_distributions",
    "evaluate_candidate",
    "hedges_g",
    "lock_environment",
    "write_env",
]

_HOMES = {
    **dict.fromkeys(("bootstrap_ci", "cliffs_delta", "compare_distributions", "hedges_g"), "gate.stats.two_sample"),
    **dict.fromkeys(("MemoryTracker", "check_oom_risk"), "gate.notebook.memory"),
    "evaluate_candidate": "gate.notebook.evaluate",
    "lock_environment": "gate.machine.determinism",
    "write_env": "gate.machine.environment",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'gate' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)
