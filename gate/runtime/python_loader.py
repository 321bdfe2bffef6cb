"""Imports a Python candidate: the text of its files and nothing else, under names that no other module has.

Bytecode beside its files is neither read nor written: `__pycache__` is no part of a build's key, and Python would
prefer one that is marked `unchecked` to the source itself (PEP 552).
"""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader, SourcelessFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

PARAMETERS = ("q", "k", "v", "scale", "causal", "out")
CALL = f"attention({', '.join(PARAMETERS)})"
DESCRIPTION = "kernel.toml"
PREFIX = "candidate_"  # as a candidate sees its own name: not after Kernel Gate


def load(source: Path, variables: Mapping[str, int]) -> ModuleType:
    """The module of that file, executed once in this process, with `variables` as globals that it finds set.

    Its neighbours are imported as `import helper`, `from helper import x` or `from . import helper`; a name that the
    standard library has, or that is loaded already, stays that. Raises whatever the file raises.
    """
    package = _package(source, variables)
    name = f"{package.__name__}.{source.stem}"
    if name in sys.modules:
        return sys.modules[name]
    specification = importlib.util.spec_from_file_location(name, source)
    if specification is None or specification.loader is None:
        raise ImportError(f"{source.name} cannot be imported; give it the ending .py")
    module = importlib.util.module_from_spec(specification)
    vars(module).update(variables)
    sys.modules[name] = module  # dataclasses and pickle look a class's module up by its name
    try:
        specification.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def fault(attention: object) -> str | None:
    """Why this cannot be called as `attention(q, k, v, scale, causal, out)`; None where nothing speaks against it."""
    if not callable(attention):
        return f"no function {CALL}"
    for is_it, what in KINDS:
        if is_it(attention):
            return f"attention as {what}, which computes nothing when it is called; define a plain function {CALL}"
    try:
        parameters = inspect.signature(attention).parameters
    except (TypeError, ValueError):  # compiled: only the call shows
        return None
    return _unlike(parameters)


KINDS = (
    (inspect.isclass, "a class"),
    (inspect.iscoroutinefunction, "an async function"),
    (inspect.isasyncgenfunction, "an async generator"),
    (inspect.isgeneratorfunction, "a generator (it has a `yield`)"),
)


def _unlike(parameters: Mapping[str, inspect.Parameter]) -> str | None:
    """Six positional arguments must fit; where they bear the names, then in this order."""
    own = f"attention({', '.join(map(str, parameters.values()))})"
    try:
        inspect.Signature(list(parameters.values())).bind(*PARAMETERS)
    except TypeError:
        lacking = "" if "out" in parameters else ", which takes no `out` to write the result into"
        return f"{own}{lacking}; it is called as {CALL}"
    first = tuple(parameters)[: len(PARAMETERS)]
    if set(first) == set(PARAMETERS) and first != PARAMETERS:
        return f"{own}; it is called as {CALL}, in this order"
    return None


def _package(source: Path, variables: Mapping[str, int]) -> ModuleType:
    """A package of its own for this file and these variables: relative imports search where absolute ones do."""
    name = PREFIX + hashlib.sha256(f"{source}#{dict(variables)}".encode()).hexdigest()[:16]
    if name not in sys.modules:
        folders = _folders(source)
        package = ModuleType(name)
        package.__path__ = folders
        sys.modules[name] = package
        _execute_text_alone(folders[-1])
        sys.meta_path.insert(0, _Neighbours(source.stem, folders))
        sys.path += [each for each in folders if each not in sys.path]  # for packages without __init__.py
    return sys.modules[name]


def _folders(source: Path) -> list[str]:
    """The file's own folder, then the candidate's, if it lies deeper."""
    own = source.absolute().parent
    described = next((each for each in (own, *own.parents) if (each / DESCRIPTION).is_file()), own)
    return [str(each) for each in dict.fromkeys((own, described))]


class _Neighbours(MetaPathFinder):
    """Files beside the candidate's, as a script finds them: before what is installed, but not under its own name.

    A file is often named for the package that it calls: flash_attn.py imports the package.
    """

    def __init__(self, own: str, folders: Sequence[str]) -> None:
        self._kept, self._folders = {own, *sys.stdlib_module_names}, folders

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if path is not None or name in self._kept:
            return None
        found = PathFinder.find_spec(name, self._folders, target)
        return found if found is not None and found.origin else None


_of_text: list[str] = []
"""Folders whose modules come from their text."""


def _execute_text_alone(folder: str) -> None:
    """Whatever imports a file of that folder, also by its path, compiles its text."""
    if not _of_text:
        _take_over(SourceFileLoader, lambda loader: loader.source_to_code(loader.get_data(loader.path), loader.path))
        _take_over(SourcelessFileLoader, _refuse)
    _of_text.append(folder)


def _take_over(kind: Any, compiled: Any) -> None:
    before = kind.get_code

    def get_code(self: Any, name: str) -> Any:
        return compiled(self) if _is_text(self.path) else before(self, name)

    kind.get_code = get_code


def _refuse(loader: Any) -> Any:
    raise ImportError(f"{loader.path} is bytecode, which a candidate may not bring; declare its source")


def _is_text(path: str) -> bool:
    places = Path(os.path.abspath(path)), Path(os.path.realpath(path))  # noqa: PTH100  # .. goes, links stay
    return any(torch_device.is_relative_to(folder) for torch_device in places for folder in _of_text)
