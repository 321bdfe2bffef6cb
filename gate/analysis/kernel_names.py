"""Compares kernel names, which every tool demangles differently."""

from __future__ import annotations

import re

ANONYMOUS = re.compile(r"(<unnamed>|\(anonymous namespace\))::")
CAST = re.compile(r"\((?:int|unsigned int|bool|long|unsigned long)\)(?=-?\d)")
SUFFIX = re.compile(r"\b(\d+)u?l{0,2}\b")
TRUTH = {"true": "1", "false": "0"}


def same_kernel(one: str, other: str) -> bool:
    """Whether two names mean the same kernel, ignoring return types, parameters and the spelling of constants."""
    return bare(one) == bare(other)


def bare(name: str) -> str:
    """The qualified name with template arguments, without return type and parameters."""
    name = CAST.sub("", ANONYMOUS.sub("", name))
    name = _without_parameters(name).removeprefix("void ").replace(" ", "")
    name = SUFFIX.sub(r"\1", name)
    return re.sub(r"\b(true|false)\b", lambda match: TRUTH[match[0]], name)


def _without_parameters(name: str) -> str:
    """The name up to the first parenthesis outside angle brackets."""
    depth = 0
    for at, letter in enumerate(name):
        depth += {"<": 1, ">": -1}.get(letter, 0)
        if letter == "(" and depth == 0 and at:
            return name[:at]
    return name
