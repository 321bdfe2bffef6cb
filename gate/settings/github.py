"""The policy's `[github]` table: the runners, and the default candidate."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from gate.records import Record

_WORD = re.compile(r"[A-Za-z0-9_.-]{1,40}")


@dataclass(frozen=True, slots=True)
class Runner(Record):
    """A kind of self-hosted runner: `name` follows @ in a suite, `labels` are those of `runs-on`."""

    name: str
    labels: tuple[str, ...]
    device: Literal["cuda", "cpu"] = "cuda"

    def __post_init__(self) -> None:
        if not self.labels or not all(_WORD.fullmatch(word) for word in (self.name, *self.labels)):
            raise ValueError(f"a runner needs a name and labels of letters, digits, _ . and -, not {self.name!r}")


@dataclass(frozen=True, slots=True)
class GithubSettings(Record):
    """Settings of the workflow."""

    impl: str = "wmma"
    """The candidate to measure if none changed."""
    runners: tuple[Runner, ...] = (Runner("l4", ("self-hosted", "gpu", "cuda", "l4")),)

    def __post_init__(self) -> None:
        names = [runner.name for runner in self.runners]
        if not names or len(set(names)) < len(names):
            raise ValueError("name at least one runner, without duplicate names")
