"""How a CUDA architecture is written.

As torch writes it: 8.9, 9.0a, and with its PTX beside the machine code, 9.0+PTX.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

FORM = re.compile(r"(\d+)\.(\d)([af]?)(\+PTX)?")


def architecture_parts(architecture: str) -> tuple[str, ...]:
    """Major, minor, suffix and `+PTX`. Raises ValueError."""
    match = FORM.fullmatch(architecture)
    if match is None:
        raise ValueError(f"'{architecture}' is not an architecture, like 8.9 or 9.0a")
    return match.groups("")


def check_architectures(declared: Sequence[str]) -> None:
    """Raises ValueError for what is no architecture."""
    for name in declared:
        if architecture_parts(name)[3]:
            raise ValueError(f"'{name}' is declared without +PTX; ask for that with --arch or TORCH_CUDA_ARCH_LIST")
