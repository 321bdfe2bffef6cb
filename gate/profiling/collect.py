"""Profiles calls in one run of ncu; a call without counters gets a reason."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from gate.analysis import counters as analysis_counters
from gate.errors import GateError
from gate.machine.cuda_tools import REMEDIES, find_tool
from gate.profiling import ncu
from gate.profiling.ncu import Options
from gate.profiling.ncu_output import CountedLaunch, has_module, read_csv, read_ncu_report
from gate.profiling.protocol import ANSWER, NcuAnswer, NcuRequest
from gate.records import KernelCounters, Profile, Status
from gate.records.codec import from_json, to_json
from gate.sandbox import bootstrap
from gate.sandbox.client import WorkerServer
from gate.sandbox.external_tool import ToolResult, run_tool
from gate.storage import write_text

HARNESS = tuple(bootstrap.command("gate.profiling.ncu_target"))
MARKER = "spin_kernel"
"""Part of the name of torch's empty kernel, which marks the start of every call."""
QUERY_S = 60.0
MAX_SAID = 300


@dataclass(frozen=True, slots=True)
class Profiler:
    """An installed ncu, and how to call it."""

    server: WorkerServer
    path: str
    version: str
    limit_s: float
    options: Options = field(default_factory=Options)
    harness: tuple[str, ...] = HARNESS
    known: set[str] = field(default_factory=set)
    """The metrics that this ncu supports, after the first query."""

    @property
    def tool(self) -> str:
        """Its name and version."""
        return f"Nsight Compute {self.version}".strip()


@dataclass(frozen=True, slots=True)
class _Seen:
    """One run of ncu: its end, its log, the counted launches, and the answer of the program under it."""

    chosen: analysis_counters.ChosenMetrics
    finished: ToolResult
    log: str
    launches: tuple[CountedLaunch, ...]
    answer: NcuAnswer | None


def open_profiler(server: WorkerServer, limit_s: float, options: Options) -> Profiler | str:
    """The profiler of this machine; or a message why there is none, with a remedy."""
    path = find_tool("ncu")
    if path is None:
        return f"ncu is not installed; {REMEDIES['ncu']}"
    said = run_tool(server, [path, "--version"], QUERY_S)
    if said.code != 0:
        return f"{path} does not run ({_last_line(said.output) or said.message}); {REMEDIES['ncu']}"
    return Profiler(server, path, ncu.version_in(said.output), limit_s, options)


def profile_calls(profiler: Profiler, request: NcuRequest) -> list[Profile]:
    """A profile for every call. The supported metrics are queried (1.5 s) only after ncu refused one."""
    seen = _run(profiler, request, analysis_counters.choose_metrics(profiler.known))
    if refused := ncu.unknown_metrics(seen.log):
        if not profiler.known:
            listed = run_tool(profiler.server, [profiler.path, "--query-metrics"], QUERY_S)
            profiler.known.update(ncu.names_in(listed.output))
        seen = _run(profiler, request, analysis_counters.choose_metrics(profiler.known, refused))
    return list(_profiles(profiler, request, seen))


def not_measured(request: NcuRequest, reason: str) -> list[Profile]:
    """A profile without counters for every call, with the reason."""
    return [Profile(call.implementation, Status.ENVIRONMENT, reason) for call in request.calls]


def _run(profiler: Profiler, request: NcuRequest, chosen: analysis_counters.ChosenMetrics) -> _Seen:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        asked, log, report = (folder / each for each in ("request.json", "log.csv", "report.ncu-rep"))
        write_text(asked, to_json(request))
        exported = report if has_module() else None
        harness = (*profiler.harness, str(asked))
        command = ncu.ncu_command(profiler.path, chosen.asked, profiler.options, log, exported, harness)
        finished = run_tool(profiler.server, command, profiler.limit_s, candidate=request.candidate)
        written = log.read_text(errors="replace") if log.exists() else ""
        launches = _launches(written, report)
    return _Seen(chosen, finished, written, tuple(launches), _answer(finished.output))


