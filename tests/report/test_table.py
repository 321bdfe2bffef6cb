"""What the commands print."""

from dataclasses import replace

import pytest

from gate.records import Evaluation, Trace
from gate.report.measurement import times_table
from gate.report.table import table
from tests.support import examples

LONG = "what it is, in more words than a narrow terminal has room for on one line of a table"


@pytest.mark.parametrize("columns", [60, 80, 100])
def test_a_table_is_folded_to_the_width_of_a_terminal_and_loses_nothing(columns, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(columns))
    text = table([("wmma", "100,000", LONG, LONG)], "candidate", "runs on", "here", "what it is")
    assert max(map(len, text.splitlines())) <= columns
    assert text.split().count("narrow") == 2
    assert "wmma" in text


def test_a_table_that_fits_or_is_read_by_a_program_is_not_folded(monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "200")
    assert LONG in table([("wmma", LONG)], "candidate", "what it is")
    monkeypatch.setattr("sys.stdout.isatty", lambda: False)
    monkeypatch.setenv("COLUMNS", "40")
    assert LONG in table([("wmma", LONG)], "candidate", "what it is")


def test_where_sdpa_refuses_the_reason_is_told():
    refused = Evaluation(examples.workload(), traces=(Trace("sdpa:flash", refusal="no kernel for it"),))
    text = times_table(examples.measurement(refused))
    assert "sdpa:flash does not support this workload: no kernel for it; choose another shape or dtype" in text


def test_the_times_are_of_the_trial_that_is_judged_and_the_other_is_summed_up():
    chosen = replace(examples.evaluation(), sdpa=examples.sdpa_trial())
    lines = times_table(examples.measurement(chosen)).splitlines()
    assert len([line for line in lines if " empty " in line]) == 1
    assert any(line.startswith("fastest at ") for line in lines)
