"""A candidate's build, and the resources of its kernels as the compiler reports them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from gate.records.base import Record, Status, require, require_commit, require_counts, require_form
from gate.records.occupancy import MAX_THREADS, Occupancy, occupancy


@dataclass(frozen=True, slots=True)
class KernelResources(Record):
    """The resources of one kernel on one architecture, as ptxas reports them."""

    kernel: str
    """The name in the source, without parameters."""
    architecture: str
    """As in `architectures`: 8.9, 9.0a."""
    registers: int | None
    """Per thread; None for a function that kernels call, because theirs include its registers."""
    shared_bytes: int
    """Static, per block."""
    spill_store_bytes: int
    spill_load_bytes: int
    stack_bytes: int
    threads: int | None = None
    """Per block, from kernel.toml or else from __launch_bounds__; None if neither has it."""
    dynamic_shared_bytes: int | None = 0
    """Per block, from kernel.toml; None if the kernel uses some and nothing says how much."""
    occupancy: float | None = None
    """The share of a multiprocessor's warps that it can fill; computed, for readers of the JSON."""

    def __post_init__(self) -> None:
        require_counts((self.registers, self.shared_bytes, self.dynamic_shared_bytes, self.stack_bytes))
        require_counts((self.spill_store_bytes, self.spill_load_bytes))
        require(self.threads is None or 1 <= self.threads <= MAX_THREADS, f"a block has no {self.threads} threads")
        filled = self.filled
        fraction = filled and filled.fraction
        require(self.occupancy in (None, fraction), "occupancy disagrees with what the kernel takes")
        object.__setattr__(self, "occupancy", fraction)

    @property
    def filled(self) -> Occupancy | None:
        """The occupancy and its limit; None for a function that is no kernel, and for an unknown architecture."""
        if self.registers is None:
            return None
        shared = self.shared_bytes + (self.dynamic_shared_bytes or 0)
        return occupancy(self.architecture, self.registers, self.threads, shared)

    @property
    def known(self) -> bool:
        """Whether everything that occupancy depends on is known; if not, the computed occupancy is an upper bound."""
        return self.threads is not None and self.dynamic_shared_bytes is not None

    @property
    def spill_bytes(self) -> int:
        """Bytes moved to and from local memory because registers did not suffice."""
        return self.spill_store_bytes + self.spill_load_bytes


@dataclass(frozen=True, slots=True)
class Build(Record):
    """The build of a candidate. `library` is absent for Python candidates."""

    impl: str
    status: Status
    message: str = ""
    key: str = ""
    cached: bool = False
    seconds: float = 0.0
    library: str | None = None
    log: str = ""
    config: Mapping[str, int] = field(default_factory=dict)
    """The value of each of the candidate's tunables."""
    architectures: tuple[str, ...] = ()
    """The architectures that a CUDA candidate was compiled for."""
    resources: tuple[KernelResources, ...] = ()
    files_sha256: str | None = None
    """Of the names and contents of all files in the candidate's folder, before the build; null: not recorded."""

    def __post_init__(self) -> None:
        require_form(self.files_sha256, r"[0-9a-f]{64}", "files_sha256 has 64 hexadecimal digits")
        allowed = {Status.OK, Status.BUILD_FAILED, Status.TIMED_OUT, Status.UNSUPPORTED, Status.ENVIRONMENT}
        require(self.status in allowed, f"a build cannot end as {self.status}")
        require(self.status is Status.OK or self.library is None, "a build that failed has no library")
        require(self.status is Status.OK or bool(self.message), "a build that failed has a message")

    def as_evidence(self) -> Build:
        """The build as a measurement keeps it: without the library's path and the compiler's commands.

        A build that failed keeps its log, which has the compiler's messages.
        """
        return replace(self, library=None, log="") if self.status is Status.OK else self


@dataclass(frozen=True, slots=True)
class MergeBase(Record):
    """The candidate before the change: at the merge base of the pull request. It is timed as the arm `merge_base`."""

    commit: str | None = None
    """In full; null: not recorded."""
    build: Build | None = None
    """Null: the candidate did not exist there, or was not built."""

    def __post_init__(self) -> None:
        require_commit(self.commit)


@dataclass(frozen=True, slots=True)
class ResourceLimits(Record):
    """The limits of every kernel on every architecture; None means no limit."""

    max_registers: int | None = None
    max_spill_bytes: int | None = None
    """Stores and loads together."""
    max_stack_bytes: int | None = None

    def __post_init__(self) -> None:
        for limit in (self.max_registers, self.max_spill_bytes, self.max_stack_bytes):
            require(limit is None or limit >= 0, f"a limit is at least 0, not {limit}")

    def broken_by(self, resources: tuple[KernelResources, ...]) -> tuple[str, ...]:
        """The kernels that exceed a limit, one line for each limit."""
        return tuple(line for kernel in resources for line in self._broken_by(kernel))

    def _broken_by(self, kernel: KernelResources) -> list[str]:
        taken = (
            (kernel.registers, self.max_registers, "registers"),
            (kernel.spill_bytes, self.max_spill_bytes, "bytes of spills"),
            (kernel.stack_bytes, self.max_stack_bytes, "bytes of stack"),
        )
        return [
            f"{kernel.kernel} takes {seen} {what} on {kernel.architecture}, and may take {limit}"
            for seen, limit, what in taken
            if seen is not None and limit is not None and seen > limit
        ]
