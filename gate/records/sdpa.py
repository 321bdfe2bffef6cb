"""PyTorch's scaled-dot-product attention, one backend at a time: what a candidate has to beat."""

from __future__ import annotations

from collections.abc import Mapping

from gate.errors import BadInputError

BACKENDS: Mapping[str, str] = {
    "flash": "FLASH_ATTENTION",
    "cudnn": "CUDNN_ATTENTION",
    "efficient": "EFFICIENT_ATTENTION",
    "math": "MATH",
}
AVAILABLE: Mapping[str, tuple[str, ...]] = {"cpu": ("flash", "math"), "cuda": tuple(BACKENDS)}
"""Per device, the backends that PyTorch has."""

BEST = "best"
PREFIX = "sdpa:"
"""Before a backend's name, where an arm is played by one."""


def backends_of(device: str, wanted: str) -> tuple[str, ...]:
    """`all` or `best` to every backend of the device, a name to itself. Raises BadInputError."""
    available = AVAILABLE[device]
    if wanted in ("all", BEST):
        return available
    if wanted not in available:
        raise BadInputError(f"no SDPA backend '{wanted}' on {device}; choose {', '.join(available)} or {BEST}")
    return (wanted,)
