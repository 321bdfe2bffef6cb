"""Kernel Gate: decides whether an attention kernel is correct, and faster than PyTorch's SDPA, beyond doubt.

The parts that people use in their own scripts are imported from here, each when it is first asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gate.stats.samples import bootstrap_ci, cliffs_delta, compare_distributions, hedges_g

__version__ = "0.1.0"
__all__ = ["bootstrap_ci", "cliffs_delta", "compare_distributions", "hedges_g"]

_HOMES = dict.fromkeys(__all__, "gate.stats.samples")


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'gate' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)
