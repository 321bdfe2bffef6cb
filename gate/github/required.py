"""The required check for branch protection: a step that did not run has not passed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gate.records import Outcome
from gate.records.verdict import EXIT_CODES

NEEDED = ("measure", "gate")


def answer(needs: Mapping[str, Any]) -> tuple[Outcome, str]:
    """Outcome and reason from the workflow's `needs` (results and outputs of jobs)."""
    planned = needs.get("plan") or {}
    if planned.get("result") != "success":
        return Outcome.FAILED, f"the plan did not succeed ({planned.get('result', 'absent')}); see the job `plan`"
    outputs = planned.get("outputs") or {}
    if outputs.get("measure") != "true":
        return _not_measured(outputs)
    results = {name: (needs.get(name) or {}).get("result", "absent") for name in NEEDED}
    missing = [f"{name}: {result}" for name, result in results.items() if result != "success"]
    if missing:
        return Outcome.REJECTED, f"not passed ({', '.join(missing)}); see those jobs"
    return Outcome.PASS, "measured, judged and passed"


def _not_measured(outputs: Mapping[str, str]) -> tuple[Outcome, str]:
    """Passes only if `owed` is "false"; a missing value is not a reason to pass."""
    reason = outputs.get("reason", "no reason given")
    if outputs.get("owed") == "false":
        return Outcome.PASS, f"nothing to judge: {reason}"
    return Outcome.UNDECIDED, f"kernels changed but were not measured: {reason}"


def exit_code(outcome: Outcome) -> int:
    """The exit code of an outcome, equal in all commands."""
    return EXIT_CODES[outcome]
