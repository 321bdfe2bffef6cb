"""JSON of schema version 1 to version 2: fields and gates have other names, and nothing else differs."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

OLD, NEW = 1, 2
_TRIAL = {"looks": "interim_replicates"}
_REPLICATE = {"direct": "uncaptured"}
_WITNESS = {
    "baseline_ms": "baseline_local_ms",
    "baseline_far_ms": "baseline_ipc_ms",
    "alone_ms": "baseline_solo_ms",
    "direct": "uncaptured",
}
_COMPARISON = {"floor_ms": "empty_launch_ms", "smallest_difference": "detectable_difference"}
FIELDS: Mapping[str, Mapping[str, str]] = {
    "evaluations.*.trial": _TRIAL,
    "evaluations.*.trial.replicates.*": _REPLICATE,
    "evaluations.*.sdpa": _TRIAL,
    "evaluations.*.sdpa.replicates.*": _REPLICATE,
    "evaluations.*.witness": _WITNESS,
}
"""Per place in a measurement, the fields that were renamed: from the old name to the new one."""
RUN_FIELDS: Mapping[str, Mapping[str, str]] = {
    **{f"measurement.{place}": names for place, names in FIELDS.items()},
    "comparisons.*": _COMPARISON,
}
GATES: Mapping[str, str] = {
    "correct": "correctness",
    "own work": "provenance",
    "measured": "completeness",
    "possible": "physical floor",
    "faster": "speedup",
    "interval": "confidence interval",
}
"""The gates that were renamed."""


def convert(old: Mapping[str, Any]) -> dict[str, Any]:
    """A measurement or a run of version 1 as one of version 2, from JSON to JSON; its numbers stay as they are."""
    table = copy.deepcopy(dict(old))
    for place, names in (RUN_FIELDS if table["kind"] == "run" else FIELDS).items():
        for found in _find(table, place.split(".")):
            for name in names.keys() & found.keys():
                found[names[name]] = found.pop(name)
    for gate in _find(table, ["verdict", "gates", "*"]):
        if gate.get("name") in GATES:
            gate["name"] = GATES[gate["name"]]
    for versioned in (table, *_find(table, ["measurement"])):
        versioned["schema_version"] = NEW
    return table


def _find(node: Any, place: list[str]) -> Iterator[dict[str, Any]]:
    """The objects at a place; `*` stands for every element of a list."""
    if place and isinstance(node, dict):
        yield from _find(node.get(place[0]), place[1:])
    elif place and isinstance(node, list) and place[0] == "*":
        for element in node:
            yield from _find(element, place[1:])
    elif not place and isinstance(node, dict):
        yield node
