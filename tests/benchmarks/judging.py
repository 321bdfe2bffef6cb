"""How long a verdict takes, beside SciPy's bootstrap of a pooled median on the same samples.

Run: python -m tests.benchmarks.judging
"""

import time

import numpy as np
from scipy import stats

from gate.records import BASELINE, CANDIDATE, Evaluation, Policy
from gate.stats.two_sample import bootstrap_ci
from gate.verdict.judge import judge
from tests.support import examples

WORKLOADS, REPLICATES, ROUNDS, REPEATS = 5, 10, 60, 5


def evidence():
    evaluations = [
        Evaluation(
            examples.workload(seq_len=64 + index),
            examples.correctness(),
            trial=examples.trial(0.8, REPLICATES, ROUNDS, seed=index),
        )
        for index in range(WORKLOADS)
    ]
    return examples.measurement(*evaluations)


def seconds(call):
    """The least of several runs, after one that warms up."""
    call()
    taken = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        call()
        taken.append(time.perf_counter() - started)
    return min(taken)


def scipys_bootstrap(measurement):
    for evaluation in measurement.evaluations:
        for arm in (BASELINE, CANDIDATE):
            pooled = np.ravel(evaluation.trial.samples(arm))
            stats.bootstrap((pooled,), np.median, n_resamples=10_000, method="percentile", batch=1_000)


def our_bootstrap(measurement):
    for evaluation in measurement.evaluations:
        for arm in (BASELINE, CANDIDATE):
            bootstrap_ci(np.ravel(evaluation.trial.samples(arm)))


if __name__ == "__main__":
    measurement = evidence()
    print(f"{WORKLOADS} workloads x {REPLICATES} replicates x {ROUNDS} rounds")
    theirs = seconds(lambda: scipys_bootstrap(measurement))
    for name, call in (
        ("verdict (t on replicates)", lambda: judge(measurement, Policy())),
        ("bootstrap_ci, 10,000 resamples", lambda: our_bootstrap(measurement)),
    ):
        ours = seconds(call)
        print(f"{name}: {ours * 1e3:.1f} ms, {ours / theirs:.4f} of scipy.stats.bootstrap's {theirs * 1e3:.0f} ms")
