"""Imports a Python candidate from the source text of its files, under a module name that no other module has.

Bytecode is neither read nor written: `__pycache__` is not part of a build's key, and Python would prefer a .pyc file
marked `unchecked` to the source (PEP 552).
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
PREFIX = "candidate_"  # the candidate can read its module name, which must not reveal Kernel Gate


def load(source: Path, variables: Mapping[str, int]) -> ModuleType:
    """The module of the file `source`, executed once per process. `variables` are set as globals beforehand.

    The file may import others in its folder (`import helper`, `from . import helper`), but modules of the standard
    library and modules that are already loaded come first. Raises whatever the file raises.
    """
    package = _package(source, variables)
    name = f"{package.__name__}.{source.stem}"
    if name in sys.modules:
        return sys.modules[name]
    specification = importlib.util.spec_from_file_location(name, source)
    if specification is None or specification.loader is None:
        raise ImportError(f"{source.name} cannot be imported; rename it to end with .py")
    module = importlib.util.module_from_spec(specification)
    vars(module).update(variables)
    sys.modules[name] = module  # dataclasses and pickle look a class's module up by its name
    try:
        specification.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def signature_fault(attention: object) -> str | None:
    """Why `attention(q, k, v, scale, causal, out)` cannot be called; None if no fault is found."""
    if not callable(attention):
        return f"no function {CALL}"
    for is_kind, kind in KINDS:
        if is_kind(attention):
            return f"attention as {kind}, which computes nothing when it is called; define a plain function {CALL}"
    try:
        parameters = inspect.signature(attention).parameters
    except (TypeError, ValueError):  # a compiled function: only the call shows its parameters
        return None
    return _parameter_fault(parameters)


KINDS = (
    (inspect.isclass, "a class"),
    (inspect.iscoroutinefunction, "an async function"),
    (inspect.isasyncgenfunction, "an async generator"),
    (inspect.isgeneratorfunction, "a generator (it has a `yield`)"),
)


def _parameter_fault(parameters: Mapping[str, inspect.Parameter]) -> str | None:
    """Six positional arguments must fit; if the parameters have the six names, their order must be this one."""
    own = f"attention({', '.join(map(str, parameters.values()))})"
    try:
        inspect.Signature(list(parameters.values())).bind(*PARAMETERS)
    except TypeError:
        missing_out = "" if "out" in parameters else ", which has no parameter `out` for the result"
        return f"{own}{missing_out}; Kernel Gate calls {CALL}"
    first = tuple(parameters)[: len(PARAMETERS)]
    if set(first) == set(PARAMETERS) and first != PARAMETERS:
        return f"{own}; Kernel Gate calls {CALL}, with the arguments in this order"
    return None


def _package(source: Path, variables: Mapping[str, int]) -> ModuleType:
    """A separate package for this file and these variables, so that relative imports work like absolute ones."""
    name = PREFIX + hashlib.sha256(f"{source}#{dict(variables)}".encode()).hexdigest()[:16]
    if name not in sys.modules:
        folders = _folders(source)
        package = ModuleType(name)
        package.__path__ = folders
        sys.modules[name] = package
        _execute_source_only(folders[-1])
        sys.meta_path.insert(0, _LocalModules(source.stem, folders))
        sys.path += [folder for folder in folders if folder not in sys.path]  # for packages without __init__.py
    return sys.modules[name]


def _folders(source: Path) -> list[str]:
    """The file's folder, then the candidate's folder, if the file lies in a subfolder of it."""
    own = source.absolute().parent
    described = next((folder for folder in (own, *own.parents) if (folder / DESCRIPTION).is_file()), own)
    return [str(folder) for folder in dict.fromkeys((own, described))]


class _LocalModules(MetaPathFinder):
    """Finds modules in the candidate's folders before installed packages, as for a script, except its own name.

    A file often has the name of the package that it calls: flash_attn.py imports the package flash_attn.
    """

    def __init__(self, own: str, folders: Sequence[str]) -> None:
        self._kept, self._folders = {own, *sys.stdlib_module_names}, folders

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if path is not None or name in self._kept:
            return None
        found = PathFinder.find_spec(name, self._folders, target)
        return found if found is not None and found.origin else None


_source_only_folders: list[str] = []
"""Modules in these folders are compiled from their source text."""


def _execute_source_only(folder: str) -> None:
    """Compiles every file of the folder from its source text, however it is imported, also by its path."""
    if not _source_only_folders:
        _patch_loader(SourceFileLoader, lambda own: own.source_to_code(own.get_data(own.path), own.path))
        _patch_loader(SourcelessFileLoader, _refuse_bytecode)
    _source_only_folders.append(folder)


def _patch_loader(loader_class: Any, compile_source: Any) -> None:
    original = loader_class.get_code

    def get_code(self: Any, name: str) -> Any:
        return compile_source(self) if _is_source_only(self.path) else original(self, name)

    loader_class.get_code = get_code


def _refuse_bytecode(loader: Any) -> Any:
    raise ImportError(f"{loader.path} is bytecode, which a candidate may not contain; declare its source file")


def _is_source_only(path: str) -> bool:
    resolved = Path(os.path.abspath(path)), Path(os.path.realpath(path))  # noqa: PTH100  # with links, and without
    return any(form.is_relative_to(folder) for form in resolved for folder in _source_only_folders)
