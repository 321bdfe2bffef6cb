"""Launch sizes declared in kernel.toml, which the compiler does not know: threads, dynamic shared memory.

A size is a number or an expression of tunables ("32 * NUM_WARPS"). If kernels differ, it is a table from a part of
the kernel's name to its size.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping

from gate.candidates.tunables import Config

Size = int | str
Sizes = Size | Mapping[str, Size]
OPERATORS: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
}


def check_sizes(name: str, sizes: Sizes | None, config: Config, least: int = 0, most: float = math.inf) -> None:
    """Raises ValueError if a size is malformed or out of bounds for this configuration."""
    for size in sizes.values() if isinstance(sizes, Mapping) else (sizes,):
        if size is not None and not least <= evaluate(size, config) <= most:
            raise ValueError(f"{name} = {size!r} must lie between {least} and {most}")


def size_of(sizes: Sizes | None, kernel: str, config: Config) -> int | None:
    """The declared size for this kernel; None if none is declared."""
    if isinstance(sizes, Mapping):
        sizes = next((size for part, size in sizes.items() if part in kernel), None)
    return None if sizes is None else evaluate(sizes, config)


def evaluate(size: Size, config: Config) -> int:
    """The value of a number or an expression. Raises ValueError for anything but + - * // and tunables."""
    if isinstance(size, int):
        return size
    try:
        return _value(ast.parse(size, mode="eval").body, config)
    except (SyntaxError, ZeroDivisionError, KeyError, TypeError) as error:
        allowed = f"numbers, + - * // and tunables ({', '.join(config) or 'none declared'})"
        raise ValueError(f"'{size}' is not a valid size; allowed: {allowed}") from error


def _value(node: ast.expr, config: Config) -> int:
    match node:
        case ast.Constant(value=int(number)):
            return number
        case ast.Name(id=name):
            return config[name]
        case ast.BinOp(left=left, op=sign, right=right):
            return OPERATORS[type(sign)](_value(left, config), _value(right, config))
        case _:
            raise TypeError(type(node).__name__)
