"""The gate on correctness: `ok` counts with the whole check behind it, and with errors that it may have."""

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
    *(f"{look} {inputs}".strip() for inputs in ("", "on other inputs", "on large logits") for look in _CHECK_NAMES),
    "repeatable",
    "responds to its inputs",
)
"""What gate/check/check.py looks at on every workload that is timed."""
LAST_PLACE: Mapping[Dtype, float] = {"float32": 2**-21, "float16": 2**-8, "bfloat16": 2**-5}
"""A unit in the last place of numbers up to 8: outputs are means of normal numbers, none of which is as large."""
MAX_NAMED = 3


def correct_gate(evaluation: Evaluation) -> Gate:
    """Whether the candidate was checked in every way, and erred by no more than it may."""
    seen, workload = evaluation.correctness, evaluation.workload
    if seen is None:
        return Gate("correct", workload, Outcome.UNDECIDED, "not checked")
    if seen.status is Status.TOO_SLOW:
        return Gate("faster", workload, Outcome.REJECTED, seen.message)
    if seen.status is not Status.OK:
        return Gate("correct", workload, OUTCOMES[seen.status], seen.message)
    lacking = [name for name in CHECKS if name not in {check.name for check in seen.checks}]
    error, sdpa_error = seen.max_abs_err, seen.sdpa_max_abs_err
    if lacking or error is None or sdpa_error is None:
        return Gate("correct", workload, Outcome.UNDECIDED, f"not looked at: {', '.join(lacking[:MAX_NAMED])}")
    limit = 2 * sdpa_error + LAST_PLACE[workload.dtype]
    evidence = f"max error {error:.1e} (SDPA's own: {sdpa_error:.1e}), {len(seen.checks)} checks"
    if error <= limit:
        return Gate("correct", workload, Outcome.PASS, evidence)
    return Gate("correct", workload, Outcome.REJECTED, f"{evidence}: more than {limit:.1e}, whatever its checks say")
