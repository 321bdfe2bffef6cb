"""A workload: one attention problem."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from gate.records.base import Record, require

MAX_SIZE = 2**31 - 1
Dtype = Literal["float32", "float16", "bfloat16"]
DTYPE_BYTES: Mapping[str, int] = {"float32": 4, "float16": 2, "bfloat16": 2}


@dataclass(frozen=True, slots=True)
class Workload(Record):
    """One attention problem: q, k and v of shape (batch, heads, seq_len, head_dim)."""

    batch: int
    heads: int
    seq_len: int
    head_dim: int
    dtype: Dtype = "float16"
    causal: bool = False

    def __post_init__(self) -> None:
        within = min(self.shape) >= 1 and max(self.shape) <= MAX_SIZE
        require(within, f"a workload's sizes are at least 1 and at most {MAX_SIZE}, not {self.shape}")
        require(self.dtype in DTYPE_BYTES, f"dtype is one of {', '.join(DTYPE_BYTES)}, not {self.dtype}")

    def __str__(self) -> str:
        sizes = ",".join(map(str, self.shape))
        return f"{sizes} {self.dtype}{' causal' if self.causal else ''}"

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(batch, heads, seq_len, head_dim)."""
        return self.batch, self.heads, self.seq_len, self.head_dim

    @property
    def flops(self) -> int:
        """Floating-point operations of QKᵀ and PV; by convention softmax is not counted."""
        pairs = self.seq_len * (self.seq_len + 1) // 2 if self.causal else self.seq_len**2
        return 4 * self.batch * self.heads * pairs * self.head_dim

    @property
    def bytes(self) -> int:
        """The least memory traffic: q, k and v are read once, the output is written once."""
        return 4 * math.prod(self.shape) * DTYPE_BYTES[self.dtype]
