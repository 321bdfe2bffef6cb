"""Compares a Python function with SDPA in this process, for scripts and notebooks."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import torch

from gate.check import oracle
from gate.check.accuracy import allowed_error, compare_outputs, largest_error, timed_limit
from gate.check.check import STRESS_DISTRIBUTION
from gate.errors import BadInputError
from gate.notebook.in_process import BASELINE, CANDIDATE, Drawn, Function, InProcessTrial, Values, own_device
from gate.records import Check, Record
from gate.records.sdpa import AVAILABLE
from gate.settings.model import Settings, Tolerance
from gate.stats.two_sample import bootstrap_ci

WARM_UPS = 5
CONFIDENCE = 0.95
EVIDENCE = (
    "one process: its samples are correlated, so this interval is too narrow; "
    "use `kernel-gate run`, which takes fresh processes and judges them in another one"
)


class _ByName:
    """Fields as attributes and as ["fields"]."""

    __slots__ = ()

    def __getitem__(self, name: str) -> Any:
        if name not in getattr(self, "__dataclass_fields__", {}):
            raise KeyError(name)
        return getattr(self, name)


@dataclass(frozen=True, slots=True)
class Accuracy(_ByName, Record):
    """`max_abs_err` is the largest |out - oracle| on all inputs; None if an output is not finite or is missing."""

    passed: bool
    max_abs_err: float | None
    sdpa_max_abs_err: float
    message: str
    checks: tuple[Check, ...]


@dataclass(frozen=True, slots=True)
class Performance(_ByName, Record):
    """Milliseconds. A wrong candidate is not timed: its numbers are None, and it has no samples.

    `speedup` is the baseline's median over the candidate's; `faster` says whether its inverse is under the threshold.
    """

    baseline: str
    speedup: float | None = None
    baseline_median_ms: float | None = None
    candidate_median_ms: float | None = None
    faster: bool = False
    baseline_ms: tuple[float, ...] = ()
    candidate_ms: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Bootstrap(_ByName, Record):
    """`ci` is the interval of the median of candidate - baseline, paired by round, in milliseconds."""

    ci: tuple[float, float] | None = None
    ci_passed: bool = False
    """Whether the whole interval is below zero."""
    confidence: float = CONFIDENCE


@dataclass(frozen=True, slots=True)
class CandidateEvaluation(_ByName, Record):
    """The result of `evaluate_candidate`."""

    passed: bool
    correctness: Accuracy
    performance: Performance
    bootstrap: Bootstrap
    evidence: str = EVIDENCE


def evaluate_candidate(
    candidate_fn: Function,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    scale: float,
    sdpa_backend: str = "flash",
    iters: int = 100,
    speedup_threshold: float = 0.95,
) -> CandidateEvaluation:
    """Whether `candidate_fn(q, k, v, scale)` is right and faster than SDPA's backend on inputs like these.

    q, k and v are (batch, heads, seq_len, head_dim), of one dtype (float16, bfloat16, float32), on the CPU or on
    CUDA; they are copied and never written to. The candidate is right if it returns a new tensor like q, within the
    default tolerances, on these inputs and on others. Then `iters` rounds time both functions in random order, on
    new inputs, from a cold cache, and on CUDA behind a queued spin; every timed output is checked. It passes if it is
    right, its median time is below `speedup_threshold` times the baseline's, and the whole confidence interval
    of the difference is below 0.

    The evidence is weaker than that of `kernel-gate run`: all samples come from one process, so they are correlated,
    and the candidate could change them. Raises BadInputError, and whatever the candidate raises.
    """
    tolerance = _tolerance(q, k, v, sdpa_backend, iters)
    with own_device(q.device) as device:
        trial = InProcessTrial(device, candidate_fn, (q, k, v), scale, sdpa_backend)
        correctness = _check(trial, (q, k, v), tolerance)
        if not correctness.passed:
            return CandidateEvaluation(False, correctness, Performance(sdpa_backend), Bootstrap())
        times, wrong = _time(trial, iters, correctness.sdpa_max_abs_err)
    if wrong:
        wrong_one = replace(correctness, passed=False, message=wrong)
        return CandidateEvaluation(False, wrong_one, Performance(sdpa_backend), Bootstrap())
    performance = _performance(sdpa_backend, times, speedup_threshold)
    bootstrap = _bootstrap(times)
    return CandidateEvaluation(performance.faster and bootstrap.ci_passed, correctness, performance, bootstrap)


def _tolerance(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, backend: str, iters: int) -> Tolerance:
    """The tolerance for the inputs' dtype. Raises BadInputError for inputs that cannot be evaluated."""
    known = Settings().tolerance
    dtype = str(q.dtype).removeprefix("torch.")
    if q.dim() != 4 or any((each.shape, each.dtype, each.device) != (q.shape, q.dtype, q.device) for each in (k, v)):
        raise BadInputError(
            "q, k and v are (batch, heads, seq_len, head_dim) of one shape, dtype and device; reshape"
        )
    if dtype not in known:
        raise BadInputError(f"dtype {dtype} has no tolerance; convert q, k and v to {', '.join(known)}")
    if backend not in AVAILABLE.get(q.device.type, ()):
        available = ", ".join(AVAILABLE.get(q.device.type, ("none",)))
        raise BadInputError(f"no SDPA backend '{backend}' on {q.device.type}; choose {available}")
    if iters < 2:
        raise BadInputError(f"an interval needs at least 2 rounds, not {iters}; give iters=100")
    return known[dtype]


