"""The content of env.json. The GPU is a fake."""

import json
import os
import subprocess
from types import SimpleNamespace

import pytest
import torch

from gate import lock_environment, write_env
from gate.errors import UnfitEnvironmentError, UnwritableOutputError
from gate.machine import environment
from gate.machine.determinism import current_flags
from gate.machine.environment import describe
from gate.records import Environment
from gate.records.codec import from_json, to_json
from gate.runtime.device import open_device
from tests.support import examples, nvml_fake
from tests.support.nvml_fake import FakeGpu, FakeNvml

ADDED_LATER = ("gpu", "flags", "sdpa_backend")


@pytest.fixture
def on_gpu(monkeypatch):
    """CUDA's one GPU, the second of the machine."""
    fake = FakeNvml(FakeGpu(), FakeGpu(name="NVIDIA H200", uuid="GPU-bbbb-2", capability=(9, 0))).install(monkeypatch)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    seen = SimpleNamespace(multi_processor_count=132, L2_cache_size=60 << 20)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "NVIDIA H200")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: seen)
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 91002)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    return fake


@pytest.fixture
def on_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def test_the_written_environment_equals_the_returned_one(tmp_path, on_cpu):
    path = tmp_path / "artifacts" / "env.json"
    written = write_env(path)
    assert from_json(Environment, path.read_text(), "test") == written
    assert write_env(str(path)) == from_json(Environment, path.read_text(), "test")


def test_a_machine_without_a_gpu_has_no_gpu_in_its_file(tmp_path, on_cpu):
    table = json.loads(write_and_read(tmp_path))
    assert table["device"] == "cpu"
    assert table["device_name"] == table["cpu"]
    assert table["gpu"] is None


def write_and_read(folder, **options):
    write_env(folder / "env.json", **options)
    return (folder / "env.json").read_text()


def test_the_gpu_is_the_visible_one_with_the_fields_that_only_pytorch_reports(tmp_path, on_gpu):
    table = json.loads(write_and_read(tmp_path))
    assert (table["device"], table["device_name"]) == ("cuda", "NVIDIA H200")
    gpu = table["gpu"]
    assert (gpu["model"], gpu["compute_capability"]) == ("NVIDIA H200", "9.0")
    assert (gpu["sm_count"], gpu["l2_bytes"]) == (132, 60 << 20)
    assert (gpu["driver"], gpu["cuda"], gpu["cudnn"]) == ("580.159.03", "13.0", "91002")
    assert (gpu["sm_clock_mhz"], gpu["sm_clock_max_mhz"], gpu["power_limit_w"]) == (210, 2040, 72.0)


@pytest.mark.parametrize(("package", "version"), [("triton", "3.9.0"), (None, None)])
def test_triton_is_named_where_it_is_installed(package, version, tmp_path, on_gpu, monkeypatch):
    def installed(name):
        if name != package:
            raise environment.importlib.metadata.PackageNotFoundError(name)
        return "3.9.0"

    monkeypatch.setattr(environment.importlib.metadata, "version", installed)
    assert json.loads(write_and_read(tmp_path))["gpu"]["triton"] == version


def test_the_gpus_uuid_is_not_in_the_file(tmp_path, on_gpu):
    assert "GPU-" not in write_and_read(tmp_path)


def test_a_driver_that_fails_makes_the_machine_unfit(tmp_path, on_gpu):
    on_gpu.errors["nvmlInit"] = nvml_fake.MISMATCH
    with pytest.raises(UnfitEnvironmentError, match="reboot"):
        write_env(tmp_path / "env.json")
    assert not (tmp_path / "env.json").exists()


def test_the_file_says_whether_the_flags_were_locked(tmp_path, on_cpu):
    before = json.loads(write_and_read(tmp_path))["flags"]
    assert before == current_flags()
    with lock_environment():
        within = json.loads(write_and_read(tmp_path))["flags"]
    assert within["deterministic_algorithms"] is True
    assert within != before


@pytest.mark.parametrize("chosen", [None, "cudnn"])
def test_the_file_says_which_backend_was_chosen(chosen, tmp_path, on_cpu):
    assert json.loads(write_and_read(tmp_path, sdpa_backend=chosen))["sdpa_backend"] == chosen


def test_the_software_and_the_machine_are_named(tmp_path, on_cpu):
    table = json.loads(write_and_read(tmp_path))
    assert table["torch"] == torch.__version__
    assert table["cpu_count"] == len(os.sched_getaffinity(0))
    assert all(
        table[name] for name in ("python", "os", "cpu", "kernel_gate", "created_at", "threads", "memory_bytes")
    )


def git(folder, *arguments):
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


def test_the_environment_names_the_commit_and_whether_the_tree_is_dirty(tmp_path, on_cpu, monkeypatch):
    tree, out = tmp_path / "tree", tmp_path / "out"
    tree.mkdir()
    monkeypatch.chdir(tree)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    assert (write_env(out / "env.json").git_commit, write_env(out / "env.json").git_dirty) == (None, None)
    git(tree, "init")
    git(tree, "commit", "--allow-empty", "-m", "first")
    clean = write_env(out / "env.json")
    assert len(clean.git_commit) == 40
    assert clean.git_dirty is False
    (tree / "file").touch()
    changed = write_env(out / "env.json")
    assert (changed.git_commit, changed.git_dirty) == (clean.git_commit, True)


def test_a_path_that_cannot_be_written_is_an_error(tmp_path, on_cpu):
    (tmp_path / "file").touch()
    with pytest.raises(UnwritableOutputError, match="choose a writable output path"):
        write_env(tmp_path / "file" / "env.json")


def test_the_cpu_device_is_described_without_a_driver(monkeypatch):
    fake = FakeNvml().install(monkeypatch)
    seen = describe("cpu", open_device("cpu").name)
    assert (seen.device, seen.gpu) == ("cpu", None)
    assert fake.called == []


def test_a_device_of_cuda_is_described_with_its_gpu(on_gpu):
    seen = describe("cuda", "NVIDIA H200")
    assert seen.gpu.model == "NVIDIA H200"


def test_a_file_from_before_there_were_gpus_is_still_read():
    table = json.loads(to_json(examples.environment()))
    older = {name: value for name, value in table.items() if name not in ADDED_LATER}
    assert from_json(Environment, json.dumps(older), "test") == examples.environment()
