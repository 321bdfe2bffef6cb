"""Evidence judged as it was asked for: by the policy in force, of what was to be measured, never by its own words."""

from __future__ import annotations

from pathlib import Path

from gate.expected import held_to, refuse_other
from gate.judge import judge
from gate.records import Measurement, Run
from gate.settings import Settings


def judged(
    measurement: Measurement, path: Path, settings: Settings, impl: str | None, device: str | None, required: bool
) -> Run:
    """The verdict on a file's measurement. With `required`, what the policy requires and is not there is undecided.

    Raises InconsistentFileError where it is of another candidate or device than `impl` and `device`, if given.
    """
    measurement = refuse_other(measurement, path, impl, device)
    return judge(held_to(measurement, settings) if required else measurement, settings.gates)