@dataclass(frozen=True, slots=True)
class _CheckedRun:
    """One run of the candidate, with its checks and errors."""

    checks: list[Check]
    answer: torch.Tensor | None = None
    error: float = math.inf
    sdpa_error: float = 0.0


def _check(trial: InProcessTrial, given: Sequence[torch.Tensor], tolerance: Tolerance) -> Accuracy:
    """Checks the given inputs twice, then others; ends if an output is not a tensor like q."""
    other, harder = Drawn(random.getrandbits(62)), Drawn(random.getrandbits(62), STRESS_DISTRIBUTION)
    every: Sequence[tuple[Values, str]] = (
        (given, ""), (given, "again"), (other, "on other inputs"), (harder, "on large logits"),
    )  # fmt: skip
    looks: list[_CheckedRun] = []
    for values, where in every:
        looks.append(_checked_run(trial, values, where, tolerance))
        if looks[-1].answer is None:
            break
    checks = [check for each in looks for check in each.checks]
    answers = [each.answer for each in looks if each.answer is not None]
    if len(answers) > 1:
        checks.append(Check("repeatable", torch.equal(answers[0], answers[1]), "the same inputs twice"))
    failed = [f"{each.name}: {each.evidence}" for each in checks if not each.passed]
    error = max(each.error for each in looks[:3])
    sdpa_error = max(each.sdpa_error for each in looks[:3])
    return Accuracy(not failed, error if error < math.inf else None, sdpa_error, "".join(failed[:1]), tuple(checks))


def _checked_run(trial: InProcessTrial, values: Values, where: str, tolerance: Tolerance) -> _CheckedRun:
    trial.refill(values)
    before = [each.clone() for each in trial.inputs]
    out = trial.run()
    found = _CheckedRun([trial.is_like_q(out), trial.unchanged(before)])
    if found.checks[0].passed:
        q, k, v = before
        expected = oracle.solve(q, k, v, trial.scale, False)
        sdpa_error = allowed_error(before, trial.scale, False, expected)
        compared = compare_outputs(out, expected, sdpa_error, tolerance, where)
        found = _CheckedRun([*found.checks, *compared.checks], out.clone(), compared.error, sdpa_error)
    return replace(found, checks=[replace(each, name=f"{each.name} {where}".strip()) for each in found.checks])


def _time(trial: InProcessTrial, iters: int, sdpa_error: float) -> tuple[dict[str, list[float]], str]:
    """Times both in random order, round by round, on new inputs; ends at the first wrong timed output."""
    rng = random.Random()
    times: dict[str, list[float]] = {BASELINE: [], CANDIDATE: []}
    for number in range(WARM_UPS + iters):
        values = Drawn(rng.getrandbits(62))
        outputs: dict[str, torch.Tensor] = {}
        for name in rng.sample(sorted(times), len(times)):
            trial.refill(values)
            elapsed, outputs[name] = trial.time(name)
            if number >= WARM_UPS:
                times[name].append(elapsed)
        right = outputs[BASELINE]
        error = largest_error(outputs[CANDIDATE], right)
        limit = timed_limit(sdpa_error, float(right.abs().max()), right.dtype)
        if not error <= limit:
            return times, f"round {number}: the timed output is off by {error:.2e}, more than {limit:.2e}"
    return times, ""


def _performance(backend: str, times: Mapping[str, Sequence[float]], threshold: float) -> Performance:
    baseline, candidate = median(times[BASELINE]), median(times[CANDIDATE])
    return Performance(
        backend,
        speedup=baseline / candidate,
        baseline_median_ms=baseline,
        candidate_median_ms=candidate,
        faster=candidate < threshold * baseline,
        baseline_ms=tuple(times[BASELINE]),
        candidate_ms=tuple(times[CANDIDATE]),
    )


def _bootstrap(times: Mapping[str, Sequence[float]]) -> Bootstrap:
    pairs = zip(times[CANDIDATE], times[BASELINE], strict=True)
    low, high = bootstrap_ci([mine - theirs for mine, theirs in pairs], CONFIDENCE)
    return Bootstrap((low, high), ci_passed=high < 0)
