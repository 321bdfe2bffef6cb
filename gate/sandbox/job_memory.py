"""The memory of a job: what this process's descendants hold, pages that they share counted once.

Their resident sizes count a shared page once for each of them: 16 forked workers of torch.compile, 16 times. The
kernel's proportional set size (PSS, in /proc/PID/smaps_rollup) counts it once. But reading it takes 25 ms for 450 MB
in pages of 4 KiB, and holds up the process's own changes of its memory map meanwhile, which would disturb what is
timed. So it is read where the resident sizes exceed the limit, and again only once enough may have been added.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

PAGE = os.sysconf("SC_PAGE_SIZE")
PROCESS_BYTES = 8 << 20
"""For every process but one, beside its pages: page tables and the kernel's own records of it, at most about so much.

A job that forks without end, and writes nothing, is ended by this.
"""
READ_AT_ONCE = 8
FAULTS = 7
"""Where minor faults stand in /proc/PID/stat, behind the command's closing parenthesis (proc_pid_stat(5))."""


@dataclass(frozen=True, slots=True)
class _Reading:
    """What was held when the proportional sizes were read, and of every process (resident bytes, minor faults)."""

    held: int
    sizes: Mapping[int, tuple[int, int]]


class JobMemory:
    """What all descendants of this process hold, over what the job's first process began with."""

    def __init__(self, first: int, limit_bytes: int) -> None:
        self._began, self._limit = resident_bytes(first), limit_bytes
        self._last: _Reading | None = None
        self.held = 0
        """Bytes, as of the last `exceeds_limit`; at most so many where the limit is not exceeded."""

    def exceeds_limit(self) -> bool:
        """Whether the job holds more than its limit now."""
        pids = list(descendants(os.getpid()))
        self.held = sum(map(resident_bytes, pids)) - self._began
        if self.held > self._limit:
            self.held = self._held_in_proportion(pids)
        return self.held > self._limit

    def _held_in_proportion(self, pids: list[int]) -> int:
        sizes = {pid: (resident_bytes(pid), _minor_faults(pid)) for pid in pids}
        at_most = self._last.held + _growth(self._last.sizes, sizes) if self._last else None
        if at_most is not None and at_most <= self._limit:
            return at_most
        self._last = _Reading(self._sum(pids), sizes)
        return self._last.held

    def _sum(self, pids: list[int]) -> int:
        """Ends early where the processes alone exceed the limit: they may multiply while they are read."""
        total = 0
        for first in range(0, len(pids), READ_AT_ONCE):
            processes = PROCESS_BYTES * sum(1 for _ in descendants(os.getpid()))
            if processes > self._limit:
                return processes
            total += sum(map(proportional_bytes, pids[first : first + READ_AT_ONCE]))
        return total - _inherited_bytes() + PROCESS_BYTES * (len(pids) - 1)


def _growth(before: Mapping[int, tuple[int, int]], now: Mapping[int, tuple[int, int]]) -> int:
    """Bytes that may have been added at most.

    A new page adds to the resident size. A copy of a shared page does not, but it takes a minor fault.
    """
    return sum(_may_have_added(*before.get(pid, (0, 0)), *sizes) for pid, sizes in now.items())


def _may_have_added(resident_before: int, faults_before: int, resident: int, faults: int) -> int:
    return max(0, resident - resident_before) + (faults - faults_before) * PAGE


def descendants(pid: int) -> Iterator[int]:
    """All processes below this one: of a subreaper, those too whose parents ended."""
    for child in children(pid):
        yield child
        yield from descendants(child)


def children(pid: int) -> list[int]:
    """The processes that its threads started and that have not ended."""
    try:
        lists = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    except OSError:  # it ended meanwhile
        return []
    return [int(child) for text in lists for child in text.split()]


def resident_bytes(pid: int) -> int:
    """Of one process, shared pages in full; 0 where it ended."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
    except (OSError, IndexError):
        return 0


def _minor_faults(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[FAULTS])
    except (OSError, IndexError):
        return 0


def proportional_bytes(pid: int) -> int:
    """Of one process, of a page that n share an n-th; the resident size where a process hides or Linux has no PSS."""
    return _rollup(pid).get("Pss", 0) or resident_bytes(pid)


def _inherited_bytes() -> int:
    """What the proportional sizes of the descendants say of this process's own pages, which they began with."""
    own = _rollup(os.getpid())
    return own.get("Anonymous", 0) - own.get("Pss_Anon", own.get("Anonymous", 0))


def _rollup(pid: int) -> dict[str, int]:
    """The fields of smaps_rollup in bytes; none where they cannot be read."""
    try:
        _, *lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (OSError, ValueError):
        return {}
    return {name: int(value.split()[0]) << 10 for name, _, value in (line.partition(":") for line in lines)}
