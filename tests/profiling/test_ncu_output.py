"""What ncu wrote becomes counters; what it could not read is absent, and never zero."""

from types import SimpleNamespace

import pytest

from gate.analysis import counters as analysis_counters
from gate.analysis.counters import METRICS, choose_metrics, named_counters
from gate.profiling import ncu
from gate.profiling.collect import by_call
from gate.profiling.ncu_output import read_csv, read_ncu_report
from gate.records import KernelCounters, Status
from tests.support import profiles
from tests.support.profiles import FULL, OURS

LISTING = """\
Device NVIDIA H200 (GH100)
-------------------------- ----------- --------------- -----------
Metric Name                Metric Type Metric Unit     Metric Description
-------------------------- ----------- --------------- -----------
gpu__time_duration         Counter     nsecond         incremental duration in nanoseconds
smsp__inst_executed        Counter     inst            # of warp instructions executed
"""


@pytest.fixture
def launches():
    return read_csv(FULL.read_text())


def table(*rows: str, units: str = '"","","","","ns"') -> str:
    header = '"ID","Kernel Name","Block Size","Grid Size","gpu__time_duration.sum"'
    return "\n".join(("==PROF== Connected", header, units, *rows))


def test_every_launch_of_a_recorded_profile_is_read(launches):
    assert [len(call) for call in by_call(launches)] == [2, 1, 1, 0]
    split = by_call(launches)[0][0]
    assert (split.grid, split.block) == ((8, 2, 8), (128, 1, 1))
    assert "flash_fwd_splitkv_kernel" in split.kernel
    assert split.metrics["dram__sectors_read.sum"] == 51_288


def test_numbers_with_thousands_and_fractions_are_read(launches):
    combine = by_call(launches)[0][1]
    assert combine.metrics["gpu__time_duration.sum"] == 5920
    assert combine.metrics["lts__t_sector_hit_rate.pct"] == 28.66


def test_a_counter_without_a_number_is_absent(launches):
    assert all("derived_tempMetric4" not in each.metrics for each in launches)  # nan in the file
    assert all("launch__func_cache_config" not in each.metrics for each in launches)  # a word


@pytest.mark.parametrize(("unit", "ns"), [("ns", 7.65), ("us", 7650.0), ("usecond", 7650.0), ("ms", 7.65e6)])
def test_values_come_in_base_units(unit, ns):
    text = table('"0","attend","(1, 1, 1)","(2, 1, 1)","7.65"', units=f'"","","","","{unit}"')
    assert read_csv(text)[0].metrics == {"gpu__time_duration.sum": pytest.approx(ns)}


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "n/a", ""])
def test_what_is_no_finite_number_is_absent(value):
    assert read_csv(table(f'"0","attend","(1, 1, 1)","(2, 1, 1)","{value}"'))[0].metrics == {}


@pytest.mark.parametrize("text", ["", "==ERROR== ERR_NVGPUCTRPERM", '"ID"', table()])
def test_no_launches_are_read_where_there_are_none(text):
    assert read_csv(text) == []


def test_a_line_that_was_cut_off_is_passed_over():
    whole = '"0","attend","(1, 1, 1)","(2, 1, 1)","5"'
    assert len(read_csv(table(whole, '"1","att'))) == 1


def test_every_counter_of_the_full_set_is_found_but_one(launches):
    counters = named_counters(by_call(launches)[2][0].metrics)
    assert set(counters) == {each.name for each in METRICS} - {"tensor_instructions"}  # percentages of it alone


def test_every_counter_of_our_own_set_is_found():
    ((kernel,),) = by_call(read_csv(OURS.read_text()))
    counters = named_counters(kernel.metrics)
    assert "wmma::forward" in kernel.kernel
    assert (kernel.grid, kernel.block) == ((1024, 1, 1), (128, 1, 1))
    assert set(counters) == {each.name for each in METRICS}
    assert (counters["duration_ns"], counters["registers"], counters["tensor_instructions"]) == (
        63_040,
        233,
        4_194_304,
    )


