"""The one check that a branch may be protected with: what did not happen has not passed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gate.records import Outcome
from gate.records.verdict import EXIT_CODES

NEEDED = ("measure", "gate")


def answer(needs: Mapping[str, Any]) -> tuple[Outcome, str]:
    """From `needs` of the workflow (results and outputs by job) to the outcome, and why in one sentence."""
    planned = needs.get("plan") or {}
    if planned.get("result") != "success":
        return Outcome.FAILED, f"the plan did not succeed ({planned.get('result', 'absent')}); see the job `plan`"
    said = planned.get("outputs") or {}
    if said.get("measure") != "true":
        return _not_measured(said)
    results = {name: (needs.get(name) or {}).get("result", "absent") for name in NEEDED}
    missing = [f"{name}: {result}" for name, result in results.items() if result != "success"]
    if missing:
        return Outcome.REJECTED, f"not passed ({', '.join(missing)}); see those jobs"
    return Outcome.PASS, "measured, judged and passed"


def _not_measured(said: Mapping[str, str]) -> tuple[Outcome, str]:
    """`owed` must say "false": what is absent is not a reason to pass."""
    reason = said.get("reason", "no reason given")
    if said.get("owed") == "false":
        return Outcome.PASS, f"nothing to judge: {reason}"
    return Outcome.UNDECIDED, f"kernels changed and were not measured: {reason}"


def exit_code(outcome: Outcome) -> int:
    """As everywhere."""
    return EXIT_CODES[outcome]
