"""Whether a build keeps to the policy's limits on registers, spills and stack, and so may be timed. Pure."""

from __future__ import annotations

from gate.records import Build, ResourceLimits, Status


def has_limits(build: Build, limits: ResourceLimits) -> bool:
    """Whether any limit applies to the build: a limit is set, and the build has code for a GPU."""
    return limits != ResourceLimits() and bool(build.architectures)


def may_be_timed(build: Build, limits: ResourceLimits) -> bool:
    """Whether the build succeeded, and every kernel keeps to its limits by what the compiler reported."""
    if build.status is not Status.OK:
        return False
    return not has_limits(build, limits) or (bool(build.resources) and not limits.broken_by(build.resources))
