"""From a request to the evidence: one stage after another, each over all workloads (gate/measure/stages.py)."""

from __future__ import annotations

from dataclasses import replace

from gate.analysis.build_limits import may_be_timed
from gate.analysis.comparison import chosen_backends
from gate.analysis.provenance import sdpa_kernel_used
from gate.build.prepare import environment_of, prepare_candidate
from gate.candidates.registry import Candidate
from gate.measure import stages
from gate.measure.stages import Evaluations, Subject
from gate.records import Measurement, Workload
from gate.session import Session


def measure_candidate(
    session: Session, candidate: Candidate, workloads: tuple[Workload, ...], *, counters: int | None = 0
) -> Measurement:
    """Builds, checks and times a candidate on each workload. A stage that fails is recorded; later ones are absent.

    `counters` is the number of workloads on which hardware counters are read as well; None means all of them.
    """
    backends = session.backends(session.settings.measure.baseline)
    session.witness.start()
    environment, build = prepare_candidate(session, candidate)
    evaluations: Evaluations = {}
    if may_be_timed(build, session.settings.gates.resources):
        evaluations = _evaluate(Subject(session, candidate, build), workloads, backends, counters)
    return Measurement(
        environment=replace(environment, sdpa_backend=chosen_backends(evaluations.values())),
        workloads=workloads,
        impl=candidate.name,
        build=build.as_evidence(),
        evaluations=tuple(evaluations.values()),
        seconds=dict(session.seconds),
        baseline=session.settings.measure.baseline,
    )


def _evaluate(
    subject: Subject, workloads: tuple[Workload, ...], backends: tuple[str, ...], counters: int | None
) -> Evaluations:
    session, candidate = subject.session, subject.candidate
    evaluations = stages.begin(workloads)
    # The witness's server runs no candidate, and none runs yet: no candidate can disturb this trace.
    evaluations = stages.trace_sdpa(session, session.witness, backends, evaluations)
    evaluations = stages.check(subject, evaluations)
    evaluations = stages.trace_candidate(subject, evaluations)
    if any(sdpa_kernel_used(evaluation, candidate.name) for evaluation in evaluations.values()):
        return evaluations  # such a candidate is rejected, so no workload is timed
    evaluations = stages.choose_baseline(session, evaluations)
    evaluations = stages.time_candidate(subject, evaluations)
    evaluations = stages.witness_candidate(subject, evaluations)
    return stages.profile(subject, counters, evaluations)


def measure_sdpa(session: Session, wanted: str, workloads: tuple[Workload, ...]) -> Measurement:
    """Times SDPA's backends against one another, interleaved, with the largest planned number of replicates.

    `wanted` is one backend's name, or `all`.
    """
    backends, measure = session.backends(wanted), session.settings.measure
    environment = environment_of(session)
    evaluations = stages.begin(workloads)
    evaluations = stages.trace_sdpa(session, session.server, backends, evaluations)
    evaluations = stages.time_sdpa(session, "time SDPA", measure.interim_replicates[-1], measure.rounds, evaluations)
    return Measurement(environment, workloads, evaluations=tuple(evaluations.values()), seconds=dict(session.seconds))
