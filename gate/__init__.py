"""Kernel Gate: decides whether an attention kernel is correct, and faster than PyTorch's SDPA, beyond doubt.

The parts that people use in their own scripts are imported from here, each when it is first asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gate.environment import write_env
    from gate.evaluate import evaluate_candidate
    from gate.locking import lock_environment
    from gate.memory import MemoryTracker, check_oom_risk
    from gate.stats.samples import bootstrap_ci, cliffs_delta, compare_distributions, hedges_g

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
    **dict.fromkeys(("bootstrap_ci", "cliffs_delta", "compare_distributions", "hedges_g"), "gate.stats.samples"),
    **dict.fromkeys(("MemoryTracker", "check_oom_risk"), "gate.memory"),
    "evaluate_candidate": "gate.evaluate",
    "lock_environment": "gate.locking",
    "write_env": "gate.environment",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'gate' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)
