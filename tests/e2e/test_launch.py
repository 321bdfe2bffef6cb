"""How an action becomes a command: on a Python that has the dependencies, and never Kernel Gate."""

import functools
import os
import re
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from gate.records import Outcome
from gate.storage import write_record
from gate.verdict.evidence_file import load_evidence
from scripts.extras import NEEDS
from tests.e2e.actrun import runners_environment
from tests.support import examples
from tests.support.bare import ACTIONS, load_action_file
from tests.support.processes import DEADLINE_S

LAUNCH = ACTIONS / "launch.py"


@pytest.fixture
def bare_launch(tmp_path, bare_python):
    """Runs launch.py as an action's step does on a runner that has seen no job before."""
    (tmp_path / "temp").mkdir()

    def call(*arguments: str, **variables: str):
        given = {"RUNNER_TEMP": str(tmp_path / "temp"), "GITHUB_OUTPUT": str(tmp_path / "output"), **variables}
        command = [bare_python, "-I", str(LAUNCH), *arguments]
        environment = runners_environment() | given
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    return call


@pytest.fixture
def launch(bare_launch, bare_python):
    """The same on an image that has the dependencies, so that no environment is made."""
    return functools.partial(bare_launch, KERNEL_GATE_PYTHON=str(bare_python))


@pytest.fixture
def module(monkeypatch, tmp_path):
    """launch.py as a module; makes virtual environments of two empty files."""
    loaded = load_action_file("launch.py")
    monkeypatch.setenv("RUNNER_TEMP", str(tmp_path))
    loaded.made = []

    def make(folder, wanted, **options):
        loaded.made.append(wanted)
        folder.mkdir()

    loaded.maker = SimpleNamespace(make=make, has_driver=lambda: False)
    return loaded


def one_line(done) -> str:
    """What a launcher that failed says."""
    (line,) = done.stderr.splitlines()
    assert line.startswith("kernel-gate: ")
    return line


@pytest.mark.slow
def test_a_fresh_runner_with_a_torch_of_its_own_measures_without_a_package_index(bare_launch, tmp_path):
    prefix = "KERNEL_GATE_MEASURE_CANDIDATE_"
    options = {"KERNELS": str(examples.ADVERSARIAL), "SHAPES": "1,1,16,32", "DEVICE": "cpu", "REPLICATES": "1",
               "OUT": "cand.json", "BASELINE": "math", "NCU": "none", "OVERRIDES": "measure.rounds=3"}  # fmt: skip
    given = {f"{prefix}{name}": value for name, value in options.items()}
    done = bare_launch("measure-candidate", IMPL="honest", PIP_NO_INDEX="1", PIP_FIND_LINKS="", **given)
    assert done.returncode == 0, done.stderr
    assert load_evidence(tmp_path / "cand.json").impl == "honest"
    assert len(list((tmp_path / "temp").glob("kernel-gate-*/ready"))) == 1


