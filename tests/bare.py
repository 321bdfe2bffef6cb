"""A Python as a runner has it: the dependencies are there, Kernel Gate is not, and neither is an editable install."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

FOLDER = Path("lib") / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"


def make_bare_python(folder: Path) -> Path:
    """A virtual environment that has this Python's packages by a path alone: their .pth files stay without effect.

    Raises AssertionError where that still has Kernel Gate in it.
    """
    subprocess.run([sys.executable, "-I", "-m", "venv", "--without-pip", str(folder)], check=True)
    packages = {sysconfig.get_path(kind) for kind in ("purelib", "platlib")}
    (folder / FOLDER / "dependencies.pth").write_text("".join(f"{each}\n" for each in sorted(packages)))
    python = folder / "bin" / "python"
    found = subprocess.run([python, "-I", "-c", "import gate"], capture_output=True, text=True, check=False)
    assert "No module named 'gate'" in found.stderr, "install Kernel Gate with `pip install -e`, as `make test` does"
    return python
