import os
from pathlib import Path

import pytest

from gate.candidates.registry import Candidate, Support, all_candidates, candidate_names, find_candidate
from gate.errors import BadInputError, CandidateNotFoundError
from gate.records import ResourceLimits, Workload

KERNELS = Path(__file__).parents[2] / "kernels"
TOML = """
name = "mine"
summary = "one"
language = "c++"
sources = ["kernel.cpp"]
flags = ["-O3"]
devices = ["cpu", "cuda"]
supports = { dtypes = ["float32"], head_dims = [32, 64], causal = [true] }
"""


@pytest.fixture
def kernels(tmp_path):
    """A kernels directory with the candidate `mine`."""
    folder = tmp_path / "kernels" / "mine"
    folder.mkdir(parents=True)
    (folder / "kernel.cpp").touch()
    (folder / "kernel.toml").write_text(TOML)
    return folder.parent


def change(kernels: Path, before: str, after: str) -> None:
    path = kernels / "mine" / "kernel.toml"
    assert before in path.read_text()
    path.write_text(path.read_text().replace(before, after))


def test_a_candidate_is_read_from_its_folder(kernels):
    assert find_candidate("mine", kernels) == Candidate(
        name="mine",
        summary="one",
        language="c++",
        sources=("kernel.cpp",),
        folder=(kernels / "mine").resolve(),
        flags=("-O3",),
        devices=("cpu", "cuda"),
        supports=Support(("float32",), (32, 64), (True,)),
    )


def test_a_candidate_has_an_absolute_folder(kernels, monkeypatch):
    monkeypatch.chdir(kernels.parent)
    assert find_candidate("mine", Path("kernels")).folder.is_absolute()


def test_candidates_are_listed_by_name(kernels):
    (kernels / "another").mkdir()
    (kernels / "another" / "kernel.toml").touch()
    (kernels / "no_candidate").mkdir()
    assert candidate_names(kernels) == ["another", "mine"]


@pytest.mark.parametrize("name", ["yours", "", "..", "../kernels/mine", "mine/"])
def test_an_unknown_name_is_no_candidate_and_the_known_ones_are_named(name, kernels):
    with pytest.raises(CandidateNotFoundError, match="mine") as caught:
        find_candidate(name, kernels)
    assert caught.value.exit_code == 2


def test_a_missing_kernels_directory_is_bad_input(tmp_path):
    with pytest.raises(BadInputError, match="--kernels"):
        candidate_names(tmp_path / "nowhere")


def test_the_first_value_of_each_tunable_is_chosen_unless_another_is(kernels):
    change(kernels, "devices", "tunables = { BLOCK_M = [64, 32], STAGES = [2] }\ndevices")
    assert find_candidate("mine", kernels).config == {"BLOCK_M": 64, "STAGES": 2}
    assert find_candidate("mine", kernels, "BLOCK_M=32").config == {"BLOCK_M": 32, "STAGES": 2}
    (listed,) = all_candidates(kernels)
    assert listed.config == {"BLOCK_M": 64, "STAGES": 2}


def test_a_value_that_is_not_allowed_is_refused(kernels):
    with pytest.raises(BadInputError, match="allowed: no tunables"):
        find_candidate("mine", kernels, "BLOCK_M=32")


def test_a_value_that_makes_no_launch_is_refused(kernels):
    change(kernels, "devices", 'tunables = { NUM_WARPS = [4, 64] }\nthreads = "32 * NUM_WARPS"\ndevices')
    assert find_candidate("mine", kernels).config == {"NUM_WARPS": 4}
    with pytest.raises(BadInputError, match=r"must lie between 1 and 1024; .*--config"):
        find_candidate("mine", kernels, "NUM_WARPS=64")


def test_what_a_cuda_candidate_says_of_itself_is_read(kernels):
    said = """
    architectures = ["8.9", "9.0a"]
    threads = "32 * NUM_WARPS"
    dynamic_shared_bytes = { "attend<64" = 49152, attend = 0 }
    tunables = { NUM_WARPS = [4] }
    resources = { max_spill_bytes = 0 }
    requires = ["libshiny.so.2"]
    remedy = "pip install shiny"
    """
    change(kernels, '"c++"', f'"cuda"\n{said}')
    made = find_candidate("mine", kernels)
    assert made.architectures == ("8.9", "9.0a")
    assert (made.threads, made.dynamic_shared_bytes) == ("32 * NUM_WARPS", {"attend<64": 49152, "attend": 0})
    assert made.resources == ResourceLimits(max_spill_bytes=0)
    assert (made.requires, made.remedy) == (("libshiny.so.2",), "pip install shiny")


