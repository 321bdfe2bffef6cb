"""One session of measuring: the running servers, the device, the settings, and who reports progress."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from gate.errors import UnfitEnvironmentError
from gate.records import Environment, GpuState
from gate.records.sdpa import backends_of
from gate.sandbox.calls import CallFailure, call
from gate.sandbox.client import WorkerServer
from gate.sandbox.protocol import ENVIRONMENT, EnvironmentRequest
from gate.settings.model import Settings

ENVIRONMENT_S = 60.0


def describe_environment(server: WorkerServer, device: str) -> Environment:
    """The environment that a job's process finds. Raises UnfitEnvironmentError if the device cannot be used."""
    answers = call(server, ENVIRONMENT, [EnvironmentRequest(device)], ENVIRONMENT_S)
    if isinstance(answers, CallFailure):
        reason = answers.last_output_line or answers.message
        raise UnfitEnvironmentError(f"device '{device}' cannot be used: {reason}; see `kernel-gate doctor`")
    return answers[0]


@dataclass(frozen=True, slots=True)
class Session:
    """Where and how to measure. `progress` is called with a label, the number of steps done and of all steps."""

    server: WorkerServer
    witness: WorkerServer
    """A second server, which runs no candidate, so that no candidate can have changed what it reports."""
    device: str
    settings: Settings
    progress: Progress
    read_telemetry: Callable[[], GpuState | None] = lambda: None
    """Reads the GPU's state beside every replicate; None without a GPU."""
    seconds: dict[str, float] = field(default_factory=dict)
    """The time taken by each stage, which is kept with the measurement."""

    def backends(self, wanted: str) -> tuple[str, ...]:
        """Every backend of the device for `all` and `best`, else the named one. Raises BadInputError."""
        return backends_of(self.device, wanted)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Adds the time inside the block to the stage's seconds."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started


Progress = Callable[[str, int, int], None]
"""Called with the label of a stage, the number of its steps that are done, and the number of all its steps."""
