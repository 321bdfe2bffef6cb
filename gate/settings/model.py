"""The settings, their defaults and their allowed values."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import cast

from gate.errors import BadInputError
from gate.records import CONTIGUOUS, NORMAL, Case, Distribution, Dtype, Layout, Policy, Record, Workload
from gate.settings.github import GithubSettings

MAX_ROUNDS, MAX_REPLICATES, MAX_RETRIES = 100_000, 1_000, 100
MAX_LIMIT_S, MAX_LIMIT_MB = 7 * 86_400, 1 << 30
"""Upper bounds of the limits: a week, and a petabyte."""


@dataclass(frozen=True, slots=True)
class MeasureSettings(Record):
    """Settings of a trial."""

    baseline: str = "best"
    interim_replicates: tuple[int, ...] = (5, 10, 20)
    """The interim analyses: numbers of replicates after which a trial may stop. It never takes more than the last."""
    rounds: int = 30
    warmup_rounds: int = 5
    max_retries: int = 3
    """How often a replicate is repeated while something disturbs the GPU."""
    lock_clocks: bool = False
    """Lock the GPU's clocks while measuring; needs root, and a machine that nobody shares."""
    selection_replicates: int = 2
    """Replicates of the trial that selects the fastest SDPA backend."""
    selection_rounds: int = 10
    """Rounds of each of these replicates, after the warm-up."""

    def __post_init__(self) -> None:
        planned = list(self.interim_replicates)
        if not planned or planned != sorted(set(planned)) or planned[0] < 1:
            raise ValueError(f"interim_replicates are increasing numbers of replicates, from 1 up, not {planned}")
        if max(self.rounds, self.warmup_rounds, self.selection_rounds) > MAX_ROUNDS:
            raise ValueError(f"a replicate has at most {MAX_ROUNDS} rounds")
        if max(planned[-1], self.selection_replicates) > MAX_REPLICATES:
            raise ValueError(f"a trial has at most {MAX_REPLICATES} replicates")
        if not 0 <= self.max_retries <= MAX_RETRIES:
            raise ValueError(f"max_retries lies between 0 and {MAX_RETRIES}, not at {self.max_retries}")
        if min(self.rounds, self.selection_replicates, self.selection_rounds) < 1 or self.warmup_rounds < 0:
            raise ValueError("the rounds and replicates of a trial are at least 1, and warmup_rounds at least 0")


@dataclass(frozen=True, slots=True)
class LimitSettings(Record):
    """Resource limits of a candidate's processes; exceeding one ends them."""

    build_s: float = 300.0
    check_s: float = 120.0
    replicate_s: float = 60.0
    profile_s: float = 120.0
    memory_mb: int = 8192
    """Resident, of all its processes, shared pages counted once, over what the first began with; in 2**20 bytes."""
    file_mb: int = 1024
    """The largest file it may write, in 2**20 bytes."""

    def __post_init__(self) -> None:
        if not min(self.build_s, self.check_s, self.replicate_s, self.profile_s, self.memory_mb, self.file_mb) > 0:
            raise ValueError("every limit must be greater than 0")
        if max(self.build_s, self.check_s, self.replicate_s, self.profile_s) > MAX_LIMIT_S:
            raise ValueError(f"a time limit must be at most {MAX_LIMIT_S} s (a week)")
        if max(self.memory_mb, self.file_mb) > MAX_LIMIT_MB:
            raise ValueError(f"a size limit must be at most {MAX_LIMIT_MB} MB")


@dataclass(frozen=True, slots=True)
class Tolerance(Record):
    """|out - ref| <= atol + rtol * |ref|, at every element."""

    atol: float
    rtol: float


@dataclass(frozen=True, slots=True)
class FuzzMatrix(Record):
    """The cases of `fuzz`: all combinations of these values."""

    batch: tuple[int, ...]
    heads: tuple[int, ...]
    seq_len: tuple[int, ...]
    head_dim: tuple[int, ...] = (64,)
    causal: tuple[bool, ...] = (False,)
    distribution: tuple[Distribution, ...] = (NORMAL,)
    layout: tuple[Layout, ...] = (CONTIGUOUS,)

    def __post_init__(self) -> None:
        for sizes in (self.batch, self.heads, self.seq_len, self.head_dim):
            if not sizes or min(sizes) < 1 or len(set(sizes)) < len(sizes):
                raise ValueError(
                    f"the sizes of a matrix must be at least 1 and without duplicates, not {list(sizes)}"
                )
        if not self.causal:
            raise ValueError("causal of a matrix must be [false], [true] or both")
        if not (self.distribution and self.layout):
            raise ValueError('a matrix needs at least one distribution, such as ["normal"], and one layout')

    def workloads(self, dtype: Dtype) -> tuple[Workload, ...]:
        """All combinations, the slowest-varying factor first."""
        sizes = itertools.product(self.batch, self.heads, self.seq_len, self.head_dim, self.causal)
        return tuple(Workload(b, h, s, d, dtype, causal) for b, h, s, d, causal in sizes)

    def cases(self, dtype: Dtype) -> tuple[Case, ...]:
        """Every workload with every distribution in every layout."""
        inputs = list(itertools.product(self.distribution, self.layout))
        return tuple(Case(workload, *kind) for workload in self.workloads(dtype) for kind in inputs)