CUDA = 'language = "cuda"\narchitectures = ["8.9"]\n'
BROKEN = {
    "CUDA without architectures": ('"c++"', '"cuda"'),
    "architectures without CUDA": ('"c++"', '"c++"\narchitectures = ["8.9"]'),
    "what is no architecture": ('language = "c++"', CUDA.replace("8.9", "sm_89")),
    "architectures among the flags": (
        'language = "c++"\n',
        CUDA + "link_flags = []\n",
        '"-O3"',
        '"-gencode=arch=compute_89"',
    ),
    "a tunable in small letters": ("devices", "tunables = { block_m = [64] }\ndevices"),
    "a tunable without values": ("devices", "tunables = { BLOCK_M = [] }\ndevices"),
    "a tunable that is no number": ("devices", 'tunables = { BLOCK_M = ["wide"] }\ndevices'),
    "threads of an unknown tunable": ("devices", 'threads = "32 * WARPS"\ndevices'),
    "less than no shared memory": ("devices", "dynamic_shared_bytes = -1\ndevices"),
    "a limit of less than nothing": ("devices", "resources = { max_registers = -1 }\ndevices"),
    "an unknown limit": ("devices", "resources = { max_regs = 1 }\ndevices"),
    "a library that nobody says how to get": ("devices", 'requires = ["libx.so"]\ndevices'),
    "a library by its path": ("devices", 'requires = ["/lib/x.so"]\nremedy = "none"\ndevices'),
    "a configuration": ("devices", "config = { BLOCK_M = 1 }\ndevices"),
    "a folder": ("devices", 'folder = "/"\ndevices'),
    "not TOML": ('name = "mine"', 'name = "mine'),
    "another name than its folder's": ('name = "mine"', 'name = "yours"'),
    "an unknown language": ('"c++"', '"fortran"'),
    "an unknown device": ('"cuda"]', '"tpu"]'),
    "an unknown dtype": ('"float32"', '"float8"'),
    "an unknown field": ("summary", "sumary"),
    "a source that is not there": ("kernel.cpp", "other.cpp"),
    "a source outside its folder": ("kernel.cpp", "../mine/../../outside.cpp"),
    "no source": ('["kernel.cpp"]', "[]"),
}


@pytest.mark.parametrize("name", ["my-kernel", "a.b", "a b", "x" * 65, "ключ"])
def test_a_name_is_a_word_of_letters_digits_and_underscores(name, kernels):
    (kernels / "mine").rename(kernels / name)
    (kernels / name / "kernel.toml").write_text(TOML.replace('"mine"', f'"{name}"'))
    with pytest.raises(BadInputError, match="letters, digits and _"):
        find_candidate(name, kernels)


def test_an_unknown_field_is_named(kernels):
    change(kernels, "summary", "sumary")
    with pytest.raises(BadInputError, match=r"sumary: unknown field; kernel.toml"):
        find_candidate("mine", kernels)


@pytest.mark.parametrize("fault", BROKEN.values(), ids=BROKEN)
def test_a_broken_kernel_toml_is_refused_by_its_path(fault, kernels):
    (kernels.parent / "outside.cpp").touch()
    for before, after in zip(fault[::2], fault[1::2], strict=True):
        change(kernels, before, after)
    with pytest.raises(BadInputError, match=r"mine/kernel\.toml") as caught:
        find_candidate("mine", kernels)
    assert "\n" not in str(caught.value)


def test_a_folder_for_headers_may_lie_outside_and_has_to_be_there(kernels):
    path = kernels / "mine" / "kernel.toml"
    path.write_text(TOML + 'include_dirs = ["../../library", "."]\n')
    with pytest.raises(BadInputError, match=r"include_dirs: '\.\./\.\./library' is not a folder"):
        find_candidate("mine", kernels)
    (kernels.parent / "library").mkdir()
    assert find_candidate("mine", kernels).include_dirs == ("../../library", ".")


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")], ids=["a pipe", "a device"])
def test_a_kernel_toml_that_is_no_plain_file_is_refused_at_once(make, kernels):
    path = kernels / "mine" / "kernel.toml"
    path.unlink()
    make(path)
    with pytest.raises(BadInputError, match=r"it is a (pipe|device)"):
        find_candidate("mine", kernels)


def test_a_source_that_links_out_of_its_folder_is_refused(kernels):
    (kernels / "outside.cpp").touch()
    (kernels / "mine" / "kernel.cpp").unlink()
    (kernels / "mine" / "kernel.cpp").symlink_to(kernels / "outside.cpp")
    with pytest.raises(BadInputError, match=r"kernel\.cpp"):
        find_candidate("mine", kernels)


def test_a_broken_candidate_does_not_hide_the_others(kernels):
    (kernels / "broken").mkdir()
    (kernels / "broken" / "kernel.toml").write_text("name = ")
    broken, mine = all_candidates(kernels)
    assert isinstance(broken, BadInputError)
    assert isinstance(mine, Candidate)


@pytest.mark.parametrize(
    ("workload", "seen"),
    [
        (Workload(1, 1, 8, 32, "float32", causal=True), None),
        (Workload(1, 1, 8, 32, "float16", causal=True), "dtype float16"),
        (Workload(1, 1, 8, 48, "float32", causal=True), "head_dim 48"),
        (Workload(1, 1, 8, 32, "float32", causal=False), "causal = False"),
    ],
)
def test_a_candidate_says_why_it_does_not_support_a_workload(workload, seen):
    refusal = Support(("float32",), (32, 64), (True,)).refusal(workload)
    assert refusal is None if seen is None else seen in refusal


def test_no_head_dims_mean_any():
    assert Support(("float32",)).refusal(Workload(1, 1, 8, 7, "float32")) is None


@pytest.mark.parametrize(
    ("language", "compiled"), [("c++", True), ("cuda", True), ("python", False), ("triton", False)]
)
def test_only_c_plus_plus_and_cuda_are_compiled(language, compiled, kernels):
    architectures = 'architectures = ["8.9"]' if language == "cuda" else ""
    change(kernels, '"c++"', f'"{language}"\n{architectures}')
    assert find_candidate("mine", kernels).compiled is compiled


@pytest.mark.parametrize("name", candidate_names(KERNELS))
def test_every_candidate_of_this_repository_can_be_read(name):
    assert find_candidate(name, KERNELS).name == name


def test_the_header_beside_the_candidates_is_the_one_that_is_shipped():
    shipped = KERNELS.parent / "gate" / "include" / "attention.h"
    assert (KERNELS / "attention.h").read_bytes() == shipped.read_bytes()