def _launches(log: str, report: Path) -> list[CountedLaunch]:
    """The launches from the report, if the module ncu_report can read it; else from the CSV."""
    if report.exists():
        try:
            if launches := read_ncu_report(report):
                return launches
        except Exception:  # noqa: S110  # NVIDIA's module may raise anything, and the CSV has the same values
            pass
    return read_csv(log)


def _answer(output: str) -> NcuAnswer | None:
    """The answer of the program under ncu; None if it did not finish."""
    said = [line.removeprefix(ANSWER) for line in output.splitlines() if line.startswith(ANSWER)]
    try:
        return from_json(NcuAnswer, said[-1], "the harness's answer") if said else None
    except GateError:
        return None


def _profiles(profiler: Profiler, request: NcuRequest, seen: _Seen) -> Iterator[Profile]:
    """In the order of the calls. A failure of one call also ends all later calls."""
    groups = by_call(seen.launches)
    status, reason = _failure(seen)
    whole = min(_whole(seen, len(groups)), len(groups))
    for number, call in enumerate(request.calls):
        counted = groups[number] if number < whole else ()
        empty = Profile(
            call.implementation,
            status,
            reason,
            profiler.tool,
            " ".join(profiler.options.arguments),
            ceilings=seen.answer.ceilings if seen.answer else None,
            seconds=seen.finished.seconds,
        )
        yield _filled(empty, counted, seen) if counted else empty


def _filled(empty: Profile, launches: Sequence[CountedLaunch], seen: _Seen) -> Profile:
    kernels = tuple(KernelCounters(each.kernel, each.grid, each.block, counters_of(each)) for each in launches)
    missing = {
        name: _why_missing(name, seen)
        for name in analysis_counters.absent_counters([each.counters for each in kernels])
    }
    return replace(empty, status=Status.OK, message="", kernels=kernels, missing=missing)


def counters_of(launch: CountedLaunch) -> dict[str, float]:
    """Counters by Kernel Gate's names. A duration of zero counts as not measured."""
    named = analysis_counters.named_counters(launch.metrics)
    return {name: value for name, value in named.items() if name != "duration_ns" or value > 0}


def _why_missing(name: str, seen: _Seen) -> str:
    if name not in seen.chosen.spellings:
        return "this version of Nsight Compute does not have the metric"
    spelled = {each.partition(".")[0] for each in seen.chosen.spellings[name]}
    unread = {each.partition(".")[0] for each in ncu.unread_metrics(seen.log)}
    return "cannot be read on this GPU" if spelled & unread else "reported without a number"


def by_call(launches: Sequence[CountedLaunch]) -> list[list[CountedLaunch]]:
    """Groups launches by call: every marker starts a call; launches before the first marker are dropped."""
    groups: list[list[CountedLaunch]] = []
    for launch in launches:
        if MARKER in launch.kernel:
            groups.append([])
        elif groups:
            groups[-1].append(launch)
    return groups


def _whole(seen: _Seen, groups: int) -> int:
    """The number of calls that were counted completely: as the program reports, else all but the last."""
    return seen.answer.done if seen.answer is not None else groups - 1


def _failure(seen: _Seen) -> tuple[Status, str]:
    """The status and reason of a call without counters."""
    if seen.finished.code is None:
        reason = seen.finished.message
        return Status.TIMED_OUT, f"{reason}; raise limits.profile_s, or find what the kernel waits for"
    said = seen.log + seen.finished.output
    if seen.answer is not None and seen.answer.status is not Status.OK:
        return seen.answer.status, f"the call failed under ncu: {seen.answer.message}; see `kernel-gate run`"
    known = ncu.explain(said)
    if known is not None:
        return known
    if seen.answer is not None:
        return Status.CRASHED, "the call launched no kernel; a kernel must be launched by the call itself"
    words = next(ncu.errors_in(said), None) or _last_line(said) or f"code {seen.finished.code}"
    return Status.CRASHED, f"ncu failed: {words[:MAX_SAID]}; try again, and report it if it happens again"


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")