def test_another_set_of_metrics_is_read_under_the_same_names():
    older = {
        "sm__pipe_tensor_op_hmma_cycles_active.avg.pct_of_peak_sustained_elapsed": 40.0,
        "sm__inst_executed_pipe_tensor_op_hmma.sum": 5.0,
        "sm__inst_executed_pipe_tensor_op_gmma.sum": 3.0,
        "smsp__average_warps_issue_stalled_no_instructions_per_issue_active.ratio": 0.2,
    }
    assert named_counters(older) == {"tensor_pct": 40.0, "tensor_instructions": 8.0, "stall: instruction cache": 0.2}


def test_the_listing_of_known_metrics_is_read():
    assert ncu.names_in(LISTING) == {"gpu__time_duration", "smsp__inst_executed"}


def test_the_first_known_spelling_is_asked_for():
    chosen = choose_metrics({"gpu__time_duration", "sm__inst_executed_pipe_tensor_op_hmma", "sm__inst_executed"})
    assert chosen.spellings["tensor_instructions"] == ("sm__inst_executed_pipe_tensor_op_hmma.sum",)
    assert chosen.spellings["instructions"] == ("sm__inst_executed.sum",)
    assert chosen.spellings["registers"] == ("launch__registers_per_thread",)  # never listed
    assert "l2_hit_pct" in chosen.missing


def test_without_a_listing_everything_is_asked_for():
    assert choose_metrics(()).missing == ()


def test_what_was_refused_is_spelled_otherwise():
    chosen = choose_metrics((), {"sm__inst_executed_pipe_tensor.sum", "gpu__time_duration.sum"})
    assert chosen.spellings["tensor_instructions"][0] == "sm__inst_executed_pipe_tensor_op_hmma.sum"
    assert "duration_ns" in chosen.missing


def test_every_name_is_asked_for_once():
    asked = choose_metrics(()).asked
    assert len(asked) == len(set(asked))


def test_what_no_kernel_has_is_missing():
    assert analysis_counters.absent_counters([{"duration_ns": 1.0}, {"tensor_pct": 1.0}])[:2] == (
        "instructions",
        "tensor_instructions",
    )


def test_a_recorded_profile_is_a_record():
    seen = profiles.recorded(0)
    assert seen.status is Status.OK
    assert [each.counters["duration_ns"] for each in seen.kernels] == [7648.0, 5920.0]


def test_a_counter_that_is_not_finite_is_refused():
    with pytest.raises(ValueError, match="a count lies between"):
        KernelCounters("attend", (1,), (1,), {"tensor_pct": float("nan")})


class Action:
    """As `ncu_report` shows a launch."""

    NameBase_DEMANGLED = 1

    def __init__(self, **metrics):
        self._metrics = {name.replace("9", "."): value for name, value in metrics.items()}

    def name(self, base):
        return "attend<64>"

    def metric_names(self):
        return list(self._metrics)

    def metric_by_name(self, name):
        value, unit = self._metrics[name]
        return SimpleNamespace(value=lambda: value, unit=lambda: unit)


def test_a_report_is_read_like_the_csv(tmp_path, monkeypatch):
    action = Action(
        gpu__time_duration9sum=(7.648, "us"), launch__grid_dim_x=(8, ""), launch__block_dim_x=(128, ""),
        launch__func_cache_config=("none", ""), dram__sectors_read9sum=(float("nan"), "sector"),
    )  # fmt: skip
    actions = SimpleNamespace(num_actions=lambda: 1, action_by_idx=lambda _: action)
    report = SimpleNamespace(num_ranges=lambda: 1, range_by_idx=lambda _: actions)
    module = SimpleNamespace(load_report=lambda path: report)
    monkeypatch.setitem(__import__("sys").modules, "ncu_report", module)
    (launch,) = read_ncu_report(tmp_path / "report.ncu-rep")
    assert (launch.kernel, launch.grid, launch.block) == ("attend<64>", (8, 1, 1), (128, 1, 1))
    assert launch.metrics["gpu__time_duration.sum"] == pytest.approx(7648)
    assert "dram__sectors_read.sum" not in launch.metrics
