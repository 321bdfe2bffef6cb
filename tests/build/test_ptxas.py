from dataclasses import replace

import pytest

from gate.build import ptxas
from gate.build.ptxas import Directives, read_directives, read_ptxas
from gate.records import KernelResources, ResourceLimits

# nvcc 13.0, two architectures: a template that spills, and one that calls a function that is not inlined.
REPORT = """\
$ nvcc -c kernel.cu
kernel.cu(3): warning #177-D: variable "x" was declared but never referenced
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '_Z6attendILi64EEvPfP6__half' for 'sm_89'
ptxas info    : Function properties for _Z6attendILi64EEvPfP6__half
    408 bytes stack frame, 780 bytes spill stores, 800 bytes spill loads
ptxas info    : Used 64 registers, used 1 barriers, 408 bytes cumulative stack size, 256 bytes smem, 360 bytes cmem[0]
ptxas info    : Compile time = 43.240 ms
ptxas info    : Compiling entry function 'plain' for 'sm_89'
ptxas info    : Function properties for plain
    256 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 48 registers, used 0 barriers, 256 bytes cumulative stack size, 364 bytes cmem[0]
ptxas info    : Function properties for _Z6helperPfi
    16 bytes stack frame, 4 bytes spill stores, 8 bytes spill loads
ptxas info    : Function properties for __internal_trig_reduction_slowpathd
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'plain' for 'sm_90a'
ptxas info    : Function properties for plain
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 40 registers, used 0 barriers
"""
PTX = """\
.version 9.0
.target sm_89
.address_size 64
.visible .entry _Z6attendILi64EEvPfP6__half(
	.param .u64 .ptr .align 1 _Z6attendILi64EEvPfP6__half_param_0
)
.maxntid 128, 2, 1
.minnctapersm 2
{
	ret;
}
.visible .entry plain(
	.param .u64 plain_param_0
)
{
	ret;
}
"""


@pytest.fixture
def mangled(monkeypatch):
    """A machine without c++filt."""
    monkeypatch.setattr(ptxas.shutil, "which", lambda _: None)


def test_every_kernel_is_read_for_every_architecture(mangled):
    attend, helper, plain, hopper = read_ptxas(REPORT, read_directives([PTX]))
    assert attend == KernelResources("_Z6attendILi64EEvPfP6__half", "8.9", 64, 256, 780, 800, 408, threads=256)
    assert plain == KernelResources("plain", "8.9", 48, 0, 0, 0, 256)
    assert hopper == KernelResources("plain", "9.0a", 40, 0, 0, 0, 0)
    assert helper == KernelResources("_Z6helperPfi", "8.9", None, 0, 4, 8, 16)


def test_they_are_ordered_by_architecture_and_then_by_name(mangled):
    other = "\n".join(
        line.replace("plain", name).replace("sm_90a", sm)
        for name, sm in (("k128", "sm_120"), ("k64", "sm_120"), ("k64", "sm_90"))
        for line in REPORT.splitlines()[-4:]
    )
    seen = [(each.architecture, each.kernel) for each in read_ptxas(other, {})]
    assert seen == [("9.0", "k64"), ("12.0", "k64"), ("12.0", "k128")]


def test_names_are_as_in_the_source_where_they_can_be(monkeypatch):
    if ptxas.shutil.which("c++filt") is None:
        pytest.skip("no c++filt here: apt-get install binutils")
    assert [each.kernel for each in read_ptxas(REPORT, {})] == ["attend<64>", "helper", "plain", "plain"]


def test_a_function_that_takes_neither_registers_nor_stack_of_its_own_is_left_out():
    assert not any("internal" in each.kernel for each in read_ptxas(REPORT, {}))


@pytest.mark.parametrize(
    "log", ["", "nvcc fatal   : no input", "Used 3 registers", REPORT[:400].partition("ptxas")[0]]
)
def test_where_there_is_no_report_there_are_no_kernels(log):
    assert read_ptxas(log, {}) == ()


def test_an_older_ptxas_counts_shared_memory_in_two_parts(mangled):
    old = REPORT.replace("256 bytes smem", "8192+32 bytes smem")
    assert read_ptxas(old, {})[0].shared_bytes == 8224


def test_architectures_of_three_digits_are_read(mangled):
    assert read_ptxas(REPORT.replace("sm_90a", "sm_120f"), {})[-1].architecture == "12.0f"


SAID = """\
kernel.cu:2:17: note: '#pragma message: look
ptxas info    : Compiling entry function 'plain' for 'sm_89'
ptxas info    : Function properties for {name}
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 3 registers, used 0 barriers'
"""


@pytest.mark.parametrize("name", ["_Z6attendILi64EEvPfP6__half", "plain", "nobody"])
@pytest.mark.parametrize("at", range(len(REPORT.splitlines()) + 1))
def test_words_of_a_candidate_that_imitate_a_report_make_nothing_look_better(name, at, mangled):
    lines = REPORT.splitlines()
    imitated = "\n".join([*lines[:at], SAID.format(name=name), *lines[at:]])

    def most(log, what):
        return max(getattr(each, what) or 0 for each in read_ptxas(log, {}))

    for what in ("registers", "shared_bytes", "spill_bytes", "stack_bytes"):
        assert most(imitated, what) == most(REPORT, what)


