"""Small valid records, for tests to change in the one place that they are about."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from gate.records import (
    BASELINE,
    BASELINE_AGAIN,
    CANDIDATE,
    EMPTY,
    Arm,
    Build,
    Check,
    ClockPair,
    Correctness,
    Environment,
    Evaluation,
    GpuState,
    Measurement,
    Policy,
    Replicate,
    Run,
    Status,
    Telemetry,
    Trace,
    Trial,
    Witness,
    Workload,
)
from gate.settings.model import LimitSettings, MeasureSettings, Settings
from gate.verdict.gate_correctness import CHECKS
from gate.verdict.judge import judge
from tests.support.profiles import H200

ADVERSARIAL = Path(__file__).parents[1] / "candidates" / "adversarial"
IMPL = "honest"
FLASH, MATH = "sdpa:flash", "sdpa:math"


def environment(**changes: Any) -> Environment:
    """A CPU machine."""
    example = Environment(
        created_at="2025-11-21T10:00:00+00:00",
        kernel_gate="0.1.0",
        device="cpu",
        device_name="Example CPU",
        os="Linux",
        python="3.11.7",
        torch="2.13.0",
        cpu="Example CPU",
        cpu_count=2,
        threads=2,
        memory_bytes=8 << 30,
    )
    return replace(example, **changes)


def workload(**changes: Any) -> Workload:
    """A tiny one, in a candidate's time of far below a millisecond."""
    return replace(Workload(batch=1, heads=2, seq_len=64, head_dim=32, dtype="float32"), **changes)


def build(**changes: Any) -> Build:
    """A build that succeeded."""
    return replace(Build(IMPL, Status.OK, key=f"{IMPL}-0123", library=f"/cache/{IMPL}-0123/lib{IMPL}.so"), **changes)


def correctness(**changes: Any) -> Correctness:
    """A check that passed."""
    checks = tuple(Check(name, True, "as it should be") for name in CHECKS)
    return replace(Correctness(Status.OK, checks=checks, max_abs_err=1e-6, sdpa_max_abs_err=1e-6), **changes)


def incorrect(evidence: str = "3 of 4096 elements are NaN") -> Correctness:
    """A check that did not."""
    return Correctness(Status.INCORRECT, f"finite: {evidence}", (Check("finite", False, evidence),))


def replicate(times_ms: Mapping[str, Sequence[float]], seed: int = 0, **changes: Any) -> Replicate:
    """One process's rounds; `times_ms` has a sequence of rounds per arm."""
    rounds = tuple(zip(*times_ms.values(), strict=True))
    example = Replicate(seed, rounds, creation_order=tuple(times_ms), seconds=0.5, peak_bytes=1 << 28)
    return replace(example, **changes)


def trial(
    ratio: float = 0.8,
    replicates: int = 6,
    rounds: int = 4,
    *,
    control: float = 1.0,
    noise: float = 0.002,
    baseline_ms: float = 1.0,
    impl: str = IMPL,
    baseline: str = FLASH,
    seed: int = 0,
    **changes: Any,
) -> Trial:
    """A candidate's trial: `ratio` to the baseline, `control` of the baseline again to itself.

    `noise` is the standard deviation of log(time) between replicates, and of as much within them.
    """
    means = {
        BASELINE: baseline_ms,
        BASELINE_AGAIN: baseline_ms * control,
        CANDIDATE: baseline_ms * ratio,
        EMPTY: baseline_ms / 1000,
    }
    players = {BASELINE: baseline, BASELINE_AGAIN: baseline, CANDIDATE: impl, EMPTY: EMPTY}
    return _trial(means, players, replicates, rounds, noise, seed, changes)


def sdpa_trial(
    medians_ms: Mapping[str, float] | None = None,
    replicates: int = 6,
    rounds: int = 4,
    *,
    noise: float = 0.002,
    seed: int = 1,
    **changes: Any,
) -> Trial:
    """SDPA's backends against one another; flash is the fastest unless `medians_ms` says otherwise."""
    means = {**(medians_ms or {"flash": 1.0, "math": 2.0}), EMPTY: 0.001}
    players = {name: name if name == EMPTY else f"sdpa:{name}" for name in means}
    return _trial(means, players, replicates, rounds, noise, seed, changes)


def _trial(
    means: Mapping[str, float],
    players: Mapping[str, str],
    replicates: int,
    rounds: int,
    noise: float,
    seed: int,
    changes: Mapping[str, Any],
) -> Trial:
    rng = random.Random(seed)
    taken = [_replicate(means, rounds, noise, rng) for _ in range(replicates)]
    arms = tuple(Arm(name, player) for name, player in players.items())
    status = Status.OK if taken else Status.CRASHED
    message = "" if taken else "the candidate's process was ended by SIGSEGV"
    example = Trial(status, arms, "monotonic clock, direct call", 2, message, tuple(taken))
    return replace(example, **{"median_ms": {}, **changes}) if changes else example


