"""A Python as a runner has it, with the dependencies and without Kernel Gate; and the files that a runner starts."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import ModuleType

ACTIONS = Path(__file__).parents[2] / ".github" / "actions"
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


def load_action_file(name: str) -> ModuleType:
    """A new module of a file that the actions start by its path."""
    spec = importlib.util.spec_from_file_location(f"of_the_actions_{Path(name).stem}", ACTIONS / name)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
