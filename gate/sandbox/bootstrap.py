"""Starts a module of this very package in a process of its own, whatever else is installed or on a path.

`python -I bootstrap.py MODULE PATHS ARGUMENT...` runs `MODULE.main(ARGUMENT...)`. `-I` reads no PYTHON* variable, so
that candidates have none to read either. The package is loaded from the folder above this file; everything else is
found where the process that starts this one finds it (PATHS, a JSON list). No other place sets `sys.path`.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

PACKAGE = Path(__file__).absolute().parents[1]


def command(module: str, *arguments: str) -> list[str]:
    """The command line that starts `module`, to which further arguments may be added."""
    paths = [os.path.abspath(each) for each in sys.path if each]  # noqa: PTH100  # follows no link, as imports do not
    return [sys.executable, "-I", str(Path(__file__).absolute()), module, json.dumps(paths), *arguments]


def main(module: str, paths: str, *arguments: str) -> None:
    """Runs a module of the package that this file is part of."""
    sys.path[:] = without_working_folder(json.loads(paths), installed=sys.path)
    _load_package()
    importlib.import_module(module).main(*arguments)


def without_working_folder(paths: Sequence[str], installed: Collection[str]) -> list[str]:
    """Strangers' files may lie in the working folder: nothing is imported from it, unless it is this Python's own."""
    return [each for each in paths if each in installed or not _is_working_folder(each)]


def _is_working_folder(path: str) -> bool:
    try:
        return os.path.samefile(path, os.curdir)  # noqa: PTH121
    except OSError:  # one of the two is not there
        return False


def _load_package() -> None:
    """By its file, so that no other package of this name is found, nor a neighbour of the package preferred."""
    spec = importlib.util.spec_from_file_location(PACKAGE.name, PACKAGE / "__init__.py")
    if spec is None or spec.loader is None:
        raise ImportError(f"{PACKAGE} is not a package; install Kernel Gate again")
    package = importlib.util.module_from_spec(spec)
    sys.modules[PACKAGE.name] = package
    spec.loader.exec_module(package)


if __name__ == "__main__":
    main(*sys.argv[1:])
