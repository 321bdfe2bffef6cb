"""The command line: exit codes as documented, one line for whatever is expected to go wrong, nothing half-written."""

import contextlib
import itertools
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import click
import pytest

import gate.runtime.device
from gate.doctor.noise import noise_finding
from gate.records import Build, Evaluation, Status, Telemetry, Trial
from gate.records.codec import from_json
from gate.records.diagnosis import Finding
from gate.storage import write_record
from gate.verdict.evidence_file import load_evidence
from scripts import cli
from tests.support import examples
from tests.support.cuda_candidate import CODE as CUDA_CODE
from tests.support.cuda_candidate import needs_nvcc, write_candidate
from tests.support.runner_log import HOSTILE, obeyed

ROOT = Path(__file__).parents[2]
ENTRY = Path(sys.executable).with_name("kernel-gate")
HEAVY = {"torch", "numpy", "scipy"}
KERNELS = ("--kernels", examples.ADVERSARIAL)
HONEST = ("--impl", "honest", *KERNELS)
TINY = ("--shape", "1,2,64,32", "--replicates", 1, "--iters", 1, "--set", "measure.warmup_rounds=0")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """A folder of the test's own: no gate.toml, and nothing to overwrite."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def one_server(server, witness_server, monkeypatch):
    """Commands of this test use the running servers; tests/e2e has them start their own."""
    running = itertools.cycle((server, witness_server))  # in the order of scripts/options.py
    monkeypatch.setattr("gate.sandbox.client.WorkerServer", lambda limits: contextlib.nullcontext(next(running)))


@pytest.fixture
def evidence(tmp_path):
    """Writes a record, and returns its path."""

    def write(record, name: str = "evidence.json") -> Path:
        write_record(tmp_path / name, record)
        return tmp_path / name

    return write


def crashed() -> Trial:
    return examples.trial(replicates=0)


def unfit() -> Trial:
    return examples.trial(replicates=0, status=Status.ENVIRONMENT, message="SDPA's own output is off")


JUDGED = {
    "a faster candidate": (examples.trial(ratio=0.8), 0, "PASS"),
    "a slower candidate": (examples.trial(ratio=1.3), 1, "REJECTED"),
    "too few replicates": (examples.trial(replicates=2), 2, "UNDECIDED"),
    "a crash": (crashed(), 3, "FAILED"),
    "an unfit machine": (unfit(), 69, "ENVIRONMENT"),
}


@pytest.mark.parametrize(("trial", "code", "word"), JUDGED.values(), ids=JUDGED)
def test_gate_ends_with_the_code_of_the_verdict_that_it_prints(trial, code, word, evidence, kernel_gate):
    path = evidence(examples.measurement(examples.evaluation(trial=trial)))
    answer = kernel_gate("gate", "--cand", path)
    assert answer.code == code
    assert word in answer.out.splitlines()[0]
    assert answer.err == ""


def test_gate_judges_a_run_by_its_own_policy_and_not_by_the_evidences(evidence, kernel_gate):
    path = evidence(examples.run())
    assert kernel_gate("gate", "--cand", path).code == 0
    assert kernel_gate("gate", "--cand", path, "--speedup", "0.5").code == 1


def test_gate_writes_the_run_that_it_judged(evidence, kernel_gate, tmp_path):
    path = evidence(examples.measurement())
    kernel_gate("gate", "--cand", path, "--speedup", "0.9", "--out", tmp_path / "run.json")
    run = load_evidence(tmp_path / "run.json")
    assert run.measurement == examples.measurement()
    assert run.policy.speedup == 0.9


def test_gate_joins_what_was_measured_apart_and_says_so(evidence, kernel_gate):
    arms = ("candidate", "empty")
    alone = examples.trial()
    keep = [index for index, arm in enumerate(alone.arms) if arm.name in arms]
    replicates = tuple(
        examples.replicate({alone.arms[i].name: [times[i] for times in each.times_ms] for i in keep}, each.seed)
        for each in alone.replicates
    )
    trial = Trial(Status.OK, tuple(alone.arms[i] for i in keep), alone.timing, 2, replicates=replicates)
    cand = evidence(examples.measurement(examples.evaluation(trial=trial)), "cand.json")
    sdpa = evidence(examples.sdpa_measurement(), "sdpa.json")
    assert kernel_gate("gate", "--cand", cand).code == 2
    answer = kernel_gate("gate", "--cand", cand, "--sdpa", sdpa)
    assert "not timed in one trial" in answer.out
    assert answer.code == 0


def test_gate_on_files_the_wrong_way_round_says_so(evidence, kernel_gate):
    cand, sdpa = evidence(examples.measurement(), "cand.json"), evidence(examples.sdpa_measurement(), "sdpa.json")
    answer = kernel_gate("gate", "--cand", sdpa, "--sdpa", cand)
    assert answer.code == 64
    assert "swap the two files" in answer.complaint


def test_more_replicates_are_asked_for_only_where_they_would_help(evidence, kernel_gate):
    recorded = evidence(examples.measurement(), "recorded.json")
    other = evidence(examples.measurement(examples.evaluation(workload=examples.workload(batch=3))), "other.json")
    noisy = examples.evaluation(trial=examples.trial(0.85, noise=0.3))
    answers = [
        kernel_gate("compare", "--cand", cand, "--against", recorded)
        for cand in (other, evidence(examples.measurement(noisy), "noisy.json"))
    ]
    assert [each.code for each in answers] == [2, 2]
    assert ["more replicates" in each.out for each in answers] == [False, True]


def test_gate_on_sdpa_alone_is_undecided(evidence, kernel_gate):
    answer = kernel_gate("gate", "--cand", evidence(examples.sdpa_measurement()))
    assert answer.code == 2
    assert "no candidate" in answer.out


def spoil(text: str, old: str, new: str) -> str:
    assert old in text
    return text.replace(old, new, 1)


FILES = {
    "truncated": lambda text: text[: len(text) // 2],
    "empty": lambda text: "",
    "not JSON": lambda text: "ratio: 0.8",
    "of another version": lambda text: spoil(text, '"schema_version":2', '"schema_version":3'),
    "of another kind": lambda text: spoil(text, '"kind":"measurement"', '"kind":"verdict"'),
    "with NaN": lambda text: re.sub(r'"times_ms":\[\[[0-9.]+', '"times_ms":[[NaN', text, count=1),
    "with infinity": lambda text: re.sub(r'"times_ms":\[\[[0-9.]+', '"times_ms":[[Infinity', text, count=1),
    "with a median of its own": lambda text: re.sub(r'"baseline":[0-9.]+', '"baseline":0.5', text, count=1),
    "with a field too many": lambda text: spoil(text, '{"environment":{', '{"environment":{"x\\ny":1,'),
    "nested beyond reason": lambda text: "[" * 200_000,
}  # fmt: skip


@pytest.mark.parametrize("spoiled", FILES.values(), ids=FILES)
@pytest.mark.parametrize("option", ["--cand", "--sdpa"])
def test_a_file_that_cannot_be_trusted_is_one_line_and_64(option, spoiled, evidence, kernel_gate, tmp_path):
    good, bad = evidence(examples.measurement()), tmp_path / "bad.json"
    bad.write_text(spoiled(good.read_text()))
    assert bad.read_text() != good.read_text()
    files = {"--cand": good, "--sdpa": good, option: bad}
    answer = kernel_gate("gate", *(each for pair in files.items() for each in pair), "--out", tmp_path / "run.json")
    assert answer.code == 64
    assert "bad.json" in answer.complaint
    assert answer.out == ""
    assert not (tmp_path / "run.json").exists()


def test_a_run_whose_verdict_was_changed_is_one_line_and_64(evidence, kernel_gate):
    slow = examples.run(examples.measurement(examples.evaluation(trial=examples.trial(ratio=1.3))))
    path = evidence(slow)
    table = json.loads(path.read_text())
    table["verdict"] = json.loads(evidence(examples.run(), "fast.json").read_text())["verdict"]
    path.write_text(json.dumps(table))
    answer = kernel_gate("gate", "--cand", path)
    assert answer.code == 64
    assert "samples" in answer.complaint


def test_a_missing_file_is_one_line_and_64(kernel_gate):
    answer = kernel_gate("gate", "--cand", "missing.json")
    assert answer.code == 64
    assert "missing.json" in answer.complaint


COMMANDS_WITH_IMPL = ["run", "measure-candidate", "fuzz", "build"]


@pytest.mark.parametrize("command", COMMANDS_WITH_IMPL)
def test_an_unknown_candidate_is_one_line_and_2(command, kernel_gate, tmp_path):
    answer = kernel_gate(command, "--impl", "wmna", *KERNELS, "--out", tmp_path / "out")
    assert answer.code == 2
    assert "honest" in answer.complaint
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", COMMANDS_WITH_IMPL)
def test_impl_comes_from_the_environment_too(command, kernel_gate, monkeypatch):
    monkeypatch.setenv("IMPL", "wmna")
    assert "wmna" in kernel_gate(command, *KERNELS).complaint


@pytest.mark.parametrize("command", ["run", "measure-candidate", "measure-sdpa"])
@pytest.mark.parametrize("shape", ["1,8,512", "1,8,x,64", "0,8,512,64", ""])
def test_a_malformed_shape_is_one_line_and_64(command, shape, kernel_gate, tmp_path):
    candidate = () if command == "measure-sdpa" else HONEST
    answer = kernel_gate(command, *candidate, "--shape", shape, "--out", tmp_path / "out")
    assert answer.code == 64
    assert "1,8,512,64" in answer.complaint
    assert list(tmp_path.iterdir()) == []


WRITERS = {
    "run": (*HONEST, *TINY),
    "measure-candidate": (*HONEST, *TINY),
    "measure-sdpa": TINY,
    "fuzz": HONEST,
    "build": HONEST,
    "gate": ("--cand", "evidence.json"),
    "compare": ("--cand", "evidence.json", "--against", "evidence.json"),
    "score": ("--cand", "evidence.json"),
    "candidates": (),
    "doctor": ("--device", "cpu"),
}


@pytest.mark.parametrize("command", WRITERS)
def test_an_output_below_a_file_is_one_line_and_64_before_any_work(
    command, evidence, kernel_gate, tmp_path, monkeypatch
):
    monkeypatch.setattr("gate.sandbox.client.WorkerServer.__enter__", lambda self: pytest.fail("work was begun"))
    evidence(examples.measurement())
    answer = kernel_gate(command, *WRITERS[command], "--out", tmp_path / "evidence.json" / "x.json")
    assert answer.code == 64
    assert "cannot write" in answer.complaint
    assert [path.name for path in tmp_path.iterdir()] == ["evidence.json"]
    assert load_evidence(tmp_path / "evidence.json") == examples.measurement()


@pytest.mark.parametrize("command", sorted({*WRITERS} - {"run"}))
@pytest.mark.parametrize("out", [".", "folder"])
def test_an_output_that_is_a_folder_is_one_line_and_64_before_any_work(
    command, out, evidence, kernel_gate, tmp_path, monkeypatch
):
    monkeypatch.setattr("gate.sandbox.client.WorkerServer.__enter__", lambda self: pytest.fail("work was begun"))
    evidence(examples.measurement())
    (tmp_path / "folder").mkdir()
    answer = kernel_gate(command, *WRITERS[command], "--out", out)
    assert answer.code == 64
    assert "cannot write" in answer.complaint
    assert sorted(path.name for path in tmp_path.iterdir()) == ["evidence.json", "folder"]


def test_no_compiler_is_one_line_and_69(kernel_gate, tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", "/nonexistent")
    monkeypatch.setenv("KERNEL_GATE_CACHE", str(tmp_path / "cache"))
    answer = kernel_gate("build", *HONEST, "--out", tmp_path / "build.json")
    assert answer.code == 69
    assert "CXX" in answer.complaint
    assert list(tmp_path.iterdir()) == []


def test_a_cache_that_cannot_be_written_is_one_line_and_69(kernel_gate, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("KERNEL_GATE_CACHE", str(tmp_path / "file" / "cache"))
    answer = kernel_gate("build", *HONEST)
    assert answer.code == 69
    assert "KERNEL_GATE_CACHE" in answer.complaint


@pytest.mark.skipif(gate.runtime.device._has_nvidia_gpu(), reason="this machine has a GPU")
def test_cuda_on_a_machine_without_one_is_one_line_and_69(kernel_gate, tmp_path, one_server):
    answer = kernel_gate("measure-sdpa", "--device", "cuda", "--out", tmp_path / "sdpa.json")
    assert answer.code == 69
    assert "--device cpu" in answer.complaint
    assert list(tmp_path.iterdir()) == []


def test_a_device_that_the_candidate_does_not_run_on_is_one_line_and_64(kernel_gate):
    answer = kernel_gate("run", *HONEST, "--device", "cuda")
    assert answer.code == 64
    assert "--device cpu" in answer.complaint


WRONG_USE = {
    "an unknown command": ["measure"],
    "an unknown option": ["run", "--impll", "honest"],
    "an unknown option before the command": ["--verbose", "run"],
    "an option without its value": ["gate", "--cand"],
    "a missing option": ["gate"],
    "a missing candidate": ["run"],
    "an argument that nobody asked for": ["gate", "--cand", "x.json", "y.json"],
    "a word for a number": ["gate", "--cand", "x.json", "--alpha", "low"],
    "an unknown device": ["run", "--impl", "honest", "--device", "tpu"],
    "an unknown dtype": ["run", "--impl", "honest", "--dtype", "float8"],
    "an alpha beyond 1": ["gate", "--cand", "x.json", "--alpha", "2"],
    "no replicates": ["measure-sdpa", "--replicates", "0"],
    "no rounds": ["measure-sdpa", "--iters", "0"],
    "an unknown setting": ["gate", "--cand", "x.json", "--set", "gates.alfa=1"],
    "a missing policy": ["gate", "--cand", "x.json", "--policy", "missing.toml"],
    "a missing kernels directory": ["candidates", "--kernels", "missing"],
    "an unknown tunable": [
        "build",
        "--impl",
        "honest",
        "--kernels",
        str(examples.ADVERSARIAL),
        "--config",
        "BLOCK_M=64",
    ],
    "a configuration without a value": [
        "run",
        "--impl",
        "honest",
        "--kernels",
        str(examples.ADVERSARIAL),
        "--config",
        "BLOCK_M",
    ],
    "an unknown backend": ["measure-sdpa", "--device", "cpu", "--backend", "cudnn"],
}


@pytest.mark.parametrize("arguments", WRONG_USE.values(), ids=WRONG_USE)
def test_wrong_use_is_one_line_and_64(arguments, kernel_gate):
    answer = kernel_gate(*arguments)
    assert answer.code == 64
    assert answer.complaint
    assert answer.out == ""


def test_without_a_command_the_help_is_shown_and_64(kernel_gate):
    answer = kernel_gate()
    assert answer.code == 64
    assert "Usage:" in answer.err
    assert "measure-candidate" in answer.err


def run_in_process(command: click.Command, capfd) -> tuple[int, str]:
    with pytest.raises(SystemExit) as ended:
        cli.run(command, [])
    return ended.value.code, capfd.readouterr().err


def test_a_fault_of_our_own_shows_where_it_happened_and_ends_with_70(capfd):
    @click.command()
    def faulty() -> None:
        raise KeyError("a fault")

    code, said = run_in_process(faulty, capfd)
    assert code == 70
    assert "KeyError: 'a fault'" in said
    assert said.splitlines()[-1].startswith("kernel-gate: internal error of Kernel Gate")


@pytest.mark.parametrize("error", [KeyboardInterrupt, click.Abort])
def test_an_interruption_is_one_line_and_130(error, capfd):
    @click.command()
    def interrupted() -> None:
        raise error

    code, said = run_in_process(interrupted, capfd)
    assert code == 130
    assert said.strip() == "kernel-gate: interrupted; nothing was written"


def test_build_says_what_it_made_and_writes_it(kernel_gate, tmp_path, one_server):
    answer = kernel_gate("build", *HONEST, "--out", tmp_path / "build.json")
    assert answer.code == 0
    assert "libhonest.so" in answer.out
    assert from_json(Build, (tmp_path / "build.json").read_text(), "build.json").impl == "honest"
    assert "hit" in kernel_gate("build", *HONEST).out


def test_a_build_that_fails_ends_with_3_and_the_compilers_words(kernel_gate, one_server):
    answer = kernel_gate("build", "--impl", "does_not_compile", *KERNELS)
    assert answer.code == 3
    assert "error:" in answer.out
    assert "Traceback" not in answer.err


@needs_nvcc
def test_a_cuda_build_says_what_its_kernels_take_and_holds_them_to_the_limits(kernel_gate, tmp_path, one_server):
    write_candidate(tmp_path)
    asked = ("build", "--impl", "tiny", "--kernels", tmp_path, "--arch", "8.9", "--config", "NUM_WARPS=8")
    answer = kernel_gate(*asked, "--out", tmp_path / "build.json")
    assert answer.code == 0
    assert re.search(r"^attend<64> +8\.9 +\d+ +256 +0 \+ 0 +0 +256 +100% +warps$", answer.out, re.MULTILINE)
    assert "NUM_WARPS=8" in answer.out
    assert from_json(Build, (tmp_path / "build.json").read_text(), "build.json").architectures == ("8.9",)
    limited = kernel_gate(*asked, "--set", "gates.resources.max_registers=1")
    assert limited.code == 1
    assert "above the limit: attend<64> takes" in limited.out


@needs_nvcc
def test_a_cuda_build_that_fails_ends_with_3_and_file_and_line(kernel_gate, tmp_path, one_server):
    write_candidate(tmp_path, CUDA_CODE.replace("row[0];", "column[0];"))
    answer = kernel_gate("build", "--impl", "tiny", "--kernels", tmp_path)
    assert answer.code == 3
    assert "kernel.cu(7): error" in answer.out


def test_a_cuda_build_without_nvcc_ends_with_69_and_says_what_to_install(kernel_gate, tmp_path, monkeypatch):
    monkeypatch.setattr("gate.build.build.find_tool", lambda _: None)
    write_candidate(tmp_path)
    answer = kernel_gate("build", "--impl", "tiny", "--kernels", tmp_path)
    assert answer.code == 69
    assert "install the CUDA toolkit" in answer.out


RAISES = f"raise RuntimeError({HOSTILE!r})"


@pytest.mark.parametrize("command", ["run", "measure-candidate", "fuzz"])
def test_what_a_candidate_says_commands_nothing_in_a_jobs_log(command, kernel_gate, python_candidate, one_server):
    folder = python_candidate(RAISES)
    asked = SMALL_MATRIX if command == "fuzz" else TINY
    answer = kernel_gate(command, "--impl", "made_up", "--kernels", folder.parent, "--device", "cpu", *asked)
    assert "forged" in answer.out
    assert obeyed(answer.out + answer.err) == []


def test_what_a_compiler_says_of_a_candidate_commands_nothing_either(kernel_gate, tmp_path, one_server):
    folder = tmp_path / "kernels" / "loud"
    folder.mkdir(parents=True)
    said = HOSTILE.replace("\n", "\\n").replace("\r", "\\n")
    (folder / "loud.cpp").write_text(f'#pragma message("{said}")\n#error\n::nowhere::\n')
    (folder / "kernel.toml").write_text(
        'name = "loud"\nsummary = ""\nlanguage = "c++"\nsources = ["loud.cpp"]\ndevices = ["cpu"]\n'
    )
    answer = kernel_gate("build", "--impl", "loud", "--kernels", folder.parent)
    assert answer.code == 3
    assert "forged" in answer.out
    assert obeyed(answer.out + answer.err) == []


def test_of_what_gate_prints_its_own_annotations_alone_are_obeyed(evidence, kernel_gate):
    build = Build(examples.IMPL, Status.BUILD_FAILED, HOSTILE, log=HOSTILE)
    path = evidence(examples.measurement(evaluations=(), build=build))
    assert obeyed(kernel_gate("gate", "--cand", path).out) == []
    seen = obeyed(kernel_gate("gate", "--cand", path, "--github").out)
    assert seen
    assert all(line.startswith("::error file=kernels/") for line in seen)


def test_an_error_that_names_a_file_like_a_command_is_none(kernel_gate, tmp_path):
    answer = kernel_gate("gate", "--cand", tmp_path / "##[error]forged\n::add-mask::x")
    assert "forged" in answer.complaint
    assert obeyed(answer.err) == []


def test_a_fault_of_our_own_that_repeats_a_candidates_words_obeys_none(capfd):
    @click.command()
    def faulty() -> None:
        raise KeyError(type("Words", (), {"__repr__": lambda _: HOSTILE})())

    assert obeyed(run_in_process(faulty, capfd)[1]) == []


def test_a_configuration_reaches_a_candidate_in_python(kernel_gate, python_candidate, one_server):
    code = """
