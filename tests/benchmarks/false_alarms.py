"""How often Kernel Gate calls SDPA different from itself on this machine: repeated A/A trials, for real.

Run: python -m tests.benchmarks.false_alarms 40 OUT.npz     (on a CUDA device; minutes)

Writes the samples in the layout that `kernel-gate calibrate --data` reads.
"""

import sys

import numpy as np

from gate.analysis.comparison import compare
from gate.measure.trial import candidate_arms, replicate_request, take_trials
from gate.records import BASELINE, BASELINE_AGAIN, CANDIDATE, EMPTY, Evaluation, Policy
from gate.records.codec import to_json
from gate.session import Session
from gate.settings.load import load_settings
from gate.settings.model import parse_workload
from scripts import options

SHAPES = ("1,8,512,64,float16", "32,8,512,64,float16")
REPLICATES = 10
ARMS = {BASELINE: "flash", BASELINE_AGAIN: "flash_again", CANDIDATE: "cudnn", EMPTY: "empty"}


def repeated_trials(session: Session, shape: str, trials: int):
    """Trials of SDPA's flash, flash again and, as a known difference, cuDNN in the candidate's place."""
    arms = {**candidate_arms("sdpa:cudnn", "flash")}
    plan = replicate_request(parse_workload(shape), arms, session.settings, session.device)
    for number in range(trials):
        session.progress(f"trial of {shape}", number, trials)
        yield from take_trials(session.server, [plan], (REPLICATES,), 60.0, lambda *_: True, lambda _: None)


def report(shape: str, trials: list) -> np.ndarray:
    """Prints the alarms and the widths at nominal 95%; returns the times, (replicates, rounds, arms)."""
    policy = Policy(control_alpha=0.05)
    seen = [compare(Evaluation(parse_workload(shape), trial=trial), policy) for trial in trials]
    alarms = sum(not each.control.low <= 1 <= each.control.high for each in seen)
    halves = [(each.control.high / each.control.low) ** 0.5 - 1 for each in seen]
    seconds = [replicate.seconds for trial in trials for replicate in trial.replicates]
    print(f"{shape}: {alarms} false alarms in {len(seen)} trials of {REPLICATES} replicates")
    print(f"  half-width of the interval: median {np.median(halves):.3%}, largest {max(halves):.3%}")
    print(f"  a replicate's own seconds: median {np.median(seconds):.2f}, largest {max(seconds):.2f}")
    return np.array([replicate.times_ms for trial in trials for replicate in trial.replicates], dtype=np.float32)


def main() -> None:
    count, path = int(sys.argv[1]), sys.argv[2]
    settings = load_settings()
    content = {}
    with options.session("cuda", settings) as session:
        for shape in SHAPES:
            trials = list(repeated_trials(session, shape, count))
            failed = [to_json(trial)[:300] for trial in trials if not trial.replicates or trial.message]
            if failed:
                raise SystemExit(failed[0])
            batch, heads, seq_len, head_dim, _ = shape.split(",")
            content[f"b{batch}h{heads}s{seq_len}d{head_dim}_graph_queued"] = report(shape, trials)
    np.savez_compressed(path, arms=np.array(list(ARMS.values())), **content)


if __name__ == "__main__":
    main()
