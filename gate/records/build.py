"""What a build makes of a candidate, and what the device's compiler says of each kernel in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from gate.records.base import Record, Status, require, require_commit, require_counts, require_form
from gate.records.occupancy import MAX_THREADS, Occupancy, occupancy


@dataclass(frozen=True, slots=True)
class KernelResources(Record):
    """What one kernel takes on one architecture, as ptxas reports it."""

    kernel: str
    """As in the source, without its parameters."""
    architecture: str
    """As `architectures` has it: 8.9, 9.0a."""
    registers: int | None
    """A thread; None for a function that kernels call, whose registers are counted with theirs."""
    shared_bytes: int
    """A block's static shared memory."""
    spill_store_bytes: int
    spill_load_bytes: int
    stack_bytes: int
    threads: int | None = None
    """A block's, by kernel.toml or else by __launch_bounds__; None where neither says."""
    dynamic_shared_bytes: int | None = 0
    """A block's, by kernel.toml; None where it is given some, and nothing says how much."""
    occupancy: float | None = None
    """The share of a multiprocessor's warps that it can fill; computed on construction, for readers of the JSON."""

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
        """Its occupancy, and what limits it; None for what is no kernel, and where the architecture is unknown."""
        if self.registers is None:
            return None
        shared = self.shared_bytes + (self.dynamic_shared_bytes or 0)
        return occupancy(self.architecture, self.registers, self.threads, shared)

    @property
    def known(self) -> bool:
        """Whether all is known that occupancy depends on; where not, it is at most what is computed."""
        return self.threads is not None and self.dynamic_shared_bytes is not None

    @property
    def spill_bytes(self) -> int:
        """Moved to and from local memory for want of registers."""
        return self.spill_store_bytes + self.spill_load_bytes


@dataclass(frozen=True, slots=True)
class Build(Record):
    """A candidate turned into something that can be called. `library` is absent for Python candidates."""

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
    """What a CUDA candidate was compiled for."""
    resources: tuple[KernelResources, ...] = ()
    files_sha256: str | None = None
    """Of the names and contents of all files in the candidate's folder, before the build; null: not recorded."""

    def __post_init__(self) -> None:
        require_form(self.files_sha256, r"[0-9a-f]{64}", "files_sha256 has 64 hexadecimal digits")
        allowed = {Status.OK, Status.BUILD_FAILED, Status.TIMED_OUT, Status.UNSUPPORTED, Status.ENVIRONMENT}
        require(self.status in allowed, f"a build cannot end as {self.status}")
        require(self.status is Status.OK or self.library is None, "a build that failed has no library")
        require(self.status is Status.OK or bool(self.message), "a build that failed says why")

    def as_evidence(self) -> Build:
        """What a measurement keeps: a library's path means nothing elsewhere, nor do the commands that made it.

        A build that failed keeps its log: there are the compiler's words.
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
    """The most that any kernel may take, on any architecture; None allows whatever it takes."""

    max_registers: int | None = None
    max_spill_bytes: int | None = None
    """Stores and loads together."""
    max_stack_bytes: int | None = None

    def __post_init__(self) -> None:
        for limit in (self.max_registers, self.max_spill_bytes, self.max_stack_bytes):
            require(limit is None or limit >= 0, f"a limit is at least 0, not {limit}")

    def broken_by(self, resources: tuple[KernelResources, ...]) -> tuple[str, ...]:
        """What takes more than it may, one line each."""
        return tuple(line for each in resources for line in self._broken_by(each))

    def _broken_by(self, each: KernelResources) -> list[str]:
        taken = (
            (each.registers, self.max_registers, "registers"),
            (each.spill_bytes, self.max_spill_bytes, "bytes of spills"),
            (each.stack_bytes, self.max_stack_bytes, "bytes of stack"),
        )
        return [
            f"{each.kernel} takes {seen} {what} on {each.architecture}, and may take {limit}"
            for seen, limit, what in taken
            if seen is not None and limit is not None and seen > limit
        ]
