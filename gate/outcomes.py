"""What a status of a stage means for the verdict."""

from __future__ import annotations

from gate.records import Outcome, Status

OUTCOMES = {
    Status.OK: Outcome.PASS,
    Status.INCORRECT: Outcome.REJECTED,
    Status.UNSUPPORTED: Outcome.REJECTED,
    Status.TOO_SLOW: Outcome.REJECTED,
    Status.BUILD_FAILED: Outcome.FAILED,
    Status.CRASHED: Outcome.FAILED,
    Status.TIMED_OUT: Outcome.FAILED,
    Status.OUT_OF_MEMORY: Outcome.FAILED,
    Status.ENVIRONMENT: Outcome.ENVIRONMENT,
}
