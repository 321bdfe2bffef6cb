"""One case of a check: a workload, the distribution of its inputs, and their memory layout."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from gate.records.base import Record, require
from gate.records.workload import Workload

Distribution = Literal["normal", "uniform", "large_logits", "dominant_key", "constant", "denormal"]
Layout = Literal["contiguous", "heads_inside", "padded_rows", "odd_rows"]
NORMAL: Distribution = "normal"
CONTIGUOUS: Layout = "contiguous"


@dataclass(frozen=True, slots=True)
class Case(Record):
    """One case: gate/runtime/inputs.py draws `distribution`, and gate/runtime/guarded_tensor.py makes `layout`."""

    workload: Workload
    distribution: Distribution = NORMAL
    layout: Layout = CONTIGUOUS

    def __post_init__(self) -> None:
        for name, kind in (("distribution", Distribution), ("layout", Layout)):
            value, known = getattr(self, name), get_args(kind)
            require(value in known, f"{name} is one of {', '.join(known)}, not {value}")

    def __str__(self) -> str:
        unusual = [name for name in (self.distribution, self.layout) if name not in (NORMAL, CONTIGUOUS)]
        return " ".join([str(self.workload), *unusual])
