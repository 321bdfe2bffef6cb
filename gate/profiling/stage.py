"""Profiles for a measurement: one run of ncu for the candidate on every workload, and one for its baselines.

They do not share a process: the candidate cannot affect the baseline's counters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from gate.analysis.kernel_names import same_kernel
from gate.build.sass import dump, read_sass
from gate.candidates.registry import Candidate
from gate.errors import BadInputError
from gate.machine.cuda_tools import find_tool
from gate.profiling.collect import Profiler, not_measured, profile_calls
from gate.profiling.protocol import Call, NcuRequest
from gate.records import BASELINE, CANDIDATE, Build, Evaluation, MachineCode, Policy, Profile, Workload
from gate.settings.model import Settings

Open = Callable[[], Profiler | str]


def profile_evaluations(
    settings: Settings,
    candidate: Candidate,
    built: Build,
    evaluations: Sequence[Evaluation],
    most: int | None,
    opened: Open,
) -> list[Evaluation]:
    """The evaluations, with profiles of candidate and baseline where they were timed: `most` of them, or all.

    Those first where the candidate does worst: there is what to learn.
    """
    timed = sorted((each for each in evaluations if each.trial and each.trial.replicates), key=_ratio, reverse=True)[
        :most
    ]
    baselines = {each.workload: each.trial.implementation(BASELINE) for each in timed if each.trial}
    seen = profile_workloads(settings, candidate, built, baselines, opened) if timed else {}
    return [replace(each, profiles=seen.get(each.workload, ())) for each in evaluations]


def _ratio(timed: Evaluation) -> float:
    medians = timed.trial.median_ms if timed.trial else {}
    return medians[CANDIDATE] / medians[BASELINE]


def profile_workloads(
    settings: Settings,
    candidate: Candidate | None,
    built: Build | None,
    baselines: Mapping[Workload, str],
    opened: Open,
) -> dict[Workload, tuple[Profile, ...]]:
    """On each workload the candidate's profile, if there is one, and its baseline's (`sdpa:NAME`)."""
    profiler = opened()
    asked = [_baselines(settings, baselines)]
    if candidate is not None and built is not None:
        asked.insert(0, _candidate(settings, candidate, built, list(baselines)))
    with ThreadPoolExecutor(1) as pool:  # disassembling takes some seconds, and no GPU
        code = pool.submit(_machine_code, built)
        seen = [_profiles(profiler, request) for request in asked]
    if candidate is not None and built is not None:
        seen[0] = _with_code(seen[0], candidate, code.result())
    return {workload: tuple(each[number] for each in seen) for number, workload in enumerate(baselines)}


def _profiles(profiler: Profiler | str, request: NcuRequest) -> list[Profile]:
    return not_measured(request, profiler) if isinstance(profiler, str) else profile_calls(profiler, request)


def _candidate(settings: Settings, candidate: Candidate, built: Build, workloads: Sequence[Workload]) -> NcuRequest:
    calls = tuple(Call(candidate.name, each) for each in workloads)
    return NcuRequest("cuda", calls, built.library or candidate.entry, settings.limits.file_mb)


def _baselines(settings: Settings, baselines: Mapping[Workload, str]) -> NcuRequest:
    """The request for SDPA, with the device's peak rates: its process has no candidate that could disturb them."""
    calls = tuple(Call(name, workload) for workload, name in baselines.items())
    return NcuRequest("cuda", calls, None, settings.limits.file_mb, ceilings=True)


def _machine_code(built: Build | None) -> tuple[MachineCode, ...]:
    text = dump(Path(built.library)) if built is not None and built.library else None
    return read_sass(text) if text else ()


def _with_code(profiles: Sequence[Profile], candidate: Candidate, codes: tuple[MachineCode, ...]) -> list[Profile]:
    """Adds the machine code of the kernels that ran, and whether kernel.toml claims tensor cores."""
    return [
        replace(each, claims_tensor_cores=candidate.tensor_cores, machine_code=_that_ran(codes, each))
        for each in profiles
    ]


def _that_ran(codes: Sequence[MachineCode], profile: Profile) -> tuple[MachineCode, ...]:
    ran = dict.fromkeys(kernel.kernel for kernel in profile.kernels)
    found = (next((code for code in codes if same_kernel(code.kernel, name)), None) for name in ran)
    return tuple(code for code in found if code is not None)


def wanted_counters(asked: str, device: str, policy: Policy) -> int | None:
    """Of how many workloads to read counters: None for all; of the worst one only where there is an ncu.

    Raises BadInputError where all are asked for and there is no GPU to count on.
    """
    if device != "cuda":
        if asked == "all":
            raise BadInputError("hardware counters are a GPU's: leave --ncu off, or choose --device cuda")
        return 0
    if asked == "all" or policy.require_profile:
        return None
    return 1 if asked == "worst" and find_tool("ncu") is not None else 0
