"""What compute-sanitizer says, read from recorded words and from a program that stands in for it."""

import os
import re
import stat
import sys

import pytest

from gate.candidates.registry import find_candidate
from gate.check import sanitizer, sanitizer_target
from gate.check.sanitizer import (
    Sanitized,
    SanitizerReport,
    SanitizerRequest,
    find_sanitizer,
    read_output,
    run_sanitizer,
    small_cases,
)
from gate.errors import BadInputError, UnfitEnvironmentError
from gate.records import Case, Status, Workload
from gate.report.checks import sanitizer_table
from gate.runtime.device import open_device
from tests.support import examples

RAN = "kernel-gate: ran 4 of 4 cases\n"
CLEAN = f"========= COMPUTE-SANITIZER\n{RAN}========= ERROR SUMMARY: 0 errors\n"
NO_RACE = (
    f"========= COMPUTE-SANITIZER\n{RAN}========= RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)\n"
)
MEMCHECK = """========= COMPUTE-SANITIZER
========= Invalid __global__ write of size 4 bytes
=========     at attend(float *)+0x160 in attention.cu:61
=========     by thread (0,0,0) in block (0,0,0)
=========     Access at 0x7f1e8a600400 is out of bounds
=========     Saved host backtrace up to driver entry point at kernel launch time
=========         Host Frame: cudaLaunchKernel [0x5c1b] in libattention.so
=========
========= Invalid __shared__ read of size 16 bytes
=========     at attend(float *)+0x210 in attention.cu:77
=========     by thread (3,0,0) in block (0,0,0)
=========
========= Program hit cudaErrorLaunchFailure (error 719) due to "unspecified launch failure" on CUDA API call.
=========     Saved host backtrace up to driver entry point at error
=========
========= Target application returned an error
========= ERROR SUMMARY: 3 errors
"""
RACECHECK = f"""========= COMPUTE-SANITIZER
========= Error: Race reported between Write access at attend(float *)+0x90 in attention.cu:27
=========     and Read access at attend(float *)+0x100 in attention.cu:39 [504 hazards]
=========
{RAN}========= RACECHECK SUMMARY: 1 hazard displayed (1 error, 0 warnings)
"""
WARNED = f"{RAN}========= RACECHECK SUMMARY: 2 hazards displayed (0 errors, 2 warnings)\n"
NOT_STARTED = """========= COMPUTE-SANITIZER
Traceback (most recent call last):
ModuleNotFoundError: No module named 'gate'
========= Error: No attachable process found. compute-sanitizer timed-out.
"""
FAILED_ALONE = "========= COMPUTE-SANITIZER\nCandidateError: no kernel\n========= ERROR SUMMARY: 0 errors\n"


@pytest.mark.parametrize(
    ("output", "errors"),
    [(CLEAN, 0), (NO_RACE, 0), (MEMCHECK, 3), (RACECHECK, 1), (WARNED, 0), (MEMCHECK + CLEAN, 3), (NOT_STARTED, None),
     (FAILED_ALONE, None), ("", None)],
    ids=["clean", "no race", "memcheck", "racecheck", "warnings", "two processes", "not started", "program failed",
         "silent"],
)  # fmt: skip
def test_the_summary_is_read(output, errors):
    assert read_output("memcheck", output).errors == errors


def test_findings_name_what_and_where():
    assert read_output("memcheck", MEMCHECK).findings[:2] == (
        "Invalid __global__ write of size 4 bytes at attend(float *)+0x160 in attention.cu:61",
        "Invalid __shared__ read of size 16 bytes at attend(float *)+0x210 in attention.cu:77",
    )
    assert read_output("racecheck", RACECHECK).findings == (
        "Error: Race reported between Write access at attend(float *)+0x90 in attention.cu:27",
    )
    assert read_output("memcheck", CLEAN).findings == ()


def test_what_came_to_no_end_is_no_pass_and_says_its_last_words():
    seen = read_output("memcheck", NOT_STARTED)
    assert (seen.errors, seen.status) == (None, Status.CRASHED)
    assert "No attachable process" in seen.message


def report(*tools: Sanitized) -> SanitizerReport:
    return SanitizerReport("made_up", examples.build(), (Case(examples.workload()),), tools)


