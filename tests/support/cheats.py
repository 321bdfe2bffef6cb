"""How every kernel of tests/candidates/adversarial ends: at which stage, with which status, verdict and words.

Three kinds: controls, which are right and must not be accused; faults, as any kernel may have while it is written;
and cheats, which are wrong, or faster by their own word than they are. `python -m tests.benchmarks.cheats` prints
those.
"""

from __future__ import annotations

from dataclasses import replace

from gate.candidates.registry import find_candidate
from gate.measure.pipeline import measure_candidate
from gate.records import Build, Correctness, Measurement, Outcome, Status, Trial, Witness
from gate.sandbox.confinement import landlock_abi
from gate.session import Session
from tests.support import examples

REJECTED, UNDECIDED, FAILED = (Outcome.REJECTED, 1), (Outcome.UNDECIDED, 2), (Outcome.FAILED, 3)
RIGHT = ("witness", Status.OK, UNDECIDED, "")
"""Two replicates are too few for a verdict on speed."""
CONTRADICTED = ("witness", Status.OK, UNDECIDED, "independent clock")
BORROWED = ("check", Status.OK, REJECTED, "launches SDPA's kernel")
"""Nothing is timed of these."""


def wrong(words: str, stage: str = "check") -> tuple[str, Status, tuple[Outcome, int], str]:
    """The row of what is found incorrect."""
    return stage, Status.INCORRECT, REJECTED, words


def crashes(words: str, stage: str = "check") -> tuple[str, Status, tuple[Outcome, int], str]:
    """The row of what ends its process, or is refused by the system."""
    return stage, Status.CRASHED, FAILED, words


CONTROLS = {
    "honest": RIGHT,
    "leaves_a_daemon": RIGHT,
    "python_honest": RIGHT,
}
FAULTS = {
    "aborts": crashes("SIGABRT"),
    "does_not_compile": ("build", Status.BUILD_FAILED, FAILED, "error:"),
    "endless_loop": ("check", Status.TIMED_OUT, FAILED, "did not end within"),
    "error_code": crashes("returned 7"),
    "exits": crashes("exited with code 0 before it answered"),
    "memory_hog": ("check", Status.OUT_OF_MEMORY, FAILED, "more than its limit"),
    "missing_export": ("build", Status.BUILD_FAILED, FAILED, "no function attention()"),
    "nan_output": wrong("4096 of 4096 elements are NaN"),
    "one_row_missing": wrong("32 of 4096 elements"),
    "python_exhausts_memory": ("check", Status.OUT_OF_MEMORY, FAILED, "MemoryError"),
    "python_leaves": crashes("before it answered"),
    "python_raises": crashes("ValueError: no kernel for these sizes"),
    "python_reshapes_output": wrong("replaced out"),
    "refuses": ("check", Status.UNSUPPORTED, REJECTED, "unsupported"),
    "segfault": crashes("SIGSEGV"),
    "wrong_answer": wrong("elementwise tolerance"),
}
CHEATS = {
    "checked_only": wrong("the timed output is off", "trial"),
    "fills_the_disk": crashes("returned 127"),  # 100 + EFBIG
    "first_call_only": wrong("repeatable"),
    "forks_without_end": ("check", Status.OUT_OF_MEMORY, FAILED, "more than its limit"),
    "hooks_the_clock": CONTRADICTED,
    "input_mutation": wrong("wrote to k"),
    "kills_its_parent": crashes("returned 101"),  # 100 + EPERM
    "lazy_in_a_row": wrong("off by nan", "witness"),
    "no_write": wrong("were not written"),
    "out_of_bounds": wrong("wrote out of bounds of out"),
    "python_answers_when_asked": wrong("call 0: off by nan", "witness"),
    "python_caches_by_pointer": wrong("on other inputs"),
    "python_caches_by_shape": wrong("on other inputs"),
    "python_caches_by_value": RIGHT,  # no input comes twice: it keeps what it never needs
    "python_calls_an_operator_of_sdpa": BORROWED,
    "python_calls_sdpa": BORROWED,
    "python_computes_in_bfloat16": wrong("elementwise tolerance"),
    "python_computes_in_float16": wrong("elementwise tolerance"),
    "python_forges_every_reply": wrong("call 0: off by", "witness"),
    "python_forges_the_reply": CONTRADICTED,
    "python_hides_sdpa": RIGHT,  # and as fast as SDPA, which is not faster
    "python_knows_when_it_is_timed": wrong("the timed output is off", "trial"),
    "python_lazy_tensor": wrong("replaced out (type)"),
    "python_makes_up_times": crashes("another plan", "trial"),
    "python_patches_comparisons": wrong("call 0: off by", "witness"),
    "python_patches_the_checks": wrong("call 0: off by", "witness"),
    "python_patches_the_clock": CONTRADICTED,
    "python_peeks_at_the_rehearsal": CONTRADICTED,
    "python_patches_the_inputs": wrong("call 0: off by", "witness"),
    "python_reads_the_expected": wrong("elementwise tolerance"),
    "python_reads_the_seed": CONTRADICTED,
    "python_replaces_output": wrong("replaced out"),
    "python_replaces_when_timed": wrong("replaced out", "trial"),
    "python_rewrites_the_judge": crashes("PermissionError"),
    "python_right_for_known_seeds": wrong("elementwise tolerance"),
    "python_right_for_normal_inputs": wrong("on large logits"),
    "python_says_done_early": wrong("off by nan", "witness"),
    "python_slows_the_baseline": CONTRADICTED,
    "python_sniffs_the_environment": wrong("elementwise tolerance"),
    "python_speaks_for_the_server": crashes("is not a record"),
    "python_spoils_sdpa": wrong("call 0: off by", "witness"),
    "python_steals_the_token": crashes("PermissionError"),
    "python_stops_its_parent": crashes("PermissionError"),
    "python_works_while_poisoned": CONTRADICTED,
    "python_writes_to_the_witness": crashes("PermissionError"),
    "returns_early": wrong("were not written"),
    "right_for_one_length": wrong("elementwise tolerance"),
    "sniffs_the_witness": wrong("off by nan", "witness"),
    "stale_output": wrong("on other inputs"),
    "traces_its_parent": crashes("returned 101"),  # 100 + EPERM
    "writes_before_its_output": wrong("wrote out of bounds of out"),
    "writes_beside_workspace": wrong("wrote out of bounds of workspace"),
}
CUDA_CONTROLS = {
    "cuda_honest": RIGHT,
    "cuda_honest_kernel": RIGHT,
    "cuda_waits_for_the_device": RIGHT,
}
CUDA_FAULTS = {
    "cuda_device_assert": crashes("device-side assert"),
    "cuda_hung_kernel": ("check", Status.TIMED_OUT, FAILED, "did not end within"),
    "cuda_illegal_address": crashes("illegal memory access"),
    "cuda_launch_failure": crashes("CUDA error"),
    "cuda_out_of_memory": ("check", Status.OUT_OF_MEMORY, FAILED, "OutOfMemoryError"),
}
CUDA_CHEATS = {
    "cuda_computes_in_bfloat16": wrong("elementwise tolerance"),
    "cuda_deferred": wrong("repeatable"),
    "cuda_hooks_the_events": ("witness", Status.OK, UNDECIDED, "device clock -50"),
    "cuda_idle_in_graphs": wrong("the timed output is off", "trial"),
    "cuda_no_write": wrong("were not written"),
    "cuda_replayed_output": wrong("elementwise tolerance"),
    "cuda_says_done_early": wrong("off by nan", "witness"),
    "cuda_side_stream": wrong("the timed output is off", "trial"),
    "cuda_works_while_poisoned": wrong("call 0: off by nan", "witness"),
    "cuda_writes_past_its_output": wrong("wrote out of bounds of out"),
    "python_calls_sdpa": BORROWED,
    "python_patches_the_checks": wrong("call 0: off by", "witness"),
    "python_patches_the_clock": ("witness", Status.OK, UNDECIDED, "device clock -"),
}
EXPECTED = {**CONTROLS, **FAULTS, **CHEATS}
EXPECTED_ON_CUDA = {**CUDA_CONTROLS, **CUDA_FAULTS, **CUDA_CHEATS}

