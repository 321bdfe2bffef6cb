"""Which extras of pyproject.toml a command needs.

Standard library only: .github/actions/launch.py reads this file before anything is installed.
"""

from __future__ import annotations

import importlib.util

MODULES = {
    "measure": ("torch", "elftools", "filelock", "platformdirs", "pynvml", "setuptools"),
    "report": ("matplotlib",),
    "github": ("github",),
}
"""What each extra installs, by the names under which it is imported."""
NEEDS = {
    **dict.fromkeys(
        ("baseline", "build", "candidates", "doctor", "fuzz", "machine-code", "measure-candidate", "measure-sdpa"),
        ("measure",),
    ),
    **dict.fromkeys(("profile", "run"), ("measure", "report")),
    **dict.fromkeys(("comment", "plan", "withdraw"), ("github",)),
    "gate": ("report",),
}
OPTIONAL = ("comment", "gate")
"""These commands need their extra for one option only, and check it themselves."""


def require(*extras: str) -> None:
    """Raises UnfitEnvironmentError where something of these extras is not installed. Imports nothing of them."""
    from gate.errors import UnfitEnvironmentError

    absent = {name: extra for extra in extras for name in MODULES[extra] if importlib.util.find_spec(name) is None}
    if absent:
        wanted = ",".join(dict.fromkeys(absent.values()))
        raise UnfitEnvironmentError(f"not installed: {', '.join(absent)}; pip install 'kernel-gate[{wanted}]'")
