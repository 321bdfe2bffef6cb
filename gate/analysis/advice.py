"""What to try next, by what a call shows: the first step whose rule holds. The order is that of what it may gain."""

from __future__ import annotations

from collections.abc import Callable

from gate.analysis.conditions import (
    EXCESS,
    NOTABLE_SPILLS,
    ExplanationRule,
    Subject,
    bound_is,
    conflicts,
    low_occupancy,
    no_tensor_cores,
    over,
    says,
    uncoalesced,
)
from gate.analysis.derived import Bound

LONG_WAIT = 0.25
"""Of the time between two instructions of a warp."""
FEW_WAVES = 0.75
SATURATED_PCT = 60.0


def _waits_for(*names: str) -> Callable[[Subject], bool]:
    """Whether these are what warps mostly wait for."""
    return lambda subject: sum(dict(subject.it.stalls[:3]).get(name, 0.0) for name in names) >= LONG_WAIT


STEPS: tuple[ExplanationRule, ...] = (
    ExplanationRule("fuse", bound_is(Bound.LAUNCH), says("launch fewer, longer kernels: fuse them into one pass")),
    ExplanationRule("tensor cores", no_tensor_cores, says("compute both products on the tensor cores")),
    ExplanationRule(
        "split",
        lambda s: s.at("waves") < FEW_WAVES,
        says("give every multiprocessor work: smaller tiles, or keys split over blocks with a second pass"),
    ),
    ExplanationRule(
        "one pass",
        lambda s: s.it.bound is Bound.MEMORY and over(s.it.traffic_excess, EXCESS),
        says("keep the scores out of memory: one fused pass with an online softmax"),
    ),
    ExplanationRule("bank conflicts", conflicts, says("swizzle or pad the tiles in shared memory")),
    ExplanationRule("coalescing", uncoalesced, says("let neighbouring threads read neighbouring 16 bytes")),
    ExplanationRule(
        "spills",
        lambda s: over(s.it.spill_share, 4 * NOTABLE_SPILLS),
        says("take a smaller tile a warp, or allow more registers a thread"),
    ),
    ExplanationRule(
        "barriers",
        _waits_for("barrier", "memory fence"),
        says("let warps wait for each other less often: more stages, or tiles of a warp's own"),
    ),
    ExplanationRule(
        "prefetch",
        _waits_for("global memory", "local and global queue"),
        says("load the next tile while this one is computed: asynchronous copies, more stages"),
    ),
    ExplanationRule(
        "shared memory",
        _waits_for("shared memory", "shared memory queue"),
        says("read shared memory less: larger tiles a warp, ldmatrix, operands that stay in registers"),
    ),
    ExplanationRule(
        "overlap",
        _waits_for("arithmetic pipe", "warpgroup"),
        says("overlap softmax with the products: two tiles in flight, one of them exponentiated meanwhile"),
    ),
    ExplanationRule(
        "parallelism",
        lambda s: low_occupancy(s) and s.at("tensor_pct") < SATURATED_PCT,
        says("hide latency with more warps, or with more independent work in each"),
    ),
    ExplanationRule(
        "arithmetic",
        bound_is(Bound.COMPUTE),
        says("do less arithmetic beside the products: fewer rescalings, exp2 with the scale folded in"),
    ),
    ExplanationRule(
        "bytes", bound_is(Bound.MEMORY), says("move fewer bytes: use a tile of keys for more queries of its head")
    ),
    ExplanationRule("look", lambda s: True, says("read the source view of a full report (`ncu --set full`)")),  # noqa: ARG005
)
