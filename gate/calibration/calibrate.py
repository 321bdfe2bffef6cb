"""Replays decision rules over recorded trials, and measures their false alarms, coverage and power.

A file is read in the layout of baselines/nvidia-h200/calibration/README.md. From every key's replicates, draws of n
are taken without replacement; an arm `X_again` is the same code as `X`, so that every difference found between the
two is a false alarm, and the same pair with one side scaled is a difference whose truth is known.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from gate.calibration.intervals import Intervals, ReplayDesign, interval_rules
from gate.calibration.rival_rules import DECISION_RULES, Decision, DecisionRule, outside
from gate.errors import BadInputError
from gate.records import SCHEMA_VERSION, Record, SchemaVersion
from gate.stats.interval import Array
from gate.storage import read_given

SCALES = (-0.10, -0.03, -0.01, 0.01, 0.03, 0.10)
AGAIN_SUFFIX = "_again"
EMPTY_ARM = "empty"


@dataclass(frozen=True, slots=True)
class CalibrationRow(Record):
    """One rule on one workload and mode. Rates are in [0, 1]; `width` is the interval's, as a ratio less 1."""

    key: str
    rule: str
    source: str
    draws: int
    replicates: float
    false_alarm: float
    false_alarm_swapped: float | None = None
    """False alarms with the two equal arms swapped at random in each replicate, which makes them exactly equal."""
    coverage: float | None = None
    width: float | None = None
    power: Mapping[str, float] | None = None
    """Per true difference (`+1%`, or a recorded arm), the rate at which it is detected with the right sign."""


@dataclass(frozen=True, slots=True)
class CalibrationReport(Record):
    """A whole calibration."""

    rows: tuple[CalibrationRow, ...]
    schema_version: SchemaVersion = SCHEMA_VERSION


@dataclass(frozen=True, slots=True)
class RecordedTrials:
    """A file's content: per key, times in ms as (replicates, rounds, arms), or (blocks, samples) without arms."""

    arms: tuple[str, ...]
    times: Mapping[str, Array]

    def pair(self) -> tuple[int, int]:
        """The indices of an arm and of its control. Raises BadInputError if there is none."""
        for index, name in enumerate(self.arms):
            if name + AGAIN_SUFFIX in self.arms:
                return index, self.arms.index(name + AGAIN_SUFFIX)
        raise BadInputError(f"no arm has a control named X{AGAIN_SUFFIX} among {', '.join(self.arms)}; record one")


def load_recorded(path: Path) -> RecordedTrials:
    """Raises BadInputError for another layout, and for times that are not positive and finite."""
    try:
        with np.load(io.BytesIO(read_given(path, "an .npz of recorded trials"))) as archive:
            content = {name: archive[name] for name in archive.files}
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise BadInputError(f"{path} is not an .npz file of recorded trials; choose another file") from error
    arms = tuple(str(name) for name in content.pop("arms", ()))
    times = {name: _checked(path, name, each, arms) for name, each in content.items()}
    if not times:
        raise BadInputError(f"{path} contains no trials; choose another file")
    return RecordedTrials(arms, times)


def _checked(path: Path, name: str, times: np.ndarray, arms: Sequence[str]) -> Array:
    fits = times.ndim == 2 or (times.ndim == 3 and times.shape[2] == len(arms))
    if not fits or times.dtype.kind != "f" or min(times.shape) < 1:
        layout = "(replicates, rounds, arms) or (blocks, samples)"
        raise BadInputError(f"{path}: {name} has shape {times.shape} of {times.dtype}, not {layout}; record it again")
    if not (np.isfinite(times).all() and (times > 0).all()):
        raise BadInputError(f"{path}: {name} has times that are not positive and finite; record it again")
    return times.astype(np.float64)


def calibrate(
    recorded: RecordedTrials, plan: ReplayDesign, progress: Callable[[str, int, int], None]
) -> Iterator[CalibrationRow]:
    """Every rule on every key, Kernel Gate's first. Raises BadInputError if there are too few replicates."""
    for number, (key, times) in enumerate(recorded.times.items()):
        progress("calibrate", number, len(recorded.times))
        if times.ndim == 2:
            yield from _blocks(key, times)
        else:
            yield from _replicates(key, times, recorded, plan)


def pooled(rows: Sequence[CalibrationRow]) -> list[CalibrationRow]:
    """The same rules over all keys: rates averaged, and the false alarms of the worst key."""
    names = list(dict.fromkeys(row.rule for row in rows))
    return [_pool(name, [row for row in rows if row.rule == name]) for name in names]


def _pool(name: str, rows: Sequence[CalibrationRow]) -> CalibrationRow:
    scales = [row.power or {} for row in rows]
    shared = [scale for scale in scales[0] if all(scale in shares for shares in scales)]
    return replace(
        rows[0],
        key="all",
        rule=name,
        draws=sum(row.draws for row in rows),
        replicates=_mean([row.replicates for row in rows]) or 0.0,
        false_alarm=_mean([row.false_alarm for row in rows]) or 0.0,
        false_alarm_swapped=_mean([row.false_alarm_swapped for row in rows]),
        coverage=_mean([row.coverage for row in rows]),
        width=_mean([row.width for row in rows]),
        power={scale: float(np.mean([shares[scale] for shares in scales])) for scale in shared},
    )


