"""How many known-wrong kernels are rejected, and by which check: it must be all of them, on every required workload.

Run: python -m tests.benchmarks.mutation_score [--full]

On a GPU with the CUDA mutants, where nvcc is found. On a CPU the float16 workloads have two heads in all, unless
--full takes their whole batch, which takes minutes. Ends with 1 where a mutant passes, or what is right does not.
"""

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from gate.build.build import build
from gate.build.prepare import source_of
from gate.candidates.registry import candidate_names, find_candidate
from gate.check.request import check_cases
from gate.machine.cuda_tools import find_tool
from gate.records import Case, Status
from gate.report.table import table
from gate.runtime.device import choose_device
from gate.settings.load import load_settings
from scripts import options
from tests.candidates.mutants import cuda, wrong
from tests.candidates.mutants.registry import CUDA_PREFIX, write_registry

CONTROLS = {*wrong.CONTROLS, f"{CUDA_PREFIX}right"}
MASKED = {each.__name__ for each in wrong.MASKED} | {CUDA_PREFIX + each for each in cuda.WRONG_WHERE_MASKED}
NOT_HERE = {CUDA_PREFIX + each for each in (*cuda.WRONG_AT_RAGGED_ENDS, *cuda.RACES)}
SEED = 20251121


def workloads(device, settings, full):
    required = settings.required(device)
    if device == "cuda":
        return required
    on_gpu = settings.required("cuda")
    return dict.fromkeys([*required, *(each if full else replace(each, batch=1, heads=2) for each in on_gpu)])


def verdicts(session, candidate, asked):
    """Of each workload, what the candidate's check ended with."""
    built = build(candidate, session.server, session.settings.limits.build_s)
    if built.status is not Status.OK:
        sys.exit(f"{candidate.name} does not build: {built.message}\n{built.log}")
    causal = candidate.name in MASKED
    cases = {Case(replace(each, causal=causal)): SEED + number for number, each in enumerate(asked)}
    return check_cases(session, candidate, source_of(candidate, built), cases)


def shown(name, seen):
    """One row: for a mutant, the first check that failed on each workload."""
    cells = [
        each.message.partition(":")[0] if each.status is Status.INCORRECT else each.status.value for each in seen
    ]
    return (name, *cells)


def main():
    settings = load_settings()
    device = choose_device("auto")
    asked = workloads(device, settings, "--full" in sys.argv)
    rows, rejected, mutants, accused = [], 0, 0, []
    with tempfile.TemporaryDirectory() as folder, options.session(device, settings) as session:
        registry = write_registry(Path(folder))
        for name in sorted(set(candidate_names(registry)) - NOT_HERE, key=lambda each: (each not in CONTROLS, each)):
            if name.startswith(CUDA_PREFIX) and (device == "cpu" or find_tool("nvcc") is None):
                continue
            seen = verdicts(session, find_candidate(name, registry), asked)
            rows.append(shown(name, seen))
            if name in CONTROLS:
                accused += [] if {each.status for each in seen} == {Status.OK} else [name]
            else:
                mutants += 1
                rejected += {each.status for each in seen} == {Status.INCORRECT}
    print(table(rows, "candidate", *map(str, asked)))
    print(f"\nright, and accused: {', '.join(accused) or 'none'}")
    print(f"mutation score: {rejected} of {mutants} ({rejected / mutants:.0%}) on all of {len(asked)} workloads")
    return 0 if rejected == mutants and not accused else 1


if __name__ == "__main__":
    sys.exit(main())
