import pytest

from gate.build.targets import Wanted, choose_architectures, code_flags, wanted_architectures
from gate.candidates.architectures import check_architectures
from gate.errors import BadInputError, UnfitEnvironmentError
from gate.machine import nvml
from tests.support.nvml_fake import FakeGpu, FakeNvml

SESSION = nvml.initialised
ALL = ("8.0", "8.6", "8.9", "9.0")


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch):
    """No list in the environment, and no GPU, whatever this machine has."""

    def unfit():
        raise UnfitEnvironmentError("no NVIDIA driver")

    monkeypatch.delenv("TORCH_CUDA_ARCH_LIST", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(nvml, "initialised", unfit)


@pytest.fixture
def gpu(monkeypatch):
    """Gives this machine GPUs, by compute capability."""

    def install(*capabilities):
        monkeypatch.setattr(nvml, "initialised", SESSION)
        return FakeNvml(*(FakeGpu(capability=each) for each in capabilities)).install(monkeypatch)

    return install


def test_without_a_gpu_the_products_architectures_are_wanted():
    assert wanted_architectures().architectures == ("8.9", "9.0a")


def test_the_gpu_of_this_machine_is_wanted_with_what_it_alone_can(gpu):
    gpu((9, 0))
    wanted = wanted_architectures()
    assert choose_architectures(["9.0", "9.0a"], wanted) == ("9.0a",)
    assert choose_architectures(["8.0", "9.0"], wanted) == ("9.0",)
    assert "this machine's GPU (9.0)" in wanted.by


def test_of_several_gpus_the_first_that_is_visible_is_meant(gpu, monkeypatch):
    gpu((8, 9), (8, 6), (9, 0))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,2")
    assert choose_architectures(ALL, wanted_architectures()) == ("8.6",)


def test_a_gpu_that_is_hidden_is_none(gpu, monkeypatch):
    gpu((8, 6))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert wanted_architectures().architectures == ("8.9", "9.0a")


def test_torchs_list_goes_before_the_gpu_and_the_command_line_before_both(gpu, monkeypatch):
    gpu((8, 9))
    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", "9.0")
    assert wanted_architectures().architectures == ("9.0",)
    assert wanted_architectures(["8.6", "8.0+PTX"]).architectures == ("8.6", "8.0+PTX")


@pytest.mark.parametrize("listed", ["", "native"])
def test_a_list_that_says_nothing_leaves_it_to_the_gpu(listed, gpu, monkeypatch):
    gpu((8, 6))
    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", listed)
    assert wanted_architectures().by == "this machine's GPU (8.6)"


LISTS = {
    "8.9;9.0a+PTX": ("8.9", "9.0a+PTX"),
    "8.9 9.0a": ("8.9", "9.0a"),
    "8.9, 9.0": ("8.9", "9.0"),
    "Ampere;Hopper": ("8.0", "8.6+PTX", "9.0+PTX"),
    "Ada;8.9;8.9": ("8.9+PTX", "8.9"),
    "12.0": ("12.0",),
}


@pytest.mark.parametrize(("listed", "read"), LISTS.items(), ids=LISTS)
def test_the_list_is_read_as_torch_reads_it(listed, read, monkeypatch):
    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", listed)
    assert wanted_architectures().architectures == read


@pytest.mark.parametrize("listed", ["89", "sm_89", "8.9b", "Fermi", "8.9;x"])
def test_what_is_no_architecture_is_refused_with_an_example(listed, monkeypatch):
    with pytest.raises(BadInputError, match=r"--arch: .*8\.9"):
        wanted_architectures([listed])
    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", listed)
    with pytest.raises(BadInputError, match="TORCH_CUDA_ARCH_LIST: "):
        wanted_architectures()


CHOSEN = {
    "equal": (ALL, ("8.9", "9.0"), ("8.9", "9.0")),
    "the same number, without what that GPU alone has": (ALL, ("9.0a",), ("9.0",)),
    "the same number, with what that GPU alone has": (("9.0a",), ("9.0",), ("9.0a",)),
    "of both, the one that is named": (("9.0", "9.0a"), ("9.0",), ("9.0",)),
    "an older one of the generation, the newest": (("8.0", "8.6"), ("8.9",), ("8.6",)),
    "not a newer one": (("8.9",), ("8.6",), ()),
    "not one of an older generation": (("8.0",), ("9.0",), ()),
    "not what is for another GPU alone": (("10.0a",), ("10.3",), ()),
    "those that there are": (ALL, ("8.9", "12.0"), ("8.9",)),
    "each once": (("8.0",), ("8.0", "8.6", "8.9"), ("8.0",)),
    "with PTX": (ALL, ("9.0a+PTX",), ("9.0+PTX",)),
}


@pytest.mark.parametrize(("declared", "wanted", "chosen"), CHOSEN.values(), ids=CHOSEN)
def test_of_what_is_declared_that_is_chosen_which_runs_where_it_is_wanted(declared, wanted, chosen):
    assert choose_architectures(declared, Wanted(wanted, "--arch")) == chosen


def test_where_nobody_asked_and_no_products_are_declared_all_that_is_declared_is_built():
    assert choose_architectures(("10.0", "12.0"), wanted_architectures()) == ("10.0", "12.0")
    assert choose_architectures(ALL, wanted_architectures()) == ("8.9", "9.0")


def test_machine_code_is_made_and_ptx_only_where_asked():
    assert code_flags("9.0a") == ["-gencode=arch=compute_90a,code=sm_90a"]
    assert code_flags("12.0+PTX") == [
        "-gencode=arch=compute_120,code=sm_120",
        "-gencode=arch=compute_120,code=compute_120",
    ]


@pytest.mark.parametrize("declared", ["8.9+PTX", "89", "", "9.0A"])
def test_only_architectures_can_be_declared(declared):
    with pytest.raises(ValueError, match="'"):
        check_architectures([declared])
