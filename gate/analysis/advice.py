"""Recommends the next optimization: the first step whose rule holds, sorted by expected gain."""

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
    states,
    uncoalesced,
)
from gate.analysis.derived import Bound

LONG_WAIT = 0.25
"""As a share of the time between two instructions of a warp."""
FEW_WAVES = 0.75
SATURATED_PCT = 60.0


def _waits_for(*names: str) -> Callable[[Subject], bool]:
    """Whether these stalls dominate."""
    return lambda subject: sum(dict(subject.call.stalls[:3]).get(name, 0.0) for name in names) >= LONG_WAIT


STEPS: tuple[ExplanationRule, ...] = (
    ExplanationRule("fuse", bound_is(Bound.LAUNCH), states("launch fewer, longer kernels: fuse them into one pass")),
    ExplanationRule("tensor cores", no_tensor_cores, states("compute both products on the tensor cores")),
    ExplanationRule(
        "split",
        lambda s: s.at("waves") < FEW_WAVES,
        states("give every multiprocessor work: smaller tiles, or keys split over blocks with a second pass"),
    ),
    ExplanationRule(
        "one pass",
        lambda s: s.call.bound is Bound.MEMORY and over(s.call.traffic_excess, EXCESS),
        states("keep the scores out of memory: one fused pass with an online softmax"),
    ),
    ExplanationRule("bank conflicts", conflicts, states("swizzle or pad the tiles in shared memory")),
    ExplanationRule("coalescing", uncoalesced, states("let neighbouring threads read neighbouring 16 bytes")),
    ExplanationRule(
        "spills",
        lambda s: over(s.call.spill_share, 4 * NOTABLE_SPILLS),
        states("use a smaller tile per warp, or allow more registers per thread"),
    ),
    ExplanationRule(
        "barriers",
        _waits_for("barrier", "memory fence"),
        states("synchronize warps less often: more stages, or separate tiles for each warp"),
    ),
    ExplanationRule(
        "prefetch",
        _waits_for("global memory", "local and global queue"),
        states("load the next tile while this one is computed: asynchronous copies, more stages"),
    ),
    ExplanationRule(
        "shared memory",
        _waits_for("shared memory", "shared memory queue"),
        states("read less shared memory: larger tiles per warp, ldmatrix, operands that stay in registers"),
    ),
    ExplanationRule(
        "overlap",
        _waits_for("arithmetic pipe", "warpgroup"),
        states(
            "overlap softmax with the products: keep two tiles in flight and compute the softmax of one meanwhile"
        ),
    ),
    ExplanationRule(
        "parallelism",
        lambda s: low_occupancy(s) and s.at("tensor_pct") < SATURATED_PCT,
        states("hide latency with more warps, or with more independent work in each warp"),
    ),
    ExplanationRule(
        "arithmetic",
        bound_is(Bound.COMPUTE),
        states("do less arithmetic besides the products: fewer rescalings, exp2 with the scale folded in"),
    ),
    ExplanationRule(
        "bytes", bound_is(Bound.MEMORY), states("move fewer bytes: reuse each tile of keys for more queries")
    ),
    ExplanationRule("look", lambda s: True, states("read the source view of a full report (`ncu --set full`)")),  # noqa: ARG005
)
