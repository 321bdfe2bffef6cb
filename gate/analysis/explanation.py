"""Explains a call's speed in sentences. One rule of a table gives one sentence with its numbers. Pure."""

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
    states,
    uncoalesced,
)
from gate.analysis.derived import Bound


def _pace(subject: Subject) -> str:
    call = subject.call
    which = "measured" if call.roof is call.measured else "theoretical"
    share = "" if call.roofline_share is None else f", {call.roofline_share:.0%} of what the {which} roofline allows"
    at = "" if call.intensity is None else f" at {call.intensity:.0f} flops per byte of memory traffic"
    return f"It computes {(call.flops_per_s or 0.0) / 1e12:.1f} TFLOP/s{at}{share}."


def _launch(subject: Subject) -> str:
    count, us = len(subject.call.profile.kernels), subject.at("duration_ns") / 1e3
    kernels = f"{count} kernel{'s' if count > 1 else ''} in {us:.1f} µs"
    return f"Bound by launches: {kernels}, little longer than empty kernels."


def _compute(subject: Subject) -> str:
    return (
        f"Bound by arithmetic: the multiprocessors are at {subject.at('sm_pct'):.0f}% of their peak, the tensor "
        f"cores at {subject.at('tensor_pct'):.0f}%."
    )


def _memory(subject: Subject) -> str:
    levels = {level: subject.at(f"{level.lower()}_pct") for level in ("L1", "L2", "DRAM")}
    busiest = max(levels, key=lambda level: levels[level])
    return f"Bound by memory, at {subject.at('memory_pct'):.0f}% of its peak; {busiest} is the busiest level."


def _latency(subject: Subject) -> str:
    return (
        f"Bound by latency: neither arithmetic ({subject.at('sm_pct'):.0f}% of peak) nor memory "
        f"({subject.at('memory_pct'):.0f}%) is busy; the warps mostly wait."
    )


def _tail(subject: Subject) -> str:
    blocks, waves = subject.at("blocks"), subject.at("waves")
    return f"Its {blocks:.0f} blocks fill only {waves:.2f} of one wave; the rest of the GPU is idle."


def _occupancy(subject: Subject) -> str:
    limits = {
        "registers": f"registers ({subject.at('registers'):.0f} per thread)",
        "shared memory": f"shared memory ({subject.at('shared_bytes') / 1024:.0f} KiB per block)",
    }
    limiter = subject.call.limiter or "the launch"
    return (
        f"Occupancy is {subject.at('occupancy_pct'):.0f}%; "
        f"{limits.get(limiter, limiter)} would allow {subject.at('occupancy_limit_pct'):.0f}%."
    )


def _stall(subject: Subject) -> str:
    waits = " and ".join(f"{name} ({share:.0%})" for name, share in subject.call.stalls[:2])
    return f"The longest stalls between two instructions of a warp: {waits}."


def _several(subject: Subject) -> str:
    share = subject.call.longest.counters["duration_ns"] / subject.at("duration_ns")
    return f"It launches {len(subject.call.profile.kernels)} kernels; the longest takes {share:.0%} of their time."


def _against_baseline(subject: Subject) -> str:
    mine, theirs = subject.call, subject.baseline
    ratio = (mine.duration_ms or 0.0) / ((theirs and theirs.duration_ms) or 1.0)
    name = theirs.profile.implementation if theirs else "the baseline"
    found = ", ".join(_differences(subject))
    return f"Its kernels take {ratio:.2f} times as long as those of {name}{', with ' if found else ''}{found}."


def _differences(subject: Subject) -> Iterator[str]:
    """The ratios to the baseline that an author can act on."""
    mine, theirs = subject.call, subject.baseline
    if theirs is None:
        return
    for ours, other, quantity in (
        (mine.total("instructions"), theirs.total("instructions"), "the instructions"),
        (mine.total("tensor_pct"), theirs.total("tensor_pct"), "the tensor-core activity"),
        (mine.dram_bytes, theirs.dram_bytes, "the memory traffic"),
    ):
        if ours is not None and other:
            yield f"{ours / other:.2f} times {quantity}"


EXPLANATION_RULES: tuple[ExplanationRule, ...] = (
    ExplanationRule("pace", lambda s: s.call.flops_per_s is not None, _pace),
    ExplanationRule("launch", bound_is(Bound.LAUNCH), _launch),
    ExplanationRule("compute", bound_is(Bound.COMPUTE), _compute, ("sm_pct", "tensor_pct")),
    ExplanationRule("memory", bound_is(Bound.MEMORY), _memory, ("memory_pct", "l1_pct", "l2_pct", "dram_pct")),
    ExplanationRule("latency", bound_is(Bound.LATENCY), _latency, ("sm_pct", "memory_pct")),
    ExplanationRule("tail", lambda s: s.at("waves") < 1, _tail, ("blocks",)),
    ExplanationRule("no tensor cores", no_tensor_cores, states("No instruction ran on the tensor cores.")),
    ExplanationRule("occupancy", low_occupancy, _occupancy, ("occupancy_limit_pct", "registers", "shared_bytes")),
    ExplanationRule("stall", lambda s: bool(s.call.stalls), _stall),
    ExplanationRule(
        "bank conflicts",
        conflicts,
        lambda s: f"Bank conflicts cause {s.call.conflict_share:.0%} of shared memory's wavefronts.",
    ),
    ExplanationRule(
        "uncoalesced",
        uncoalesced,
        lambda s: f"{s.call.uncoalesced_share:.0%} of the sectors requested from global memory are wasted.",
    ),
    ExplanationRule(
        "spills",
        lambda s: over(s.call.spill_share, NOTABLE_SPILLS),
        lambda s: f"{s.call.spill_share:.1%} of its instructions access local memory (register spills).",
    ),
    ExplanationRule(
        "traffic",
        lambda s: over(s.call.traffic_excess, EXCESS),
        lambda s: f"It moves {s.call.traffic_excess:.1f} times the bytes that the workload needs.",
    ),
    ExplanationRule("several kernels", lambda s: len(s.call.profile.kernels) > 1, _several, ("duration_ns",)),
    ExplanationRule(
        "baseline", lambda s: bool(s.call.duration_ms and s.baseline and s.baseline.duration_ms), _against_baseline
    ),
)
"""The sentences in their order; a sentence appears if its rule holds."""


def sentences(subject: Subject) -> list[str]:
    """The sentences whose rules hold, in order, and the most promising next step."""
    explanations = [rule.sentence(subject) for rule in EXPLANATION_RULES if rule.holds(subject)]
    step = next(rule for rule in STEPS if rule.holds(subject))
    return [*explanations, f"Most promising next step: {step.sentence(subject)}."]


def paragraph(subject: Subject) -> str:
    """The sentences as one paragraph."""
    return " ".join(sentences(subject))
