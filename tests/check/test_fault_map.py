"""Where an answer is wrong, found and shown."""

import math
from dataclasses import replace

import pytest
import torch

from gate.check.fault_map import locate_fault
from gate.records import Workload
from gate.records.correctness import block_size
from gate.report.fault_map import LEGEND, fault_text

WORKLOAD = Workload(2, 4, 64, 32)


@pytest.fixture
def excess():
    """An answer that is right everywhere, in limits."""
    return torch.full(WORKLOAD.shape, 0.5, dtype=torch.float64)


def maps(text: str) -> list[list[str]]:
    """The lines of each map in a text."""
    found: list[list[str]] = [[]]
    for line in text.splitlines():
        if line.startswith("  "):
            found[-1].append(line.strip())
        elif found[-1]:
            found.append([])
    return [each for each in found if each]


def test_an_answer_within_its_limits_has_no_fault(excess):
    excess[0, 0, 0, 0] = 1.0
    assert locate_fault(excess) is None


def test_the_worst_head_and_its_rows_and_columns_are_named(excess):
    excess[0, 1, 5, 3] = 2.0
    excess[1, 2, 40:48, 7:9] = 9.0
    fault = locate_fault(excess)
    assert (fault.batch, fault.head, fault.wrong_heads) == (1, 2, 2)
    assert (fault.rows, fault.columns) == ((40, 47), (7, 8))


def test_a_map_shows_the_worst_of_each_block(excess):
    excess[1, 2, 60, :] = 50.0
    excess[1, 2, 61, 0] = 500.0
    heads, rows = maps(fault_text(locate_fault(excess), WORKLOAD))
    assert heads == ["....", "..#."]
    assert rows[:15] == ["." * 16] * 15
    assert rows[15] == "#" + "x" * 15


@pytest.mark.parametrize(
    ("error", "mark"), [(1.5, "+"), (10.0, "+"), (11.0, "x"), (1e6, "#"), (math.inf, "N"), (math.nan, "N")]
)
def test_a_mark_tells_by_how_much(error, mark, excess):
    excess[0, 0, 0, 0] = error
    text = fault_text(locate_fault(excess), WORKLOAD)
    assert LEGEND in text
    assert [each[0][0] for each in maps(text)] == [mark, mark]


def test_what_is_not_a_number_is_worse_than_any_error(excess):
    excess[0, 0] = 1e300
    excess[1, 3, 2, 2] = math.nan
    fault = locate_fault(excess)
    assert (fault.batch, fault.head) == (1, 3)
    assert fault.by_head[1][3] is None


@pytest.mark.parametrize(("length", "size"), [(1, 1), (16, 1), (17, 2), (64, 4), (65, 5), (1023, 64)])
def test_no_map_is_wider_than_16(length, size):
    assert block_size(length) == size
    assert math.ceil(length / size) <= 16


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (1, 1, 17, 32), (33, 17, 203, 40)])
def test_the_last_element_is_in_the_last_block_of_any_shape(shape):
    excess = torch.zeros(shape)
    excess[-1, -1, -1, -1] = 3.0
    drawn = maps(fault_text(locate_fault(excess), Workload(*shape)))
    assert len(drawn) == (1 if shape[:2] == (1, 1) else 2)
    for each in drawn:
        assert each[-1][-1] == "+"
        assert "".join(each).count("+") == 1


def test_a_single_head_needs_no_map_of_heads():
    excess = torch.full((1, 1, 4, 4), 7.0)
    assert len(maps(fault_text(locate_fault(excess, "on other inputs"), Workload(1, 1, 4, 4)))) == 1
    assert "on other inputs" in fault_text(locate_fault(excess, "on other inputs"), Workload(1, 1, 4, 4))


@pytest.mark.parametrize("grid", [(), ((),), ((1.0,) * 17,), ((1.0,),) * 17])
def test_a_map_of_another_size_is_no_fault(grid, excess):
    excess[0, 0, 0, 0] = 2.0
    fault = locate_fault(excess)
    for field in ("by_head", "by_row"):
        with pytest.raises(ValueError, match="1 to 16"):
            replace(fault, **{field: grid})
