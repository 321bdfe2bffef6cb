"""`kernel-gate profile`: counters of a candidate and its baseline, or of SDPA alone, without timing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gate.build.prepare import environment_of, prepare_candidate
from gate.candidates.registry import Candidate
from gate.errors import BadInputError
from gate.machine.cuda_tools import require_tool
from gate.profiling.collect import open_profiler
from gate.profiling.ncu import Options
from gate.profiling.stage import profile_workloads
from gate.profiling.trace_request import trace_implementations
from gate.records import Evaluation, Measurement, Outcome, Status, Trace, Workload
from gate.records.sdpa import PREFIX, backends_of
from gate.records.verdict import OUTCOMES
from gate.session import Session


def need_counters(device: str, backend: str) -> None:
    """Checks the request before anything is built or run.

    Raises BadInputError on a CPU, or for a backend that SDPA does not have; UnfitEnvironmentError without ncu.
    """
    if device != "cuda":
        raise BadInputError(f"Nsight Compute cannot profile device '{device}', only GPUs; use --device cuda")
    backends_of(device, backend)
    require_tool("ncu")


def profile_candidate(
    session: Session, candidate: Candidate | None, backend: str, workloads: tuple[Workload, ...], options: Options
) -> Measurement:
    """The candidate's counters, if there is one, and those of `backend`; `best` is the fastest."""
    environment, built = prepare_candidate(session, candidate) if candidate else (environment_of(session), None)
    impl, evaluations = candidate.name if candidate else None, tuple[Evaluation, ...]()
    if built is None or built.status is Status.OK:
        traced = _traced(session, backend, workloads)
        baselines = {workload: name for workload, seen in traced.items() if (name := _fastest(seen))}
        session.progress("profile", 0, 1)
        limit_s = session.settings.limits.profile_s
        with session.stage("profile"):
            seen = profile_workloads(
                session.settings, candidate, built, baselines, lambda: open_profiler(session.server, limit_s, options)
            )
        evaluations = tuple(Evaluation(each, traces=traced[each], profiles=seen.get(each, ())) for each in workloads)
    made = built.as_evidence() if built else None
    return Measurement(environment, workloads, impl, made, evaluations, dict(session.seconds))


def _traced(session: Session, wanted: str, workloads: Sequence[Workload]) -> Mapping[Workload, tuple[Trace, ...]]:
    names = tuple(PREFIX + backend for backend in session.backends(wanted))
    session.progress("trace SDPA", 0, 1)
    with session.stage("trace"):
        seen = trace_implementations(session.server, session.device, names, workloads)
    return dict(zip(workloads, seen, strict=True))


def _fastest(traces: Sequence[Trace]) -> str | None:
    """The fastest by CUPTI's clock and from a warm cache: accurate enough to choose which backend to profile."""
    able = [each for each in traces if not each.refusal]
    return min(able, key=lambda each: each.kernel_ms or 0.0).implementation if able else None


def profiling_outcome(measurement: Measurement) -> Outcome:
    """The outcome of profiling the candidate, or SDPA if there is no candidate."""
    if measurement.build is not None and measurement.build.status is not Status.OK:
        return OUTCOMES[measurement.build.status]
    seen = [each.profiles[0].status for each in measurement.evaluations if each.profiles]
    if len(seen) < len(measurement.workloads):
        return Outcome.ENVIRONMENT  # no SDPA backend supports one of the workloads
    return min((OUTCOMES[each] for each in seen), key=list(Outcome).index)