def _mean(values: Sequence[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return float(np.mean(present)) if present else None


def _replicates(key: str, times: Array, recorded: RecordedTrials, plan: ReplayDesign) -> Iterator[CalibrationRow]:
    most = max(plan.replicates, plan.interim_replicates[-1])
    if len(times) < most:
        raise BadInputError(
            f"{key} has {len(times)} replicates, but the plan draws {most}; record more or draw fewer"
        )
    draws = _draws(len(times), most, plan)
    first, again = recorded.pair()
    for name, source, intervals in interval_rules(plan):
        yield _interval_row(key, name, source, intervals, _Cell(times, recorded.arms, first, again, draws, plan))
    for rule in DECISION_RULES:
        yield _sample_row(key, rule, _Cell(times, recorded.arms, first, again, draws, plan))


def _draws(population: int, size: int, plan: ReplayDesign) -> np.ndarray:
    generator = np.random.default_rng(plan.seed)
    return np.argsort(generator.random((plan.draws, population)), axis=-1)[:, :size]


@dataclass(frozen=True, slots=True)
class _Cell:
    """One key's trials, and the replicates of each draw."""

    times: Array
    arms: tuple[str, ...]
    first: int
    again: int
    draws: np.ndarray
    plan: ReplayDesign

    def logs(self, arm: int) -> Array:
        """One log-ratio to the first arm for each replicate."""
        ratios = np.log(self.times[:, :, arm]) - np.log(self.times[:, :, self.first])
        return np.asarray(np.median(ratios, axis=1))

    def drawn(self, arm: int) -> Array:
        """(draws, replicates) of the log-ratio of an arm."""
        return np.asarray(self.logs(arm)[self.draws])

    def swapped(self) -> Array:
        """The control's log-ratios, with the two equal arms swapped at random."""
        sign = np.random.default_rng(self.plan.seed + 1).choice([-1.0, 1.0], self.draws.shape)
        return np.asarray(self.drawn(self.again) * sign)

    def samples(self, arm: int) -> Array:
        """(draws, samples): the fixed number of replicates, pooled."""
        taken = self.times[self.draws[:, : self.plan.replicates], :, arm]
        return taken.reshape(len(self.draws), -1)

    def differences(self) -> list[int]:
        """The arms with other code than the first."""
        return [i for i, name in enumerate(self.arms) if i not in (self.first, self.again) and name != EMPTY_ARM]


def _interval_row(
    key: str, name: str, source: str, intervals: Callable[[Array], Intervals], cell: _Cell
) -> CalibrationRow:
    logs = cell.drawn(cell.again)
    low, high, used = intervals(logs)
    power = {_label(scale): _found(intervals(logs + np.log1p(scale)), scale) for scale in SCALES}
    covered = [_covers((low, high), 0.0)]
    for arm in cell.differences():
        ends, truth = intervals(cell.drawn(arm)), float(cell.logs(arm).mean())
        power[cell.arms[arm]] = _found(ends, truth)
        covered.append(_covers(ends[:2], truth))
    swapped = intervals(cell.swapped())
    return CalibrationRow(
        key, name, source, len(logs), float(used.mean()),
        false_alarm=float((outside(low, high) != 0).mean()),
        false_alarm_swapped=float((outside(*swapped[:2]) != 0).mean()),
        coverage=float(np.mean(covered)),
        width=float(np.median(np.expm1(high - low))),
        power=power,
    )  # fmt: skip


def _sample_row(key: str, rule: DecisionRule, cell: _Cell) -> CalibrationRow:
    baseline, candidate = cell.samples(cell.first), cell.samples(cell.again)
    power = _sample_power(rule, baseline, candidate)
    for arm in cell.differences():
        decision = rule.decide(baseline, cell.samples(arm))
        power[cell.arms[arm]] = float((decision == np.sign(cell.logs(arm).mean())).mean())
    alarms = rule.decide(baseline, candidate) != 0
    return CalibrationRow(
        key, rule.name, rule.source, len(baseline), cell.plan.replicates, float(alarms.mean()), power=power
    )


def _blocks(key: str, times: Array) -> Iterator[CalibrationRow]:
    """All pairs of blocks of one process, the same kernel in each. Blocks are no replicates: ours stays undecided."""
    first, second = np.triu_indices(len(times), 1)
    source = "one process holds no replicates: undecided"
    nothing = {_label(scale): 0.0 for scale in SCALES}
    yield CalibrationRow(key, "Kernel Gate", source, len(first), 1, 0.0, power=nothing)
    for rule in DECISION_RULES:
        baseline, candidate = times[first], times[second]
        alarms = float((rule.decide(baseline, candidate) != 0).mean())
        yield CalibrationRow(
            key, rule.name, rule.source, len(first), 1, alarms, power=_sample_power(rule, baseline, candidate)
        )


def _sample_power(rule: DecisionRule, baseline: Array, candidate: Array) -> dict[str, float]:
    return {
        _label(scale): float((rule.decide(baseline, candidate * (1 + scale)) == np.sign(scale)).mean())
        for scale in SCALES
    }


def _label(scale: float) -> str:
    return f"{scale:+.0%}"


def _found(intervals: Intervals, truth: float) -> float:
    low, high, _ = intervals
    decision: Decision = outside(low, high)
    return float((decision == np.sign(truth)).mean())


def _covers(ends: Sequence[Array], truth: float) -> float:
    low, high = ends
    return float(((low <= truth) & (truth <= high)).mean())
