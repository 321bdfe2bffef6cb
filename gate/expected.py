"""Whether evidence is of what was asked: a file from a runner that ran the candidate may say anything."""

from __future__ import annotations

from pathlib import Path

from gate.errors import InconsistentFileError
from gate.records import Measurement


def refuse_other(measurement: Measurement, path: Path, impl: str | None, device: str | None) -> Measurement:
    """The same measurement. Raises InconsistentFileError where another candidate or device was measured.

    The device decides which workloads are required, so a file may not choose it.
    """
    seen = (("candidate", impl, measurement.impl), ("device", device, measurement.environment.device))
    for what, wanted, found in seen:
        if wanted is not None and found != wanted:
            raise InconsistentFileError(f"{path} is of the {what} {found}, and {wanted} was asked for; measure again")
    return measurement
