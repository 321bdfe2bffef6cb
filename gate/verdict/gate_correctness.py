"""The correctness gate: every check must be present, and the errors must be within the limit."""

from __future__ import annotations

from collections.abc import Mapping

from gate.records import Dtype, Evaluation, Gate, Outcome, Status
from gate.records.verdict import OUTCOMES

_CHECK_NAMES = (
    "inputs unchanged",
    "within bounds",
    "own storage",
    "finite",
    "elementwise tolerance",
    "accuracy of SDPA",
)
CHECKS = (
    *(f"{name} {inputs}".strip() for inputs in ("", "on other inputs", "on large logits") for name in _CHECK_NAMES),
    "repeatable",
    "responds to its inputs",
)
"""The checks that gate/check/check.py runs on every timed workload."""
LAST_PLACE: Mapping[Dtype, float] = {"float32": 2**-21, "float16": 2**-8, "bfloat16": 2**-5}
"""One unit in the last place of numbers below 8. Outputs are means of normal numbers and stay far below that."""
MAX_NAMED = 3


def correctness_gate(evaluation: Evaluation) -> Gate:
    """Passes if every check ran and the largest error is within the limit."""
    correctness, workload = evaluation.correctness, evaluation.workload
    if correctness is None:
        return Gate("correctness", workload, Outcome.UNDECIDED, "not checked")
    if correctness.status is Status.TOO_SLOW:
        return Gate("speedup", workload, Outcome.REJECTED, correctness.message)
    if correctness.status is not Status.OK:
        return Gate("correctness", workload, OUTCOMES[correctness.status], correctness.message)
    lacking = [name for name in CHECKS if name not in {check.name for check in correctness.checks}]
    error, sdpa_error = correctness.max_abs_err, correctness.sdpa_max_abs_err
    if lacking or error is None or sdpa_error is None:
        missing = lacking[:MAX_NAMED] or ["max error"]
        return Gate("correctness", workload, Outcome.UNDECIDED, f"missing from the evidence: {', '.join(missing)}")
    limit = 2 * sdpa_error + LAST_PLACE[workload.dtype]
    evidence = f"max error {error:.1e} (SDPA: {sdpa_error:.1e}), {len(correctness.checks)} checks"
    if error <= limit:
        return Gate("correctness", workload, Outcome.PASS, evidence)
    reason = f"above the limit {limit:.1e}, although every check reports a pass"
    return Gate("correctness", workload, Outcome.REJECTED, f"{evidence}: {reason}")
