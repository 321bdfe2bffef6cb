"""The backends of PyTorch's scaled-dot-product attention, which are the baselines."""

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
"""The backends that PyTorch has, per device."""

BEST = "best"
PREFIX = "sdpa:"
"""The prefix of a backend's name in an arm's `implementation`."""


def backends_of(device: str, wanted: str) -> tuple[str, ...]:
    """`all` or `best` to every backend of the device, a name to itself. Raises BadInputError."""
    available = AVAILABLE[device]
    if wanted in ("all", BEST):
        return available
    if wanted not in available:
        raise BadInputError(f"no SDPA backend '{wanted}' on {device}; choose {', '.join(available)} or {BEST}")
    return (wanted,)