BRIEF = {"endless_loop": {"check_s": 1.0}}
"""Limits of those that run until they are ended."""
WORKLOADS = {
    # of the tiny one a batch has hundreds of calls, and all are verified
    **dict.fromkeys(
        (name for name in CHEATS if CHEATS[name] == CONTRADICTED), examples.workload(heads=4, seq_len=256)
    ),
    "right_for_one_length": examples.workload(seq_len=65),  # and not the one for which it is right
}
LANDLOCK_ABI = {
    "kills_its_parent": 6,
    "python_rewrites_the_judge": 2,
    "python_steals_the_token": 2,
    "python_stops_its_parent": 6,
    "python_writes_to_the_witness": 2,
    "traces_its_parent": 2,
}
"""The least that stops these: on an older kernel nothing does, and some would end the tests themselves."""


def unstoppable(name: str) -> str:
    """Why nothing stops a cheat here, if so (docs/security.md)."""
    needed = LANDLOCK_ABI.get(name, 0)
    if needed > landlock_abi():
        return f"this kernel has no Landlock of ABI {needed}"
    return ""


def measured(session: Session, name: str) -> Measurement:
    """One of the table, on the CPU."""
    limits = examples.limits(**BRIEF.get(name, {}))
    small = replace(session, settings=replace(session.settings, limits=limits))
    return measure_candidate(
        small, find_candidate(name, examples.ADVERSARIAL), (WORKLOADS.get(name, examples.workload()),)
    )


def stages(measurement: Measurement) -> list[tuple[str, Status, str]]:
    """(stage, status, message) of every stage that was reached."""
    found: list[tuple[str, Build | Correctness | Trial | Witness | None]] = [("build", measurement.build)]
    for evaluation in measurement.evaluations:
        found += [("check", evaluation.correctness), ("trial", evaluation.trial), ("witness", evaluation.witness)]
    return [(name, stage.status, stage.message) for name, stage in found if stage is not None]
