"""From a case that fails to a smallest one: what is found, and in how many steps."""

import pytest

from gate.check.shrink import shrink
from gate.records import Case, Workload

LARGE = Case(Workload(48, 16, 640, 128, "float16", causal=True), "large_logits", "padded_rows")

# What fails, and the smallest such case.
BUGS = {
    "always": (lambda case: True, Case(Workload(1, 1, 1, 1))),
    "more than 512 rows": (lambda case: case.workload.seq_len > 512, Case(Workload(1, 1, 513, 1))),
    "more than one batch": (lambda case: case.workload.batch > 1, Case(Workload(2, 1, 1, 1))),
    "at least 5 heads": (lambda case: case.workload.heads >= 5, Case(Workload(1, 5, 1, 1))),
    "only wide heads": (lambda case: case.workload.head_dim > 32, Case(Workload(1, 1, 1, 64))),
    "only with a mask": (lambda case: case.workload.causal, Case(Workload(1, 1, 1, 1, causal=True))),
    "only with gaps": (lambda case: case.layout == "padded_rows", Case(Workload(1, 1, 1, 1), layout="padded_rows")),
    "only on large logits": (
        lambda case: case.distribution == "large_logits", Case(Workload(1, 1, 1, 1), "large_logits"),
    ),
    "a mask over more than one tile": (
        lambda case: case.workload.causal and case.workload.seq_len > 64, Case(Workload(1, 1, 65, 1, causal=True)),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("fails", "smallest"), BUGS.values(), ids=BUGS)
def test_a_bug_is_shrunk_to_the_smallest_case_that_shows_it(fails, smallest):
    assert shrink(LARGE, fails) == smallest


def test_no_case_is_tried_twice_and_few_are_tried():
    tried = []

    def fails(case):
        tried.append(case)
        return case.workload.seq_len > 512

    shrink(LARGE, fails)
    assert len(tried) == len(set(tried)) < 25
    assert LARGE not in tried


def test_only_head_sizes_that_are_supported_are_tried():
    tried = []

    def fails(case):
        tried.append(case.workload.head_dim)
        return True

    assert shrink(LARGE, fails, head_dims=(128, 64)).workload.head_dim == 64
    assert set(tried) == {128, 64}


def test_what_fails_at_a_ragged_end_alone_ends_at_a_case_that_fails():
    def fails(case):
        return case.workload.seq_len % 64 != 0

    found = shrink(Case(Workload(2, 2, 1023, 64)), fails)
    assert fails(found)
    assert found.workload.seq_len < 64
