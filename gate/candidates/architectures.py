"""Parses the names of CUDA architectures.

The notation is torch's: 8.9, 9.0a, and 9.0+PTX for machine code with PTX.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

FORM = re.compile(r"(\d+)\.(\d)([af]?)(\+PTX)?")


def architecture_parts(architecture: str) -> tuple[str, ...]:
    """Major, minor, suffix and `+PTX`. Raises ValueError."""
    match = FORM.fullmatch(architecture)
    if match is None:
        raise ValueError(f"'{architecture}' is not a CUDA architecture; write for example 8.9 or 9.0a")
    return match.groups("")


def check_architectures(declared: Sequence[str]) -> None:
    """Raises ValueError for a name that is not an architecture, or has +PTX."""
    for name in declared:
        if architecture_parts(name)[3]:
            raise ValueError(f"'{name}' must not contain +PTX; request PTX with --arch or TORCH_CUDA_ARCH_LIST")
