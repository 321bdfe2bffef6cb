"""The roofline plot of profiles, as SVG or PNG: candidate and baseline below the device's ceilings."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gate.analysis.derived import Derived, Roof
from gate.errors import BadInputError, UnwritableOutputError
from gate.records import Measurement
from gate.records.sdpa import PREFIX
from gate.report.profile import derived_of

FORMS = ("svg", "png")
SIZE_INCHES = (8.0, 5.0)
DPI = 150
REACH = 4.0
"""Factor by which the axes extend beyond the points."""
STYLES = {"measured": "-", "theoretical": "--"}


@dataclass(frozen=True, slots=True)
class Point:
    """One call: its coordinates (flops per byte, flops per second), and its implementation."""

    workload: str
    implementation: str
    intensity: float
    flops_per_s: float

    @property
    def is_baseline(self) -> bool:
        """Whether the call is SDPA's."""
        return self.implementation.startswith(PREFIX)


def points(measurement: Measurement) -> list[Point]:
    """Every call with counted traffic and time, in the measurement's order."""
    return list(_points(_calls(measurement)))


def _calls(measurement: Measurement) -> list[Derived]:
    gpu = measurement.environment.gpu
    return [call for evaluation in measurement.evaluations for call in derived_of(evaluation, gpu)]


def _points(calls: Sequence[Derived]) -> Iterator[Point]:
    for call in calls:
        if call.intensity is not None and call.flops_per_s is not None:
            yield Point(str(call.workload), call.profile.implementation, call.intensity, call.flops_per_s)


def roofs(measurement: Measurement) -> dict[str, Roof]:
    """The ceilings to draw, by name: one for each dtype whose peak throughput and bandwidth are known."""
    found: dict[str, Roof] = {}
    for call in _calls(measurement):
        for name, roof in (("measured", call.measured), ("theoretical", call.theoretical)):
            if roof.ridge is not None:
                found.setdefault(f"{name} {call.workload.dtype}", roof)
    return found


def roofline(measurement: Measurement, form: str = "svg") -> bytes:
    """The plot as `svg` or `png`; empty if nothing was counted. Equal measurements give equal bytes."""
    shown = points(measurement)
    if not shown:
        return b""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context({"svg.hashsalt": "kernel-gate", "svg.fonttype": "none"}):
        figure = Figure(figsize=SIZE_INCHES, dpi=DPI, layout="constrained")
        FigureCanvasAgg(figure)  # no display is needed
        _draw(figure.add_subplot(), shown, roofs(measurement), measurement.environment.device_name)
        target = io.BytesIO()
        figure.savefig(target, format=form, metadata={"Date": None} if form == "svg" else {"Software": None})
    return target.getvalue()


def form_of(path: Path | None) -> str:
    """The format by the file's suffix. Raises BadInputError for anything but .svg and .png."""
    form = path.suffix.removeprefix(".").lower() if path else FORMS[0]
    if form not in FORMS:
        raise BadInputError(f"unknown format of the plot {path}; use the suffix .svg or .png")
    return form


def save(measurement: Measurement, path: Path, form: str) -> bool:
    """Writes the plot to a file; False if there is nothing to draw. Raises UnwritableOutputError."""
    picture = roofline(measurement, form)
    try:
        if picture:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(picture)
    except OSError as error:
        reason = f"cannot write {path}: {error.strerror}"
        raise UnwritableOutputError(f"{reason}; choose a writable output path") from error
    return bool(picture)


def _draw(axes: Any, shown: Sequence[Point], ceilings: dict[str, Roof], device: str) -> None:
    from matplotlib.ticker import LogFormatter

    low, high = min(point.intensity for point in shown) / REACH, max(point.intensity for point in shown) * REACH
    ridges = [roof.ridge for roof in ceilings.values() if roof.ridge is not None]
    low, high = min([low, *(ridge / REACH for ridge in ridges)]), max([high, *(ridge * REACH for ridge in ridges)])
    for name, roof in ceilings.items():
        _ceiling(axes, name, roof, low, high)
    for number, workload in enumerate(dict.fromkeys(point.workload for point in shown)):
        for dot in (point for point in shown if point.workload == workload):
            _mark(axes, dot, f"C{number}")
    axes.set(xscale="log", yscale="log", xlim=(low, high), title=f"Roofline on {device}")
    axes.set(xlabel="arithmetic intensity (flops per byte of DRAM traffic)", ylabel="TFLOP/s")
    for axis in (axes.xaxis, axes.yaxis):  # labels such as 200 and 600, not powers of ten
        axis.set_major_formatter(LogFormatter())
        axis.set_minor_formatter(LogFormatter(minor_thresholds=(2.0, 0.5)))
    axes.grid(visible=True, which="both", alpha=0.2)
    axes.legend(fontsize="x-small", loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)


def _ceiling(axes: Any, name: str, roof: Roof, low: float, high: float) -> None:
    ridge = roof.ridge or low
    across = [low, min(max(low, ridge), high), high]
    up = [(roof.flops_at(intensity) or 0.0) / 1e12 for intensity in across]
    style = STYLES[name.partition(" ")[0]]
    axes.plot(across, up, style, color="0.4", label=f"{name}: {(roof.flops_per_s or 0) / 1e12:.0f} TFLOP/s, "
              f"{(roof.bytes_per_s or 0) / 1e12:.2f} TB/s")  # fmt: skip


def _mark(axes: Any, point: Point, color: str) -> None:
    """The candidate's marker is filled, the baseline's is not."""
    inside = "none" if point.is_baseline else color
    axes.plot(
        [point.intensity], [point.flops_per_s / 1e12], "s" if point.is_baseline else "o",
        markeredgecolor=color, markerfacecolor=inside, label=f"{point.implementation} {point.workload}",
    )  # fmt: skip
