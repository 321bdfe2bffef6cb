"""The memory of a job: the pages of all descendants of this process, where a shared page counts once.

Their resident sizes count a shared page once for each of them: 16 forked workers of torch.compile, 16 times. The
kernel's proportional set size (PSS, in /proc/PID/smaps_rollup) counts it once. But reading it takes 25 ms for 450 MB
in pages of 4 KiB, and holds up the process's own changes of its memory map meanwhile, which would disturb what is
timed. So it is read only if the resident sizes exceed the limit, and again only when enough may have been added.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

PAGE = os.sysconf("SC_PAGE_SIZE")
PROCESS_BYTES = 8 << 20
"""Counted for every process but one, beside its pages: about the most that its page tables and kernel records take.

This ends a job that forks without end and writes nothing.
"""
READ_AT_ONCE = 8
FAULTS = 7
"""The field of minor faults in /proc/PID/stat, counted from the command's closing parenthesis (proc_pid_stat(5))."""


@dataclass(frozen=True, slots=True)
class _Reading:
    """The bytes held when the proportional sizes were read, and each process's (resident bytes, minor faults)."""

    held: int
    sizes: Mapping[int, tuple[int, int]]


class JobMemory:
    """Bytes held by all descendants of this process, less those that the job's first process began with."""

    def __init__(self, first: int, limit_bytes: int) -> None:
        self._began, self._limit = resident_bytes(first), limit_bytes
        self._last: _Reading | None = None
        self.held = 0
        """Bytes at the last `exceeds_limit`; an upper bound if the limit is not exceeded."""

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
        """Stops early if the number of processes alone exceeds the limit: they may multiply during the reading."""
        total = 0
        for first in range(0, len(pids), READ_AT_ONCE):
            processes = PROCESS_BYTES * sum(1 for _ in descendants(os.getpid()))
            if processes > self._limit:
                return processes
            total += sum(map(proportional_bytes, pids[first : first + READ_AT_ONCE]))
        return total - _inherited_bytes() + PROCESS_BYTES * (len(pids) - 1)


def _growth(before: Mapping[int, tuple[int, int]], now: Mapping[int, tuple[int, int]]) -> int:
    """An upper bound on the bytes added.

    A new page adds to the resident size. A copy of a shared page does not, but it takes a minor fault.
    """
    return sum(_may_have_added(*before.get(pid, (0, 0)), *sizes) for pid, sizes in now.items())


def _may_have_added(resident_before: int, faults_before: int, resident: int, faults: int) -> int:
    return max(0, resident - resident_before) + (faults - faults_before) * PAGE


def descendants(pid: int) -> Iterator[int]:
    """All processes below this one; for a subreaper also those whose parents ended."""
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
    """The resident bytes of one process, with shared pages in full; 0 if it ended."""
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
    """The bytes of one process, with an n-th of a page that n processes share; the resident size without PSS."""
    return _rollup(pid).get("Pss", 0) or resident_bytes(pid)


def _inherited_bytes() -> int:
    """The bytes of this process's own pages, with which its descendants began, in their proportional sizes."""
    own = _rollup(os.getpid())
    return own.get("Anonymous", 0) - own.get("Pss_Anon", own.get("Anonymous", 0))


def _rollup(pid: int) -> dict[str, int]:
    """The fields of smaps_rollup in bytes; empty if they cannot be read."""
    try:
        _, *lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (OSError, ValueError):
        return {}
    return {name: int(value.split()[0]) << 10 for name, _, value in (line.partition(":") for line in lines)}
