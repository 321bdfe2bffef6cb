import pytest

from gate.candidates.registry import find_candidate
from gate.doctor import availability
from gate.doctor.availability import what_is_missing
from tests.support.cuda_candidate import TOML, write_candidate


@pytest.fixture
def candidate(tmp_path, monkeypatch):
    """Makes a CUDA candidate, on a machine with nvcc and an L4."""

    def make(**fields):
        extra = "".join(f"{name} = {value}\n" for name, value in fields.items())
        write_candidate(tmp_path / "kernels", toml=TOML.replace("[tun", f"{extra}[tun"))
        return find_candidate("tiny", tmp_path / "kernels")

    monkeypatch.delenv("TORCH_CUDA_ARCH_LIST", raising=False)
    monkeypatch.setattr("gate.build.targets._capability", lambda: "8.9")
    monkeypatch.setattr(availability, "find_tool", lambda _: "/cuda/bin/nvcc")
    monkeypatch.setattr(availability, "gpu_names", lambda: ["NVIDIA L4"])
    return make


@pytest.fixture
def library(tmp_path, monkeypatch):
    """A folder of the loader's path that holds `libshiny.so.2`."""
    (tmp_path / "libraries").mkdir()
    (tmp_path / "libraries" / "libshiny.so.2").touch()
    monkeypatch.setenv("LD_LIBRARY_PATH", f"/nowhere::{tmp_path / 'libraries'}")


def test_where_nothing_is_missing_it_can_run(candidate):
    assert what_is_missing(candidate(), "cuda") is None


def test_without_a_gpu_it_still_builds_where_there_is_nvcc(candidate, monkeypatch):
    made = candidate()
    assert what_is_missing(made, "cpu") == "no GPU, but it can be built"
    monkeypatch.setattr(availability, "find_tool", lambda _: None)
    assert what_is_missing(made, "cpu").startswith("no GPU; no nvcc: install the CUDA toolkit")


def test_a_gpu_that_is_asked_for_must_be_there(candidate, monkeypatch):
    monkeypatch.setattr(availability, "gpu_names", list)
    assert what_is_missing(candidate(), "cuda") == "no GPU, but it can be built"


def test_a_gpu_of_another_architecture_is_named(candidate, monkeypatch):
    monkeypatch.setattr("gate.build.targets._capability", lambda: "12.0")
    assert "this machine's GPU (12.0)" in what_is_missing(candidate(), "cuda")


REQUIRED = {"requires": '["libc.so.6", "libshiny.so.2"]', "remedy": '"pip install shiny"'}


def test_a_library_that_is_not_there_is_named_with_its_remedy(candidate):
    assert what_is_missing(candidate(**REQUIRED), "cuda") == "no libshiny.so.2: pip install shiny"


def test_a_library_on_the_loaders_path_is_there(candidate, library):
    assert what_is_missing(candidate(**REQUIRED), "cuda") is None


def test_a_library_in_a_wheel_beside_torch_is_there(candidate, tmp_path, monkeypatch):
    for name in ("torch/__init__.py", "shiny/lib/libshiny.so.2"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    made = candidate(**REQUIRED)
    monkeypatch.setattr(
        availability.importlib.util,
        "find_spec",
        lambda _: type("Spec", (), {"origin": str(tmp_path / "torch" / "__init__.py")}),
    )
    assert what_is_missing(made, "cuda") is None


def test_a_candidate_in_triton_needs_triton(python_candidate, monkeypatch):
    folder = python_candidate("", language='"triton"', devices='["cuda", "cpu"]')
    made = find_candidate(folder.name, folder.parent)
    monkeypatch.setattr(availability.importlib.util, "find_spec", lambda _: None)
    assert what_is_missing(made, "cpu") == "no Triton: pip install triton"


def test_a_candidate_for_the_processor_does_not_run_on_the_gpu(python_candidate):
    folder = python_candidate("")
    assert what_is_missing(find_candidate(folder.name, folder.parent), "cuda") == "runs on cpu"
