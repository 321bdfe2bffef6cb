"""Text from outside is shown and changes nothing."""

import pytest

from gate.text import inert
from tests.support.runner_log import HOSTILE, obeyed


def test_no_word_of_a_text_is_a_command_to_githubs_runner():
    assert len(obeyed(HOSTILE)) == 4
    assert obeyed(inert(HOSTILE)) == []


@pytest.mark.parametrize(
    "text", [":::error::x", "::\n::\n::", "###[error]", "##[##[error]", "\x85\t::x::", "\r\r::x::"]
)
def test_neither_is_one_that_is_made_of_many(text):
    assert obeyed(text)
    assert obeyed(inert(text)) == []


def test_it_can_still_be_read():
    assert inert("::error::x ##[error]") == ": :error::x ## [error]"


def test_made_inert_twice_it_stays_the_same():
    assert inert(inert(HOSTILE)) == inert(HOSTILE)


@pytest.mark.parametrize("text", ["", "std::max(a, b) ## heading [1]", "kernel.cu(7): error: std::max\n  | ^\n"])
def test_all_else_is_left_alone(text):
    assert inert(text) == text
