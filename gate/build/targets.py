"""Chooses the CUDA architectures of a build: the requested ones that the candidate declares."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

from gate.candidates.architectures import FORM, architecture_parts
from gate.errors import BadInputError, UnfitEnvironmentError

NAMED = {  # as in torch.utils.cpp_extension
    "Volta": "7.0+PTX", "Turing": "7.5+PTX", "Ampere": "8.0;8.6+PTX", "Ada": "8.9+PTX", "Hopper": "9.0+PTX",
    "Blackwell+Tegra": "11.0", "Blackwell": "10.0;10.3;12.0;12.1+PTX",
}  # fmt: skip
PRODUCTS = ("8.9", "9.0a")
"""The architectures of the L4 and of Hopper: the default if no architecture is requested and there is no GPU."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Requested architectures, in order, and the source of the request."""

    architectures: tuple[str, ...]
    by: str
    binding: bool = True
    """False: if the candidate declares none of them, all that it declares are built."""


def wanted_architectures(asked: Sequence[str] = ()) -> Wanted:
    """The architectures of --arch; else of TORCH_CUDA_ARCH_LIST; else of this machine's GPU; else PRODUCTS.

    Raises BadInputError for an invalid architecture.
    """
    listed = os.environ.get("TORCH_CUDA_ARCH_LIST", "")
    if asked:
        return Wanted(_parse(";".join(asked), "--arch"), f"--arch {' '.join(asked)}")
    if listed and listed != "native":
        return Wanted(_parse(listed, "TORCH_CUDA_ARCH_LIST"), f"TORCH_CUDA_ARCH_LIST={listed}")
    capability = _capability()
    if capability is not None:  # with the features of that GPU alone, if the candidate declares them
        return Wanted((f"{capability}a",), f"this machine's GPU ({capability})")
    return Wanted(PRODUCTS, "nothing", binding=False)


def choose_architectures(declared: Sequence[str], wanted: Wanted) -> tuple[str, ...]:
    """The declared architectures whose code runs on GPUs of the wanted ones; empty if there are none."""
    served = [_served(declared, architecture) for architecture in wanted.architectures]
    chosen = tuple(dict.fromkeys(architecture for architecture in served if architecture is not None))
    return chosen if chosen or wanted.binding else tuple(declared)


def _served(declared: Sequence[str], wanted: str) -> str | None:
    """The best declared architecture: the same; with the same number; or an older one of the same major version.

    Machine code also runs on later minor versions, except code for one GPU only (suffix `a`).
    """
    plain, plus, _ = wanted.partition("+PTX")
    older = sorted((each for each in declared if _older(each, plain)), key=_number, reverse=True)
    same = [each for each in declared if _number(each) == _number(plain)]
    nearest = next((each for each in (plain, *same, *older) if each in declared), None)
    return nearest and nearest + plus


def _number(architecture: str) -> tuple[int, int]:
    major, minor, _, _ = architecture_parts(architecture)
    return int(major), int(minor)


def _older(architecture: str, than: str) -> bool:
    (major, minor), (its_major, its_minor) = _number(architecture), _number(than)
    return architecture[-1].isdecimal() and major == its_major and minor < its_minor


def code_flags(architecture: str) -> list[str]:
    """The flags of nvcc for one architecture."""
    major, minor, suffix, ptx = architecture_parts(architecture)
    number = f"{major}{minor}{suffix}"
    made = [f"-gencode=arch=compute_{number},code=sm_{number}"]
    return [*made, f"-gencode=arch=compute_{number},code=compute_{number}"] if ptx else made


def _parse(text: str, source: str) -> tuple[str, ...]:
    """Parses a list separated by semicolons, commas or spaces; names of generations are allowed."""
    for name, architectures in NAMED.items():
        text = text.replace(name, architectures)
    parsed = tuple(dict.fromkeys(filter(None, re.split(r"[;, ]+", text))))
    for each in parsed:
        if not FORM.fullmatch(each):
            raise BadInputError(f"{source}: '{each}' is not an architecture; write for example 8.9 or 9.0a+PTX")
    return parsed


def _capability() -> str | None:
    """The compute capability of the GPU that CUDA would use; None without a GPU."""
    from gate.machine import nvml

    try:
        with nvml.initialised():
            return nvml.describe_gpu(nvml.visible_index()).compute_capability
    except UnfitEnvironmentError:
        return None
