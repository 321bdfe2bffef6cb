"""The counters, under stable names: versions of Nsight Compute rename their metrics.

A metric has several spellings, the preferred one first. A spelling is one Nsight Compute name, or several to add up.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

Spelling = tuple[str, ...]
SECTOR_BYTES = 32
"""Size of a memory transaction."""
UNLISTED = ("launch__", "memory_", "derived__", "sm__maximum_warps_")
"""Prefixes of names that `ncu --query-metrics` does not list although ncu can read them."""


class Summary(StrEnum):
    """How the values of a call's kernels combine into one value."""

    SUM = "sum"
    TIME = "time"
    """The mean, weighted by the kernels' durations."""
    LONGEST = "longest"
    """The value of the longest kernel."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One counter: its spellings, and how it combines over kernels."""

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
"""What limits the blocks of a multiprocessor; the counter is the largest number of blocks that it allows."""
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
"""Stall reasons, and Nsight Compute's names for them. Values: cycles per issued instruction, averaged over warps."""
STALL = "stall: "
WAITING = "smsp__average_warps_issue_stalled_{}_per_issue_active.ratio"

METRICS: tuple[Metric, ...] = (
    *_COUNTERS,
    *(_one(LIMIT + name, Summary.LONGEST, spelling) for name, spelling in LIMITERS.items()),
    *(_one(STALL + name, Summary.TIME, *map(WAITING.format, spellings)) for name, spellings in STALLS.items()),
)


@dataclass(frozen=True, slots=True)
class ChosenMetrics:
    """The spelling to request for each metric; metrics without one are missing."""

    spellings: Mapping[str, Spelling]

    @property
    def asked(self) -> tuple[str, ...]:
        """The Nsight Compute names to request, without duplicates."""
        return tuple(dict.fromkeys(name for spelling in self.spellings.values() for name in spelling))

    @property
    def missing(self) -> tuple[str, ...]:
        """Names of metrics that cannot be requested."""
        return tuple(metric.name for metric in METRICS if metric.name not in self.spellings)


def choose_metrics(known: Collection[str] = (), refused: Collection[str] = ()) -> ChosenMetrics:
    """The first known spelling of each metric.

    `known`: names without suffix, as `ncu --query-metrics` lists them; if empty, every name counts as known.
    `refused`: names that ncu has rejected.
    """

    def possible(spelling: Spelling) -> bool:
        return all(name not in refused and _is_known(name, known) for name in spelling)

    found = {metric.name: next(filter(possible, metric.spellings), None) for metric in METRICS}
    return ChosenMetrics({name: spelling for name, spelling in found.items() if spelling})


def _is_known(name: str, known: Collection[str]) -> bool:
    return not known or name.startswith(UNLISTED) or name.partition(".")[0] in known


def named_counters(reported: Mapping[str, float]) -> dict[str, float]:
    """Converts Nsight Compute's names to stable names, by the first spelling that is completely reported."""
    return dict(_named(reported))


def _named(reported: Mapping[str, float]) -> Iterator[tuple[str, float]]:
    for metric in METRICS:
        complete = (spelling for spelling in metric.spellings if all(name in reported for name in spelling))
        if spelling := next(complete, None):
            yield metric.name, sum(reported[name] for name in spelling)


def absent_counters(names: Iterable[Collection[str]]) -> tuple[str, ...]:
    """Names of metrics that no kernel has; `names` holds one collection for each kernel."""
    present = {name for kernel in names for name in kernel}
    return tuple(metric.name for metric in METRICS if metric.name not in present)
