"""What is counted, under names of our own: versions of Nsight Compute rename metrics, and a record outlives them.

A metric has several spellings, the preferred one first; each is one of Nsight Compute's names, or several to add up.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

Spelling = tuple[str, ...]
SECTOR_BYTES = 32
"""What caches and memory move at once."""
UNLISTED = ("launch__", "memory_", "derived__", "sm__maximum_warps_")
"""Begin the names that `ncu --query-metrics` leaves out, though it can read them."""


class Summary(StrEnum):
    """How kernels of one call add up to the call."""

    SUM = "sum"
    TIME = "time"
    """The mean, each kernel weighted by its duration."""
    LONGEST = "longest"
    """That of the kernel which takes longest."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One counter: how it is spelled, and how it adds up over kernels."""

    name: str
    spellings: tuple[Spelling, ...]
    over: Summary


def _one(name: str, over: Summary, *spellings: str | Spelling) -> Metric:
    return Metric(name, tuple((spelling,) if isinstance(spelling, str) else spelling for spelling in spellings), over)


PCT = "avg.pct_of_peak_sustained_elapsed"
ACTIVE = "avg.pct_of_peak_sustained_active"
_TENSOR = "sm__inst_executed_pipe_tensor"
_GLOBAL = "smsp__sass_inst_executed_op"

_COUNTERS = (
    _one("duration_ns", Summary.SUM, "gpu__time_duration.sum"),
    _one("instructions", Summary.SUM, "smsp__inst_executed.sum", "sm__inst_executed.sum"),
    _one(
        "tensor_pct", Summary.TIME,
        f"sm__pipe_tensor_cycles_active.{PCT}", f"sm__pipe_tensor_op_hmma_cycles_active.{PCT}",
    ),
    _one(
        "tensor_instructions", Summary.SUM,
        f"{_TENSOR}.sum",
        (f"{_TENSOR}_op_hmma.sum", f"{_TENSOR}_op_gmma.sum"),
        f"{_TENSOR}_op_hmma.sum",
    ),
    _one("sm_pct", Summary.TIME, f"sm__throughput.{PCT}"),
    _one("memory_pct", Summary.TIME, f"gpu__compute_memory_throughput.{PCT}"),
    _one("dram_pct", Summary.TIME, f"dram__throughput.{PCT}", f"gpu__dram_throughput.{PCT}"),
    _one("dram_sectors_read", Summary.SUM, "dram__sectors_read.sum"),
    _one("dram_sectors_write", Summary.SUM, "dram__sectors_write.sum"),
    _one("l2_pct", Summary.TIME, f"lts__throughput.{PCT}"),
    _one("l2_hit_pct", Summary.TIME, "lts__t_sector_hit_rate.pct"),
    _one("l1_pct", Summary.TIME, f"l1tex__throughput.{PCT}"),
    _one("occupancy_pct", Summary.LONGEST, f"sm__warps_active.{ACTIVE}"),
    _one("occupancy_limit_pct", Summary.LONGEST, "sm__maximum_warps_per_active_cycle_pct"),
    _one("issue_pct", Summary.TIME, f"smsp__issue_active.{ACTIVE}"),
    _one(
        "shared_conflicts", Summary.SUM,
        "l1tex__data_bank_conflicts_pipe_lsu_mem_shared.sum",
        (
            "l1tex__data_bank_conflicts_pipe_lsu_mem_shared_op_ld.sum",
            "l1tex__data_bank_conflicts_pipe_lsu_mem_shared_op_st.sum",
        ),
    ),
    _one("shared_wavefronts", Summary.SUM, "l1tex__data_pipe_lsu_wavefronts_mem_shared.sum"),
    _one("global_sectors", Summary.SUM, "memory_l2_theoretical_sectors_global"),
    _one("global_sectors_ideal", Summary.SUM, "memory_l2_theoretical_sectors_global_ideal"),
    _one(
        "local_instructions", Summary.SUM,
        (f"{_GLOBAL}_local_ld.sum", f"{_GLOBAL}_local_st.sum"),
        ("smsp__inst_executed_op_local_ld.sum", "smsp__inst_executed_op_local_st.sum"),
    ),
    _one("registers", Summary.LONGEST, "launch__registers_per_thread"),
    _one("shared_bytes", Summary.LONGEST, "launch__shared_mem_per_block"),
    _one("blocks", Summary.LONGEST, "launch__grid_size"),
    _one("threads", Summary.LONGEST, "launch__block_size"),
    _one("waves", Summary.LONGEST, "launch__waves_per_multiprocessor"),
    _one("sm_hz", Summary.TIME, "gpc__cycles_elapsed.avg.per_second", "gpc__cycles_elapsed.max.per_second"),
)  # fmt: skip