def test_what_a_candidate_says_after_a_kernels_report_lowers_none_of_its_numbers(mangled):
    used = "ptxas info    : Used 3 registers\n    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads"
    assert read_ptxas(f"{REPORT}{used}", {}) == read_ptxas(REPORT, {})


ATTEND = ("8.9", "_Z6attendILi64EEvPfP6__half")


def test_a_kernels_launch_bounds_are_read():
    assert read_directives([PTX]) == {ATTEND: Directives(256, False), ("8.9", "plain"): Directives(None, False)}


def test_directives_are_those_of_their_architecture():
    other = PTX.replace("sm_89", "sm_90a").replace("128, 2, 1", "64")
    seen = read_directives([PTX, other])
    assert (seen[ATTEND].threads, seen["9.0a", ATTEND[1]].threads) == (256, 64)


def test_a_file_without_device_code_has_no_kernels():
    assert read_directives([PTX.partition(".visible")[0], ""]) == {}


def test_a_kernel_that_is_given_shared_memory_is_told_from_those_that_are_not():
    given = PTX.replace(".visible", ".extern .shared .align 16 .b8 tile[];\n.visible", 1)
    given = given.replace("{\n\tret", "{\n\tmov.u32 %r1, tile;\n}\n\tret", 1)
    seen = read_directives([given])
    assert (seen[ATTEND].dynamic_shared, seen["8.9", "plain"].dynamic_shared) == (True, False)


def test_what_a_function_between_kernels_uses_is_not_the_kernel_befores():
    function = ".extern .shared .align 16 .b8 tile[];\n.func (.param .b32 x) helper(\n)\n{\n\tmov.u32 %r1, tile;\n}\n"
    seen = read_directives([PTX.replace(".visible .entry plain", f"{function}.visible .entry plain")])
    assert not any(each.dynamic_shared for each in seen.values())


def test_where_nothing_says_how_much_shared_memory_is_given_occupancy_is_an_upper_bound(mangled):
    seen = read_ptxas(REPORT, {ATTEND: Directives(256, True)})[0]
    assert (seen.dynamic_shared_bytes, seen.known) == (None, False)
    assert replace(seen, dynamic_shared_bytes=0).known


SPILLING = KernelResources("attend", "8.9", 128, 0, 8, 12, 24, threads=128)


def test_occupancy_is_computed_on_construction():
    assert SPILLING.occupancy == 16 / 48
    assert SPILLING.filled.limited_by == "registers"


def test_an_occupancy_that_contradicts_what_the_kernel_takes_is_refused():
    assert replace(SPILLING, occupancy=16 / 48) == SPILLING
    with pytest.raises(ValueError, match="occupancy"):
        replace(SPILLING, occupancy=0.5)


def test_without_threads_occupancy_is_what_the_registers_alone_allow():
    unbound = replace(SPILLING, threads=None, shared_bytes=99 << 10, occupancy=None)
    assert (unbound.occupancy, unbound.filled.limited_by) == (16 / 48, "registers")
    assert replace(unbound, registers=16, occupancy=None).filled.limited_by == "warps"


def test_dynamic_shared_memory_counts():
    wide = replace(SPILLING, dynamic_shared_bytes=48 << 10, occupancy=None)
    assert (wide.occupancy, wide.filled.limited_by) == (8 / 48, "shared memory")


@pytest.mark.parametrize("changes", [{"registers": None}, {"architecture": "5.2"}])
def test_what_is_no_kernel_and_what_is_unknown_has_no_occupancy(changes):
    assert replace(SPILLING, occupancy=None, **changes).occupancy is None


@pytest.mark.parametrize("changes", [{"registers": -1}, {"threads": 0}, {"threads": 1025}, {"stack_bytes": -4}])
def test_a_kernel_that_makes_no_sense_is_refused(changes):
    with pytest.raises(ValueError, match=r"a count lies|threads"):
        replace(SPILLING, occupancy=None, **changes)


BROKEN = {
    "registers": (ResourceLimits(max_registers=127), "128 registers on 8.9, and may take 127"),
    "spills, stores and loads together": (ResourceLimits(max_spill_bytes=19), "20 bytes of spills"),
    "stack": (ResourceLimits(max_stack_bytes=0), "24 bytes of stack"),
}


@pytest.mark.parametrize(("limits", "words"), BROKEN.values(), ids=BROKEN)
def test_a_limit_is_broken_by_more_than_it_allows(limits, words):
    (line,) = limits.broken_by((SPILLING,))
    assert f"attend takes {words}" in line


def test_a_limit_is_kept_by_as_much_as_it_allows_and_where_there_is_none():
    kept = ResourceLimits(max_registers=128, max_spill_bytes=20, max_stack_bytes=24)
    assert kept.broken_by((SPILLING,)) == ResourceLimits().broken_by((SPILLING,)) == ()
    assert kept.broken_by((replace(SPILLING, registers=None, occupancy=None),)) == ()