import torch
def attention(q, k, v, scale, causal, out):
    out.copy_(torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal, scale=scale * SHARE / 4))
"""
    folder = python_candidate(
        code, tunables="{ SHARE = [3, 4] }", supports='{ dtypes = ["float32"], causal = [false, true] }'
    )
    asked = ("fuzz", "--impl", "made_up", "--kernels", folder.parent, *SMALL_MATRIX)
    assert kernel_gate(*asked).code == 1
    assert kernel_gate(*asked, "--config", "SHARE=4").code == 0


SMALL_MATRIX = [
    option
    for setting in ("batch=[1]", "heads=[2]", "seq_len=[1, 17]", "head_dim=[32]")
    for option in ("--set", f"fuzz.small.{setting}")
]


@pytest.mark.parametrize(
    ("impl", "code", "words"),
    [
        ("honest", 0, "4 passed, 0 failed, 0 not supported, of 4"),
        ("stale_output", 1, "0 passed, 4 failed"),
        ("segfault", 3, "SIGSEGV"),
        ("nobody", 2, ""),
        ("does_not_compile", 3, "error:"),
    ],
)
def test_fuzz_ends_with_0_1_2_or_3(impl, code, words, kernel_gate, tmp_path, one_server):
    answer = kernel_gate(
        "fuzz", "--impl", impl, *KERNELS, "--device", "cpu", *SMALL_MATRIX, "--out", tmp_path / "fuzz.json"
    )
    assert answer.code == code
    assert words in answer.out
    assert (tmp_path / "fuzz.json").exists() is (code != 2)


def test_fuzz_that_could_check_nothing_has_not_passed(kernel_gate, one_server):
    answer = kernel_gate("fuzz", *HONEST, "--device", "cpu", "--dtype", "float16", *SMALL_MATRIX)
    assert answer.code == 1
    assert "4 not supported" in answer.out


def test_measure_sdpa_names_the_fastest_backend(kernel_gate, tmp_path, one_server):
    answer = kernel_gate("measure-sdpa", "--device", "cpu", *TINY, "--out", tmp_path / "sdpa.json")
    assert answer.code == 0
    assert re.search(r"fastest at 1,2,64,32 float32: sdpa:(flash|math)", answer.out)
    assert load_evidence(tmp_path / "sdpa.json").impl is None


@pytest.mark.parametrize(("impl", "code"), [("python_honest", 0), ("nan_output", 1), ("segfault", 3)])
def test_measure_candidate_ends_with_how_the_candidate_behaved(impl, code, kernel_gate, tmp_path, one_server):
    out = tmp_path / "cand.json"
    answer = kernel_gate("measure-candidate", "--impl", impl, *KERNELS, *TINY, "--baseline", "flash", "--out", out)
    assert answer.code == code
    assert load_evidence(out).impl == impl


def test_a_shape_that_is_named_twice_is_measured_once(kernel_gate, tmp_path, one_server):
    kernel_gate("measure-sdpa", "--device", "cpu", *TINY, "--shape", "1,2,64,32", "--out", tmp_path / "sdpa.json")
    assert load_evidence(tmp_path / "sdpa.json").workloads == (examples.workload(),)


def test_candidates_lists_all_and_says_which_run_here(kernel_gate):
    answer = kernel_gate("candidates", "--kernels", ROOT / "kernels", "--device", "cpu")
    assert answer.code == 0
    assert re.search(r"^cpu_tiled .*\byes\b", answer.out, re.MULTILINE)


def test_candidates_shows_a_broken_one_beside_the_others(kernel_gate, python_candidate):
    folder = python_candidate("")
    (folder.parent / "broken").mkdir()
    (folder.parent / "broken" / "kernel.toml").write_text("name = ")
    answer = kernel_gate("candidates", "--kernels", folder.parent)
    assert answer.code == 0
    assert "broken/kernel.toml" in answer.out
    assert "made_up" in answer.out


def test_doctor_finds_this_machine_fit_for_the_cpu(kernel_gate):
    answer = kernel_gate("doctor", "--device", "cpu", "--quick")
    assert answer.code == 0
    assert "can judge candidates on cpu" in answer.out


def test_doctor_says_what_this_machine_can_tell_apart(kernel_gate, monkeypatch):
    def noise(session, workload):
        return Finding("noise", True, str(workload), "")

    monkeypatch.setattr("gate.doctor.noise.expected_noise", noise)
    required = 'workloads.cpu=["2,1,64,32,float32", "1,1,32,32,float32"]'
    answer = kernel_gate("doctor", "--device", "cpu", "--set", required)
    assert answer.code == 0
    assert "noise" in answer.out
    assert "1,1,32,32 float32" in answer.out


def test_doctor_says_that_a_machine_cannot_judge_whose_own_trial_failed(kernel_gate, monkeypatch):
    crashed = examples.trial(replicates=0)
    finding = noise_finding(crashed, examples.workload())
    monkeypatch.setattr("gate.doctor.noise.expected_noise", lambda *_: finding)
    answer = kernel_gate("doctor", "--device", "cpu")
    assert answer.code == 69
    assert "SIGSEGV" in answer.out
    assert "can judge" not in answer.out


def test_doctor_names_what_is_missing_and_ends_with_69(kernel_gate, monkeypatch):
    monkeypatch.setenv("CXX", "/nonexistent")
    answer = kernel_gate("doctor", "--device", "cpu", "--quick")
    assert answer.code == 69
    assert "C++ compiler" in answer.complaint
    assert "apt-get install g++" in answer.out


def test_the_listing_is_written_with_what_cannot_run_and_what_cannot_be_read(kernel_gate, tmp_path, python_candidate):
    folder = python_candidate("def attention(q, k, v, scale, causal, out): ...").parent
    (folder / "broken").mkdir()
    (folder / "broken" / "kernel.toml").write_text("name = 3")
    answer = kernel_gate("candidates", "--kernels", folder, "--device", "cpu", "--out", tmp_path / "list.json")
    seen = json.loads((tmp_path / "list.json").read_text())
    assert (answer.code, seen["kind"], seen["device"]) == (0, "candidates", "cpu")
    assert [(each["language"], each["missing"]) for each in seen["candidates"]] == [("python", None)]
    assert len(seen["unreadable"]) == 1
    assert "kernel.toml" in seen["unreadable"][0]


def test_what_doctor_found_is_written_also_where_something_is_missing(kernel_gate, monkeypatch, tmp_path):
    monkeypatch.setenv("CXX", "/nonexistent")
    answer = kernel_gate("doctor", "--device", "cpu", "--quick", "--out", tmp_path / "doctor.json")
    seen = json.loads((tmp_path / "doctor.json").read_text())
    lacking = [each["item"] for each in seen["findings"] if each["needed"] and not each["present"]]
    assert (answer.code, seen["kind"], lacking) == (69, "doctor", ["C++ compiler"])


def test_a_comparison_with_a_record_is_written_with_its_answer(kernel_gate, evidence, tmp_path):
    path = evidence(examples.measurement())
    answer = kernel_gate("compare", "--cand", path, "--against", path, "--out", tmp_path / "changes.json")
    seen = json.loads((tmp_path / "changes.json").read_text())
    assert (seen["kind"], seen["answer"]) == ("changes", answer.out.partition(":")[0].lower())
    assert [each["answer"] for each in seen["changes"]] == [seen["answer"]]


def imported(*arguments: object) -> set[str]:
    """Top-level packages that the command imports, as a process of its own."""
    command = [sys.executable, "-X", "importtime", ENTRY, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "Usage:" in done.stdout or "PASS" in done.stdout, done.stderr[-500:]
    return set(re.findall(r"\| +([a-z_]+)$", done.stderr, re.MULTILINE))


@pytest.mark.parametrize("command", [(), *((name,) for name in cli.COMMANDS)], ids=" ".join)
def test_help_imports_nothing_heavy(command):
    packages = imported(*command, "--help")
    assert "click" in packages
    assert not packages & {*HEAVY, "pydantic", "pynvml", "tabulate"}


def test_gate_never_imports_torch(evidence):
    packages = imported("gate", "--cand", evidence(examples.measurement()))
    assert "pydantic" in packages
    assert "torch" not in packages


def test_every_command_says_what_it_does(kernel_gate):
    listed = kernel_gate("--help").out
    for name in cli.COMMANDS:
        answer = kernel_gate(name, "--help")
        assert answer.code == 0
        assert f"{name} [OPTIONS]" in answer.out
        assert name in listed


ASKED = ("--set", 'workloads.cpu=["1,2,64,32,float32"]')


def test_a_gate_that_requires_all_workloads_does_not_pass_on_some(evidence, kernel_gate):
    path = evidence(examples.run())
    assert kernel_gate("gate", "--cand", path).code == 0
    answer = kernel_gate("gate", "--cand", path, "--required", "--baseline", "flash")
    assert answer.code == 2
    assert "1,8,512,64 float32" in answer.out.splitlines()[0]


def test_a_gate_that_requires_the_best_backend_does_not_pass_against_another(evidence, kernel_gate, tmp_path):
    path, out = evidence(examples.measurement()), tmp_path / "run.json"
    answer = kernel_gate("gate", "--cand", path, *ASKED, "--required", "--out", out)
    assert answer.code == 2
    assert "no measurement shows that sdpa:flash is the fastest" in answer.out.splitlines()[0]
    assert load_evidence(out).verdict.exit_code == 2
    chosen = evidence(examples.measurement(examples.evaluation(sdpa=examples.sdpa_trial())), "best.json")
    assert kernel_gate("gate", "--cand", chosen, *ASKED, "--required").code == 0


def test_a_gate_that_requires_a_named_backend_passes_against_that_one(evidence, kernel_gate):
    path = evidence(examples.measurement())
    assert kernel_gate("gate", "--cand", path, *ASKED, "--required", "--baseline", "flash").code == 0
    assert kernel_gate("gate", "--cand", path, *ASKED, "--required", "--baseline", "math").code == 2


def test_a_gate_that_requires_an_unknown_backend_is_one_line_and_64(evidence, kernel_gate):
    answer = kernel_gate("gate", "--cand", evidence(examples.measurement()), "--required", "--baseline", "cudnn")
    assert answer.code == 64
    assert "choose flash, math or best" in answer.complaint


def test_a_gate_that_requires_nothing_says_where_another_baseline_was_beaten(evidence, kernel_gate):
    path = evidence(examples.measurement())
    answer = kernel_gate("gate", "--cand", path)
    assert answer.code == 0
    assert (
        "warning: 1,2,64,32 float32: no measurement shows that sdpa:flash is the fastest SDPA backend" in answer.out
    )
    assert "warning: " not in kernel_gate("gate", "--cand", path, "--baseline", "flash").out


def test_a_page_that_cannot_be_drawn_takes_nothing_from_the_verdict(evidence, kernel_gate, tmp_path, monkeypatch):
    monkeypatch.setattr("gate.report.html.page", lambda run: 1 / 0)
    path, out = evidence(examples.measurement()), tmp_path / "run.json"
    answer = kernel_gate("gate", "--cand", path, "--github", "--out", out, "--report", tmp_path / "report.html")
    assert answer.code == 70
    assert "PASS" in answer.out
    assert "::notice file=kernels/honest/kernel.toml" in answer.out
    assert load_evidence(out).verdict.exit_code == 0


def test_a_page_that_cannot_be_written_is_one_line_and_64_before_any_verdict(evidence, kernel_gate, tmp_path):
    path, out = evidence(examples.measurement()), tmp_path / "run.json"
    answer = kernel_gate("gate", "--cand", path, "--out", out, "--report", path / "report.html")
    assert answer.code == 64
    assert "cannot write" in answer.complaint
    assert (answer.out, out.exists()) == ("", False)


def test_compare_refuses_another_candidates_record(evidence, kernel_gate):
    other = examples.measurement(impl="other", build=examples.build(impl="other"))
    answer = kernel_gate(
        "compare", "--cand", evidence(examples.measurement()), "--against", evidence(other, "other.json")
    )
    assert answer.code == 64
    assert "measure the same candidate" in answer.complaint


def test_baseline_records_no_machine_that_was_disturbed(kernel_gate, tmp_path, monkeypatch, one_server):
    hot = Telemetry(examples.gpu_state(), examples.gpu_state(throttle_reasons=("hw_thermal_slowdown",)))
    trial = examples.sdpa_trial()
    trial = replace(trial, replicates=tuple(replace(each, telemetry=hot) for each in trial.replicates))
    seen = examples.sdpa_measurement(evaluations=(Evaluation(examples.workload(), sdpa=trial),))
    monkeypatch.setattr("gate.measure.pipeline.measure_sdpa", lambda *_: seen)
    answer = kernel_gate("baseline", "--device", "cpu", *TINY, "--folder", tmp_path / "baselines")
    assert answer.code == 69
    assert "throttled" in answer.complaint
    assert not list(tmp_path.rglob("sdpa.json"))


def test_a_candidate_that_became_incorrect_is_rejected_by_compare(kernel_gate, tmp_path):
    from gate.records import Evaluation
    from gate.storage import write_record
    from tests.support import examples

    write_record(tmp_path / "old.json", examples.measurement())
    wrong = examples.measurement(Evaluation(examples.workload(), examples.incorrect()))
    write_record(tmp_path / "new.json", wrong)
    assert kernel_gate("compare", "--cand", tmp_path / "new.json", "--against", tmp_path / "old.json").code == 1
