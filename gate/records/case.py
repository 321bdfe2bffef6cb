"""What a check asks of a candidate: a workload, what its inputs are like, and how they lie in memory."""

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
    """One thing to check: gate/runtime/inputs.py fills `distribution`, guarded_tensor.py there lays out `layout`."""

    workload: Workload
    distribution: Distribution = NORMAL
    layout: Layout = CONTIGUOUS

    def __post_init__(self) -> None:
        for name, kind in (("distribution", Distribution), ("layout", Layout)):
            value, known = getattr(self, name), get_args(kind)
            require(value in known, f"{name} is one of {', '.join(known)}, not {value}")

    def __str__(self) -> str:
        unusual = [each for each in (self.distribution, self.layout) if each not in (NORMAL, CONTIGUOUS)]
        return " ".join([str(self.workload), *unusual])