def _replicate(means: Mapping[str, float], rounds: int, noise: float, rng: random.Random) -> Replicate:
    own = {arm: mean * math.exp(rng.gauss(0, noise)) for arm, mean in means.items()}
    times = {arm: [mean * math.exp(rng.gauss(0, noise)) for _ in range(rounds)] for arm, mean in own.items()}
    return replicate(times, rng.getrandbits(62))


def evaluation(**changes: Any) -> Evaluation:
    """A correct candidate, measured beside the baseline that was asked for."""
    example = replace(Evaluation(workload(), correctness(), trial=trial()), **changes)
    if example.trial is None or example.trial.status is not Status.OK or "witness" in changes:
        return example
    return replace(example, witness=witness(example.trial))


def witness(timed: Trial) -> Witness:
    """A witness that saw what the trial says."""
    medians = timed.median_ms
    baseline = medians.get(BASELINE, 1.0)
    times = (medians.get(CANDIDATE, baseline),) * 3, (baseline,) * 3, (baseline,) * 3
    return Witness(Status.OK, "", 10, *times, baseline_solo_ms=baseline)


def measurement(*evaluations: Evaluation, **changes: Any) -> Measurement:
    """A candidate's evidence on the workloads of `evaluations`."""
    taken = evaluations or (evaluation(trial=trial(impl=changes.get("impl") or IMPL)),)
    asked = tuple(each.workload for each in taken)
    example = {"environment": environment(), "workloads": asked, "impl": IMPL, "build": build(), "evaluations": taken}
    return Measurement(**{**example, **changes})


def gpu_state(**changes: Any) -> GpuState:
    """One look at a GPU that works at full speed, for nobody else, and tells all that can be asked."""
    quiet = GpuState(
        sm_clock_mhz=1980,
        memory_clock_mhz=3201,
        temperature_c=41,
        power_w=120.0,
        throttle_reasons=(),
        throttled_ns=dict.fromkeys(("power", "thermal", "sync_boost", "board_limit", "reliability"), 0),
        ecc_errors=0,
        foreign_processes=0,
        recovery_action="none",
    )
    return replace(quiet, **changes)


def gpu_evaluation(**changes: Any) -> Evaluation:
    """All that a measurement on a GPU has of a candidate that is faster than flash, the best."""
    calm = Telemetry(gpu_state(), gpu_state())
    clocks = {arm: ClockPair(5.0, 5.02, 66) for arm in (BASELINE, CANDIDATE)}
    timed = trial(0.8, baseline_ms=0.075)
    watched = tuple(replace(each, telemetry=calm, clocks=clocks) for each in timed.replicates)
    seen = (Trace(FLASH, ("void pytorch_flash::forward()",), 0.07), Trace(IMPL, ("void forward()",), 0.06))
    refused = tuple(Trace(f"sdpa:{name}", refusal="not compiled in") for name in ("cudnn", "efficient"))
    chosen = sdpa_trial({"flash": 0.075, "math": 1.2})
    large = workload(batch=32, heads=8, seq_len=512, head_dim=64, dtype="float16")
    example = evaluation(workload=large, trial=replace(timed, replicates=watched), sdpa=chosen)
    return replace(example, **{"traces": (*seen, *refused), **changes})


def gpu_measurement(*evaluations: Evaluation, **changes: Any) -> Measurement:
    """A candidate's evidence from a GPU."""
    taken = evaluations or (gpu_evaluation(),)
    machine = environment(device="cuda", device_name=H200.model, gpu=H200)
    return replace(measurement(*taken, environment=machine), **changes)


def sdpa_measurement(**changes: Any) -> Measurement:
    """SDPA's evidence, and no candidate's."""
    example = Measurement(environment(), (workload(),), evaluations=(Evaluation(workload(), sdpa=sdpa_trial()),))
    return replace(example, **changes)


def run(evidence: Measurement | None = None, policy: Policy | None = None) -> Run:
    """A measurement, judged."""
    return judge(evidence or measurement(), policy or Policy())


def settings(**changes: Any) -> Settings:
    """Numbers for a real measurement within a fraction of a second, and limits that a busy machine keeps too."""
    measure = MeasureSettings(
        baseline="flash",
        interim_replicates=(2,),
        rounds=4,
        warmup_rounds=4,
        selection_replicates=1,
        selection_rounds=2,
    )
    return replace(Settings(measure=measure, limits=limits()), **changes)


def limits(**changes: Any) -> LimitSettings:
    """Limits of one test's process."""
    example = LimitSettings(build_s=120.0, check_s=60.0, replicate_s=60.0, memory_mb=768, file_mb=64)
    return replace(example, **changes)