@pytest.mark.parametrize(("errors", "code"), [((0, 0), 0), ((0, 2), 1), ((None, 0), 3), ((None, 2), 1)], ids=str)
def test_the_exit_code_tells_errors_from_tools_that_came_to_no_end(errors, code):
    seen = report(*(Sanitized("memcheck", each, message="came to no end") for each in errors))
    assert seen.exit_code == code


def test_the_table_has_a_row_a_tool_and_every_finding():
    text = sanitizer_table(report(read_output("memcheck", MEMCHECK), read_output("initcheck", CLEAN)))
    assert "attention.cu:61" in text
    assert [line.split()[:3] for line in text.splitlines()[2:4]] == [
        ["memcheck", "incorrect", "3"],
        ["initcheck", "ok", "0"],
    ]


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """Puts a program on the PATH that says `words`, and then runs what it is to watch."""

    def make(words: str = "") -> str:
        path = tmp_path / "bin" / "compute-sanitizer"
        path.parent.mkdir()
        path.write_text(
            f"#!{sys.executable}\nimport subprocess, sys\n"
            "assert sys.argv[1] == '--tool' and sys.argv[3:5] == ['--target-processes', 'application-only']\n"
            f"print({words!r}, end='', flush=True)\n"
            "sys.exit(subprocess.run(sys.argv[5:]).returncode)\n"
        )
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", str(path.parent), prepend=os.pathsep)
        return str(path)

    return make


def test_a_tool_runs_the_program_and_both_are_heard(server, fake):
    seen = run_sanitizer(server, fake(CLEAN.replace(RAN, "")), "memcheck", [sys.executable, "-c", f"print({RAN!r})"])
    assert (seen.errors, seen.status) == (0, Status.OK)


def test_a_program_that_does_not_end_is_killed(server, fake):
    seen = run_sanitizer(
        server, fake(), "memcheck", [sys.executable, "-c", "import time; time.sleep(600)"], limit_s=1.0
    )
    assert seen.errors is None
    assert re.fullmatch(r"compute-sanitizer did not end within \d+ s and was killed", seen.message)


def test_a_candidate_is_built_and_run_under_every_tool(fake, session, monkeypatch):
    program = fake(CLEAN.replace(RAN, ""))
    monkeypatch.setattr(sanitizer, "HARNESS", [sys.executable, "-c", f"print({RAN!r})"])
    seen = sanitizer.sanitize(session, find_candidate("python_honest", examples.ADVERSARIAL), "float32", program)
    assert [(each.tool, each.errors) for each in seen.tools] == [(tool, 0) for tool in sanitizer.TOOLS]
    assert seen.exit_code == 0


def test_what_does_not_build_is_not_run(fake, session):
    seen = sanitizer.sanitize(session, find_candidate("does_not_compile", examples.ADVERSARIAL), "float32", fake())
    assert (seen.tools, seen.exit_code) == ((), 3)


def test_the_small_program_calls_the_candidate_on_every_case(capfd):
    source = examples.ADVERSARIAL / "python_honest" / "kernel.py"
    cases = tuple(Case(Workload(1, 2, seq_len, 32, "float32")) for seq_len in (8, 17))
    sanitizer_target.call_cases(SanitizerRequest("python_honest", str(source), cases), open_device("cpu"))
    assert capfd.readouterr().out == "kernel-gate: ran 2 of 2 cases\n"


def test_cases_are_small_and_only_what_the_candidate_supports():
    half = small_cases(find_candidate("triton", examples.ADVERSARIAL.parents[2] / "kernels"), "float16")
    assert {each.workload.causal for each in half} == {False, True}
    assert any(each.workload.seq_len % 2 for each in half)
    assert all(each.workload.bytes < 1 << 20 for each in half)
    assert small_cases(find_candidate("python_honest", examples.ADVERSARIAL), "float16") == ()


def test_where_it_is_absent_the_remedy_is_named(no_cuda_tools):
    with pytest.raises(UnfitEnvironmentError, match="CUDA toolkit"):
        find_sanitizer()


def test_it_watches_nothing_on_a_cpu():
    with pytest.raises(BadInputError, match="GPU"):
        find_sanitizer("cpu")


def test_the_command_ends_with_69_and_one_line_where_it_is_absent(no_cuda_tools, kernel_gate):
    answer = kernel_gate("fuzz", "--impl", "cuda_honest", "--kernels", examples.ADVERSARIAL, "--sanitize")
    assert answer.code == 69
    assert "compute-sanitizer" in answer.complaint
