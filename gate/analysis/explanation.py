"""Why a call is as fast as it is, in sentences: each follows from one rule of a table and names its numbers. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from gate.analysis.advice import STEPS
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


def _pace(subject: Subject) -> str:
    it = subject.it
    which = "measured" if it.roof is it.measured else "theoretical"
    share = "" if it.roofline_share is None else f", {it.roofline_share:.0%} of what the {which} roofline allows"
    at = "" if it.intensity is None else f" at {it.intensity:.0f} flops a byte of memory traffic"
    return f"It computes {(it.flops_per_s or 0.0) / 1e12:.1f} TFLOP/s{at}{share}."


def _launch(subject: Subject) -> str:
    count, us = len(subject.it.profile.kernels), subject.at("duration_ns") / 1e3
    return (
        f"Launches bound it: {count} kernel{'s' if count > 1 else ''} in {us:.1f} µs, hardly longer than empty ones."
    )


def _compute(subject: Subject) -> str:
    return (
        f"Arithmetic bounds it: the multiprocessors are at {subject.at('sm_pct'):.0f}% of their peak, the tensor "
        f"cores at {subject.at('tensor_pct'):.0f}%."
    )


def _memory(subject: Subject) -> str:
    levels = {level: subject.at(f"{level.lower()}_pct") for level in ("L1", "L2", "DRAM")}
    busiest = max(levels, key=lambda level: levels[level])
    return f"Memory bounds it, at {subject.at('memory_pct'):.0f}% of its peak; {busiest} is the busiest level."


def _latency(subject: Subject) -> str:
    return (
        f"Latency bounds it: neither arithmetic ({subject.at('sm_pct'):.0f}% of peak) nor memory "
        f"({subject.at('memory_pct'):.0f}%) is busy, so that warps mostly wait."
    )


def _tail(subject: Subject) -> str:
    blocks, waves = subject.at("blocks"), subject.at("waves")
    return f"Its {blocks:.0f} blocks fill {waves:.2f} of one wave, and the rest of the GPU idles."


def _occupancy(subject: Subject) -> str:
    limits = {
        "registers": f"registers ({subject.at('registers'):.0f} a thread)",
        "shared memory": f"shared memory ({subject.at('shared_bytes') / 1024:.0f} KiB a block)",
    }
    limiter = subject.it.limiter or "the launch"
    return (
        f"{subject.at('occupancy_pct'):.0f}% of the warps that a multiprocessor can hold are there; "
        f"{limits.get(limiter, limiter)} would allow {subject.at('occupancy_limit_pct'):.0f}%."
    )


def _stall(subject: Subject) -> str:
    waits = " and ".join(f"{name} ({share:.0%})" for name, share in subject.it.stalls[:2])
    return f"Between two instructions a warp waits longest for {waits}."


def _several(subject: Subject) -> str:
    share = subject.it.longest.counters["duration_ns"] / subject.at("duration_ns")
    return f"It launches {len(subject.it.profile.kernels)} kernels; the longest takes {share:.0%} of their time."


def _beside(subject: Subject) -> str:
    mine, theirs = subject.it, subject.baseline
    ratio = (mine.duration_ms or 0.0) / ((theirs and theirs.duration_ms) or 1.0)
    name = theirs.profile.implementation if theirs else "the baseline"
    found = ", ".join(_differences(subject))
    return f"Its kernels take {ratio:.2f} of the time of {name}'s{', with ' if found else ''}{found}."


def _differences(subject: Subject) -> Iterator[str]:
    """What differs between the two, of what an author can act on."""
    mine, theirs = subject.it, subject.baseline
    if theirs is None:
        return
    for ours, other, words in (
        (mine.total("instructions"), theirs.total("instructions"), "the instructions"),
        (mine.total("tensor_pct"), theirs.total("tensor_pct"), "the tensor-core activity"),
        (mine.dram_bytes, theirs.dram_bytes, "the memory traffic"),
    ):
        if ours is not None and other:
            yield f"{ours / other:.2f} times {words}"


EXPLANATION_RULES: tuple[ExplanationRule, ...] = (
    ExplanationRule("pace", lambda s: s.it.flops_per_s is not None, _pace),
    ExplanationRule("launch", bound_is(Bound.LAUNCH), _launch),
    ExplanationRule("compute", bound_is(Bound.COMPUTE), _compute, ("sm_pct", "tensor_pct")),
    ExplanationRule("memory", bound_is(Bound.MEMORY), _memory, ("memory_pct", "l1_pct", "l2_pct", "dram_pct")),
    ExplanationRule("latency", bound_is(Bound.LATENCY), _latency, ("sm_pct", "memory_pct")),
    ExplanationRule("tail", lambda s: s.at("waves") < 1, _tail, ("blocks",)),
    ExplanationRule("no tensor cores", no_tensor_cores, says("No instruction ran on the tensor cores.")),
    ExplanationRule("occupancy", low_occupancy, _occupancy, ("occupancy_limit_pct", "registers", "shared_bytes")),
    ExplanationRule("stall", lambda s: bool(s.it.stalls), _stall),
    ExplanationRule(
        "bank conflicts",
        conflicts,
        lambda s: f"Bank conflicts cause {s.it.conflict_share:.0%} of shared memory's wavefronts.",
    ),
    ExplanationRule(
        "uncoalesced",
        uncoalesced,
        lambda s: f"{s.it.uncoalesced_share:.0%} of the sectors that global accesses ask for are wasted.",
    ),
    ExplanationRule(
        "spills",
        lambda s: over(s.it.spill_share, NOTABLE_SPILLS),
        lambda s: f"{s.it.spill_share:.1%} of its instructions move registers to local memory and back.",
    ),
    ExplanationRule(
        "traffic",
        lambda s: over(s.it.traffic_excess, EXCESS),
        lambda s: f"It moves {s.it.traffic_excess:.1f} times the bytes that the workload needs.",
    ),
    ExplanationRule("several kernels", lambda s: len(s.it.profile.kernels) > 1, _several, ("duration_ns",)),
    ExplanationRule("baseline", lambda s: bool(s.it.duration_ms and s.baseline and s.baseline.duration_ms), _beside),
)
"""What is said, in this order, of a call of which it is true."""


def sentences(subject: Subject) -> list[str]:
    """All that is true, in order, and the most promising next step."""
    said = [rule.sentence(subject) for rule in EXPLANATION_RULES if rule.holds(subject)]
    step = next(rule for rule in STEPS if rule.holds(subject))
    return [*said, f"Most promising next: {step.sentence(subject)}."]


def paragraph(subject: Subject) -> str:
    """The same as one paragraph."""
    return " ".join(sentences(subject))
