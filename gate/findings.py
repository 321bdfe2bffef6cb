"""One thing that `doctor` looked for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found, and the remedy where it is not as it should be (`present`).

    `needed` says whether the chosen device cannot do without.
    """

    item: str
    present: bool
    seen: str
    remedy: str
    needed: bool = False
