"""The compiler's errors, found in a log of any form."""

import pytest

from gate.github.annotations import annotate
from gate.records import Status
from tests.support import examples


def annotations(log: str) -> list[str]:
    build = examples.build(status=Status.BUILD_FAILED, message="no", log=log, key="", library=None)
    measurement = examples.measurement(build=build, evaluations=())
    return list(annotate(examples.run(measurement)))


@pytest.mark.parametrize(
    ("line", "place", "said"),
    [
        ("kernel.cu(12): error: expected a ;", "kernel.cu,line=12", "expected a ;"),
        ("/builds/x-1/kernel.cpp:7:3: fatal error: no such file", "kernel.cpp,line=7", "no such file"),
        ("In /a b/kernel.cu:3: error: x", "kernel.cu,line=3", "x"),
    ],
)
def test_an_error_of_a_compiler_is_shown_at_its_line(line, place, said):
    (shown,) = annotations(f"compiling\n{line}\ndone")
    assert shown.startswith(f"::error file=kernels/honest/{place},")
    assert shown.endswith(f"::{said}")


@pytest.mark.parametrize("word", ["a", "a1/", "a:1:", "a(1", "1:"])
def test_a_line_of_a_million_characters_is_read_like_any_other(word):
    """With an expression that tries anew from each of them this takes hours."""
    long = word * (1_000_000 // len(word))
    (shown,) = annotations(f"{long}\nkernel.cu(12): error: expected a ;")
    assert "line=12" in shown
