"""The corpus of cheats: what each does, which stage showed it, and why it does not pass.

Run: python -m tests.benchmarks.cheats [--device cuda]

Two replicates each against SDPA's flash, on a small workload, and judged as if two were enough: what would pass,
passes. Ends with 1 where a cheat does, or where a control is accused of more than being slow.
"""

import argparse
import sys
import time
from dataclasses import replace

from gate.candidates.registry import find_candidate
from gate.errors import GateError
from gate.measure.pipeline import measure_candidate
from gate.records import Outcome, Status, Workload
from gate.verdict.judge import judge
from scripts import options
from tests.support import cheats, examples

ON_GPU = Workload(1, 8, 512, 64)
SPEED = ("gate: faster", "gate: interval")
UNKNOWN = ("-", "gate: control")
"""What was not run, and where the machine was too restless to say."""


def settings(device):
    """Of a small measurement."""
    if device == "cpu":
        return examples.settings()
    return examples.settings(limits=examples.limits(build_s=60.0, check_s=20.0, replicate_s=20.0, memory_mb=8192))


def measured(session, name):
    """A candidate's evidence."""
    if session.device == "cpu":
        return cheats.measured(session, name)
    return measure_candidate(session, find_candidate(name, examples.ADVERSARIAL), (ON_GPU,))


def ended(session, name):
    """(stage, status, verdict, reason) of one candidate."""
    if reason := cheats.unstoppable(name):
        return "-", "-", "-", reason
    try:
        measurement = measured(session, name)
    except GateError as error:
        return "gate itself", "-", "error", str(error)
    every = cheats.stages(measurement)
    stage, status, message = next((each for each in every if each[1] is not Status.OK), every[-1])
    verdict = judge(measurement, replace(session.settings.gates, min_replicates=2)).verdict
    deciding = next(gate for gate in verdict.gates if gate.outcome is verdict.outcome)
    if status is Status.OK:
        stage, message = f"gate: {deciding.name}", deciding.evidence
    return stage, status.value, verdict.outcome.value, message


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    device = parser.parse_args().device
    controls, corpus = {
        "cpu": (cheats.CONTROLS, cheats.CHEATS),
        "cuda": (cheats.CUDA_CONTROLS, cheats.CUDA_CHEATS),
    }[device]
    started, stopped, idle, wronged = time.perf_counter(), 0, [], []
    measuring = settings(device)
    with options.session(device, measuring) as session:
        for name in (*controls, *corpus):
            stage, status, verdict, reason = ended(session, name)
            if name in controls:
                wronged += [name] if stage not in (*SPEED, *UNKNOWN) else []
            elif stage not in UNKNOWN:
                stopped += verdict != Outcome.PASS
                idle += [name] if stage in SPEED else []
            summary = find_candidate(name, examples.ADVERSARIAL).summary
            print(" | ".join([f"{name:32}", *(f"{each:14}" for each in (stage, status, verdict))]), flush=True)
            print(f"    does: {summary}\n    seen: {reason[:160]}", flush=True)
    print(f"\nright, and accused: {', '.join(wronged) or 'none'}")
    print(f"right, and not faster: {', '.join(idle) or 'none'}")
    print(f"{stopped} of {len(corpus)} stopped, in {time.perf_counter() - started:.0f} s")
    return 0 if stopped == len(corpus) and not wronged else 1


if __name__ == "__main__":
    sys.exit(main())