LIMITERS: Mapping[str, str] = {
    "registers": "launch__occupancy_limit_registers",
    "shared memory": "launch__occupancy_limit_shared_mem",
    "warps": "launch__occupancy_limit_warps",
    "blocks": "launch__occupancy_limit_blocks",
}
"""What may keep more blocks from a multiprocessor; the counter is how many it leaves room for."""
LIMIT = "limit: "

STALLS: Mapping[str, tuple[str, ...]] = {
    "barrier": ("barrier",),
    "branch resolving": ("branch_resolving",),
    "dispatch": ("dispatch_stall",),
    "drain": ("drain",),
    "warpgroup": ("gmma", "warpgroup_arrive"),
    "constant cache": ("imc_miss",),
    "local and global queue": ("lg_throttle",),
    "global memory": ("long_scoreboard",),
    "arithmetic pipe": ("math_pipe_throttle",),
    "memory fence": ("membar",),
    "shared memory queue": ("mio_throttle",),
    "miscellaneous": ("misc",),
    "instruction cache": ("no_instruction", "no_instructions"),
    "not selected": ("not_selected",),
    "selected": ("selected",),
    "shared memory": ("short_scoreboard",),
    "sleeping": ("sleeping",),
    "texture queue": ("tex_throttle",),
    "fixed latency": ("wait",),
}
"""What a warp waits for between two of its instructions, and Nsight Compute's words for it. In cycles per instruction
that the multiprocessor issues, averaged over warps."""
STALL = "stall: "
WAITING = "smsp__average_warps_issue_stalled_{}_per_issue_active.ratio"

METRICS: tuple[Metric, ...] = (
    *_COUNTERS,
    *(_one(LIMIT + name, Summary.LONGEST, spelling) for name, spelling in LIMITERS.items()),
    *(_one(STALL + name, Summary.TIME, *map(WAITING.format, words)) for name, words in STALLS.items()),
)


@dataclass(frozen=True, slots=True)
class ChosenMetrics:
    """The spelling to ask for of each metric; those without one are missing."""

    spellings: Mapping[str, Spelling]

    @property
    def asked(self) -> tuple[str, ...]:
        """Nsight Compute's names, each once."""
        return tuple(dict.fromkeys(name for spelling in self.spellings.values() for name in spelling))

    @property
    def missing(self) -> tuple[str, ...]:
        """Our names of what cannot be asked for."""
        return tuple(metric.name for metric in METRICS if metric.name not in self.spellings)


def choose_metrics(known: Collection[str] = (), refused: Collection[str] = ()) -> ChosenMetrics:
    """Of each metric the first spelling that is known.

    `known` are names without their suffixes, as `ncu --query-metrics` lists them; with none, all are taken to be.
    `refused` are names that were asked for in vain.
    """

    def possible(spelling: Spelling) -> bool:
        return all(name not in refused and _is_known(name, known) for name in spelling)

    found = {metric.name: next(filter(possible, metric.spellings), None) for metric in METRICS}
    return ChosenMetrics({name: spelling for name, spelling in found.items() if spelling})


def _is_known(name: str, known: Collection[str]) -> bool:
    return not known or name.startswith(UNLISTED) or name.partition(".")[0] in known


def named_counters(seen: Mapping[str, float]) -> dict[str, float]:
    """Our names and values of what Nsight Compute reported under its own: the first spelling that is all there."""
    return dict(_named(seen))


def _named(seen: Mapping[str, float]) -> Iterator[tuple[str, float]]:
    for metric in METRICS:
        whole = (spelling for spelling in metric.spellings if all(name in seen for name in spelling))
        if spelling := next(whole, None):
            yield metric.name, sum(seen[name] for name in spelling)


def absent_counters(names: Iterable[Collection[str]]) -> tuple[str, ...]:
    """Our names that none of these has, one collection a kernel."""
    seen = {name for spelling in names for name in spelling}
    return tuple(metric.name for metric in METRICS if metric.name not in seen)