def _tolerances() -> dict[str, Tolerance]:
    # float16: docs/correctness.md. bfloat16 has 3 mantissa bits fewer.
    # float32: SDPA's own error at S=1024 is below 2e-6.
    return {
        "float16": Tolerance(atol=2e-3, rtol=1e-3),
        "bfloat16": Tolerance(atol=1.6e-2, rtol=8e-3),
        "float32": Tolerance(atol=1e-5, rtol=1e-5),
    }


def _workloads() -> dict[str, tuple[str, ...]]:
    long_batches = tuple(f"32,8,{seq_len},64,float16" for seq_len in (128, 256, 512, 1024))
    return {"cpu": ("1,8,512,64,float32",), "cuda": ("1,8,512,64,float16", *long_batches)}


def _extra_workloads() -> dict[str, tuple[str, ...]]:
    return {
        "cpu": ("1,8,128,64,float32", "1,8,512,64,float32,causal", "4,8,256,64,float32"),
        "cuda": (
            "1,8,1024,64,float16",
            "1,8,4096,64,float16",
            "8,16,512,64,float16",
            "8,16,2048,64,float16",
            "32,8,512,32,float16",
            "32,8,512,128,float16",
            "8,16,2048,128,float16",
            "32,8,512,64,bfloat16",
            "32,8,512,64,float16,causal",
            "8,16,2048,128,bfloat16,causal",
        ),
    }


def _matrices() -> dict[str, FuzzMatrix]:
    return {
        "small": FuzzMatrix(
            batch=(1, 3), heads=(1, 4), seq_len=(1, 17, 113, 203, 448), head_dim=(32, 64), causal=(False, True)
        ),
        "full": FuzzMatrix(batch=(16, 32, 48), heads=(4, 8, 16), seq_len=(448, 512, 640)),
        "lengths": FuzzMatrix(
            batch=(2,), heads=(3,), seq_len=(1, 17, 113, 203, 799, 1023), head_dim=(32, 64, 128), causal=(False, True)
        ),
        "inputs": FuzzMatrix(
            batch=(2,),
            heads=(3,),
            seq_len=(17, 113, 512),
            causal=(False, True),
            distribution=("uniform", "large_logits", "dominant_key", "constant", "denormal"),
        ),
        "layouts": FuzzMatrix(
            batch=(2,),
            heads=(3,),
            seq_len=(203,),
            head_dim=(32, 64, 128),
            causal=(False, True),
            layout=("heads_inside", "padded_rows", "odd_rows"),
        ),
    }


@dataclass(frozen=True, slots=True)
class Settings(Record):
    """All of gate.toml."""

    gates: Policy = field(default_factory=Policy)
    measure: MeasureSettings = field(default_factory=MeasureSettings)
    limits: LimitSettings = field(default_factory=LimitSettings)
    tolerance: Mapping[str, Tolerance] = field(default_factory=_tolerances)
    workloads: Mapping[str, tuple[str, ...]] = field(default_factory=_workloads)
    """The required workloads of each device: `B,H,S,D,dtype`."""
    extra_workloads: Mapping[str, tuple[str, ...]] = field(default_factory=_extra_workloads)
    """Per device, what `kernel-gate baseline` records in addition: `B,H,S,D,dtype`, and `causal`."""
    fuzz: Mapping[str, FuzzMatrix] = field(default_factory=_matrices)
    github: GithubSettings = field(default_factory=GithubSettings)

    def __post_init__(self) -> None:
        for device, texts in self.workloads.items():
            if not texts:
                raise ValueError(f"{device} requires no workload; name at least one")
        for name, table in (("workloads", self.workloads), ("extra_workloads", self.extra_workloads)):
            for device, texts in table.items():
                _parse_all(f"{name}.{device}", texts)

    def required(self, device: str) -> tuple[Workload, ...]:
        """The workloads on which a candidate must be faster on this device, without duplicates."""
        return tuple(dict.fromkeys(parse_workload(text) for text in self.workloads[device]))


def _parse_all(name: str, texts: Iterable[str]) -> None:
    try:
        for text in texts:
            parse_workload(text)
    except BadInputError as error:
        raise ValueError(f"{name}: {error}") from error


SHAPE = "write B,H,S,D and then, where wanted, the dtype and causal: 1,8,512,64 or 1,8,512,64,float32,causal"


def parse_workload(text: str, dtype: str = "float16") -> Workload:
    """`B,H,S,D`, then optionally the dtype, then optionally `causal`. Raises BadInputError."""
    parts = [part.strip() for part in text.split(",")]
    if len(parts) not in (4, 5, 6) or parts[5:] not in ([], ["causal"]):
        raise BadInputError(f"shape '{text}' is none; {SHAPE}")
    if not all(part.isdecimal() for part in parts[:4]):
        raise BadInputError(f"shape '{text}' has a size that is no whole number; {SHAPE}")
    try:
        batch, heads, seq_len, head_dim = map(int, parts[:4])
        chosen = cast("Dtype", parts[4] if parts[4:] else dtype)  # Workload refuses any other
        return Workload(batch, heads, seq_len, head_dim, chosen, causal=bool(parts[5:]))
    except ValueError as error:
        raise BadInputError(f"shape '{text}': {error}; {SHAPE}") from error
