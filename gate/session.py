"""One session of measuring: the running servers, the device, the settings, and whom to tell of progress."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from gate.errors import UnfitEnvironmentError
from gate.records import Environment, GpuState, Status
from gate.records.codec import from_json, to_json
from gate.records.sdpa import backends_of
from gate.sandbox.client import WorkerServer
from gate.sandbox.protocol import EnvironmentRequest
from gate.settings.model import Settings


def describe_environment(server: WorkerServer, device: str) -> Environment:
    """The environment as a worker sees it. Raises UnfitEnvironmentError where it cannot be had."""
    request = to_json(EnvironmentRequest(device))
    ending = server.call({"kind": "environment", "requests": [request]}, 60)
    if ending.status is not Status.OK:
        reason = ending.last_output_line or ending.message
        raise UnfitEnvironmentError(f"device '{device}' cannot be used: {reason}; see `kernel-gate doctor`")
    return from_json(Environment, ending.replies[0], "the worker's answer")


@dataclass(frozen=True, slots=True)
class Session:
    """Where and how to measure: a running server, a device, the settings, and whom to tell of progress."""

    server: WorkerServer
    witness: WorkerServer
    """Runs no candidate: what it sees, no candidate can have touched."""
    device: str
    settings: Settings
    progress: Progress
    read_telemetry: Callable[[], GpuState | None] = lambda: None
    """At the GPU, beside every replicate."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Where the time went, by stage: kept with the measurement."""

    def backends(self, wanted: str) -> tuple[str, ...]:
        """`all` or `best` to every backend of the device, a name to itself. Raises BadInputError."""
        return backends_of(self.device, wanted)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Counts what is done inside towards the stage's seconds."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started


Progress = Callable[[str, int, int], None]
"""Told what is being done, how many steps are done, and of how many."""