@pytest.mark.parametrize("command", ["plan", "gate"])
def test_a_runner_without_a_network_says_so_in_one_line_and_keeps_nothing(command, bare_launch, tmp_path):
    alone = {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_FIND_LINKS": ""}
    done = bare_launch(command, **alone)
    assert done.returncode == 69
    assert "the package index cannot be reached; check the network" in one_line(done)
    assert not list((tmp_path / "temp").glob("kernel-gate-*/"))


@pytest.mark.parametrize("name", ["RUNNER_TEMP", "KERNEL_GATE_PYTHON"])
def test_a_folder_or_a_python_that_is_not_there_is_named_in_one_line(name, bare_launch, tmp_path):
    done = bare_launch("plan", **{name: str(tmp_path / "absent")})
    assert done.returncode == 69
    assert str(tmp_path / "absent") in one_line(done)
    assert name in one_line(done)


def test_a_launcher_without_a_command_is_a_fault_of_usage(bare_launch):
    done = bare_launch()
    assert done.returncode == 64
    assert "no command" in one_line(done)


def test_options_come_from_the_environment_and_the_exit_code_goes_back(launch, tmp_path):
    write_record(
        tmp_path / "cand.json", examples.run(examples.measurement(examples.evaluation(trial=examples.trial(1.4))))
    )
    done = launch(
        "gate", KERNEL_GATE_GATE_CAND="cand.json", KERNEL_GATE_GATE_OUT="out/run.json", KERNEL_GATE_GATE_SDPA="",
        KERNEL_GATE_GATE_STRICT="", KERNEL_GATE_GATE_ALPHA="0.01", KERNEL_GATE_GATE_OVERRIDES="gates.margin=0.02",
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    run = load_evidence(tmp_path / "out" / "run.json")
    assert run.verdict.outcome is Outcome.REJECTED
    assert (run.policy.alpha, run.policy.margin, run.policy.strict) == (0.01, 0.02, False)
    assert (tmp_path / "output").read_text() == "file=out/run.json\n"


@pytest.mark.parametrize(("text", "strict"), [("true", True), ("false", False), ("", False)])
def test_a_flag_is_true_false_or_left_out(text, strict, launch, tmp_path):
    write_record(tmp_path / "cand.json", examples.run())
    launch("gate", KERNEL_GATE_GATE_CAND="cand.json", KERNEL_GATE_GATE_STRICT=text, KERNEL_GATE_GATE_OUT="run.json")
    assert load_evidence(tmp_path / "run.json").policy.strict is strict


def test_a_judge_that_refuses_leaves_no_page_of_an_earlier_job(launch, tmp_path):
    (tmp_path / "report.html").write_text("older")
    done = launch("gate", KERNEL_GATE_GATE_CAND="absent.json", KERNEL_GATE_GATE_REPORT="report.html")
    assert done.returncode == 64
    assert not (tmp_path / "report.html").exists()


def test_several_shapes_are_separated_by_spaces(launch):
    done = launch("measure-candidate", IMPL="x", KERNEL_GATE_MEASURE_CANDIDATE_SHAPES="1,8,512,64 broken")
    assert done.returncode == 64


def test_a_path_of_several_lines_sets_no_second_output(launch, tmp_path):
    done = launch("gate", KERNEL_GATE_GATE_CAND="x", KERNEL_GATE_GATE_OUT="a\noutcome=pass")
    assert done.returncode == 64
    assert "more than one line" in one_line(done)
    assert not (tmp_path / "output").exists()


def test_a_module_in_the_working_folder_is_not_imported(launch, tmp_path):
    for name in ("click.py", "gate.py", "json.py", "scripts.py"):
        (tmp_path / name).write_text("raise SystemExit(99)\n")
    assert launch("gate", "--help").returncode == 0


def test_an_environment_is_made_once_and_found_by_what_is_in_it(module):
    assert module.environment("plan", module.maker) == module.environment("comment", module.maker)
    assert len(module.made) == 1
    module.environment("run", module.maker)
    assert len(module.made) == 2


def test_an_environment_that_was_left_half_made_is_made_anew(module):
    folder = module.environment("plan", module.maker).parents[1]
    (folder / "ready").unlink()
    module.environment("plan", module.maker)
    assert len(module.made) == 2


def test_nothing_stays_of_an_environment_that_could_not_be_made(module, tmp_path):
    def fails(folder, wanted, **options):
        folder.mkdir()
        raise OSError("no space")

    module.maker.make = fails
    with pytest.raises(OSError, match="no space"):
        module.environment("plan", module.maker)
    assert not list(tmp_path.glob("kernel-gate-*/"))


def test_a_second_job_waits_for_the_environment_that_the_first_one_makes(module, monkeypatch):
    (other,) = {each.with_suffix(".lock") for each in [module.environment("plan", module.maker).parents[1]]}
    waits = threading.Event()
    monkeypatch.setattr(module, "print", lambda *said, **options: waits.set(), raising=False)
    with ThreadPoolExecutor(1) as pool:
        with module.locked(other):
            second = pool.submit(module.environment, "plan", module.maker)
            assert waits.wait(DEADLINE_S)
            assert not second.done()
        second.result(DEADLINE_S)
    assert len(module.made) == 1


def test_a_temporary_folder_of_somebody_else_is_refused(module, monkeypatch, tmp_path, capsys):
    monkeypatch.delenv("RUNNER_TEMP")
    monkeypatch.setattr(module.tempfile, "gettempdir", lambda: str(tmp_path))
    assert module.temporary().stat().st_mode & 0o077 == 0
    (tmp_path / f"kernel-gate-{os.getuid() + 1}").mkdir()
    monkeypatch.setattr(module.os, "getuid", functools.partial(int, os.getuid() + 1))
    with pytest.raises(SystemExit) as ended:
        module.temporary()
    assert ended.value.code == 69
    assert "belongs to somebody else" in capsys.readouterr().err


def test_only_measuring_needs_torch_and_a_compiler(module):
    deciding, commenting, judging, measuring = (
        {re.split(r"[<>=; \[]", each)[0] for each in module.requirements(command)}
        for command in ("required", "comment", "gate", "run")
    )
    assert deciding == {"click", "jinja2", "numpy", "pydantic", "scipy", "tabulate"}
    assert commenting - deciding == {"PyGithub"}
    assert judging - deciding == {"matplotlib"}
    assert measuring - judging == {
        "torch", "filelock", "ninja", "nvidia-ml-py", "platformdirs", "pyelftools", "setuptools",
    }  # fmt: skip


def test_all_commands_that_measure_find_one_environment(module):
    wanted = {tuple(module.requirements(command)) for command, extras in NEEDS.items() if "measure" in extras}
    assert len(wanted) == 1


def test_every_package_of_the_hosted_judge_is_pinned(module):
    pinned = {line.partition("==")[0].lower() for line in module.CONSTRAINTS.read_text().splitlines() if "==" in line}
    wanted = {
        re.split(r"[<>=; \[]", each)[0].lower()
        for command in ("plan", "gate", "comment", "withdraw", "required")
        for each in module.requirements(command)
    }
    assert wanted <= pinned
