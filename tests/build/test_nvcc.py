"""CUDA candidates become libraries, on machines with nvcc and without a GPU."""

import ctypes
import os
from pathlib import Path

import pytest

from gate.build.build import build, cached_build
from gate.build.cache_key import request_key
from gate.candidates.registry import find_candidate
from gate.records import Status
from tests.support.cuda_candidate import CODE, TOML, needs_nvcc, write_candidate


@pytest.fixture(autouse=True)
def surrounded(tmp_path, monkeypatch):
    """An empty build cache, and nothing in the environment that says for what to build."""
    monkeypatch.setenv("KERNEL_GATE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("TORCH_CUDA_ARCH_LIST", raising=False)
    monkeypatch.setattr("gate.build.targets._capability", lambda: None)


@pytest.fixture
def kernels(tmp_path):
    return tmp_path / "kernels"


@pytest.fixture
def recorded(monkeypatch, tmp_path):
    """A machine whose nvcc is a shell script of the test's own."""

    def install(script: str) -> Path:
        program = tmp_path / "toolkit" / "bin" / "nvcc"
        program.parent.mkdir(parents=True)
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setenv("CUDA_HOME", str(tmp_path / "toolkit"))
        return program

    return install


@needs_nvcc
def test_a_cuda_candidate_becomes_a_library_with_a_report(kernels, server):
    write_candidate(kernels)
    made = build(find_candidate("tiny", kernels, "NUM_WARPS=8"), server, 120.0)
    assert made.status is Status.OK, made.log
    assert ctypes.CDLL(made.library).attention_workspace_bytes(None) == 8
    assert (made.config, made.architectures) == ({"NUM_WARPS": 8}, ("8.9", "9.0"))
    assert [(each.architecture, each.threads, each.shared_bytes) for each in made.resources] == [
        ("8.9", 256, 256),
        ("9.0", 256, 256),
    ]
    assert all(each.occupancy == 1.0 and each.spill_bytes == 0 and each.registers > 0 for each in made.resources)
    assert "ptxas info" in made.log
    files = sorted(path.name for path in Path(made.library).parent.iterdir())
    assert files == ["build.json", "dependencies.json", "libtiny.so"]


@needs_nvcc
def test_a_cuda_build_is_found_again_with_its_report(kernels, server):
    write_candidate(kernels)
    candidate = find_candidate("tiny", kernels)
    made, found = build(candidate, server, 120.0, ["8.0"]), cached_build(candidate, ["8.0"])
    assert found.cached
    assert (found.library, found.resources, found.log) == (made.library, made.resources, made.log)
    assert cached_build(candidate, ["8.9"]) is None


@needs_nvcc
def test_what_kernel_toml_says_of_a_launch_goes_before_launch_bounds(kernels, server):
    write_candidate(
        kernels,
        toml=TOML.replace("[tun", 'threads = "16 * NUM_WARPS"\ndynamic_shared_bytes = { attend = 51200 }\n[tun'),
    )
    (seen,) = build(find_candidate("tiny", kernels), server, 120.0, ["8.9"]).resources
    assert (seen.threads, seen.dynamic_shared_bytes, seen.filled.limited_by) == (64, 51200, "shared memory")
    assert seen.occupancy == 2 / 48


SPILLS = """
__global__ void __launch_bounds__(1024) crowded(float *p) {
  float a[128];
  for (int i = 0; i < 128; i++) a[i] = p[i * 7 + threadIdx.x];
  for (int j = 0; j < 10; j++) {
    #pragma unroll
    for (int i = 0; i < 128; i++) a[i] = a[i] * a[(i + 5) % 128] + 1;
    __syncthreads();
  }
  #pragma unroll
  for (int i = 0; i < 128; i++) p[i * 7 + threadIdx.x] = a[i];
}
"""


@needs_nvcc
def test_spills_are_seen_and_held_against_what_is_claimed_and_allowed(kernels, server):
    write_candidate(kernels, CODE + SPILLS, TOML + "[resources]\nmax_spill_bytes = 0\n")
    candidate = find_candidate("tiny", kernels)
    made = build(candidate, server, 120.0, ["8.9"])
    crowded = next(each for each in made.resources if each.kernel.startswith("crowded"))
    assert crowded.spill_store_bytes > 0
    assert crowded.spill_load_bytes > 0
    assert crowded.stack_bytes > 0
    assert len(candidate.resources.broken_by(made.resources)) == 1


IMITATED = r"""
#pragma message("\nptxas info    : Used 1 registers")
#pragma message("\n    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads")
#warning ptxas info    : Used 1 registers
"""


@pytest.mark.slow
@needs_nvcc
def test_a_message_that_imitates_the_report_does_not_change_it(kernels, tmp_path, server):
    write_candidate(kernels, CODE + SPILLS)
    write_candidate(tmp_path / "other", CODE + SPILLS + IMITATED)
    honest, other = (
        build(find_candidate("tiny", each), server, 120.0, ["8.9"]) for each in (kernels, tmp_path / "other")
    )
    assert other.log.count("Used 1 registers") > honest.log.count("Used 1 registers") == 0
    assert other.resources == honest.resources


@pytest.mark.slow
@needs_nvcc
def test_several_sources_make_one_library(kernels, server):
    folder = write_candidate(
        kernels,
        CODE + 'int two();\nextern "C" int answer() { return two(); }\n',
        TOML.replace('u"]', 'u", "a/kernel.cu"]'),
    )
    (folder / "a").mkdir()
    (folder / "a" / "kernel.cu").write_text("int two() { return 2; }\n__global__ void second() {}\n")
    made = build(find_candidate("tiny", kernels), server, 120.0, ["8.9"])
    assert made.status is Status.OK, made.log
    assert ctypes.CDLL(made.library).answer() == 2
    assert len(made.resources) == 2


HOST_CODE = """
#include <cuda_runtime.h>
#include "attention.h"
int run(const attention_args *);
extern "C" int attention(const attention_args *args) { return RUN; }
extern "C" size_t attention_workspace_bytes(const attention_args *) { return 0; }
"""
DEVICE_CODE = """
#include "attention.h"
__global__ void attend() {}
int run(const attention_args *) { attend<<<1, 1>>>(); return 0; }
"""


@pytest.mark.slow
@needs_nvcc
def test_a_source_of_host_code_alone_adds_no_row(kernels, server):
    folder = write_candidate(kernels, HOST_CODE.replace("RUN", "run(args)"), TOML.replace('u"]', 'u", "device.cu"]'))
    (folder / "device.cu").write_text(DEVICE_CODE)
    made = build(find_candidate("tiny", kernels), server, 120.0, ["8.9"])
    assert made.status is Status.OK, made.log
    assert [each.kernel for each in made.resources] == ["attend"]


@needs_nvcc
def test_a_candidate_that_calls_a_library_and_has_no_kernel_builds_without_rows(kernels, server):
    write_candidate(kernels, HOST_CODE.replace("RUN", "cudaMemsetAsync(args->out, 0, 1)"))
    made = build(find_candidate("tiny", kernels), server, 120.0, ["8.9"])
    assert made.status is Status.OK, made.log
    assert made.resources == ()


FAULTS = {
    "a missing semicolon": ("row[0];\n}", "row[0]\n}", "kernel.cu(8): error: expected a"),
    "a header that is not there": ("#include <cuda_runtime.h>", "#include <nowhere.h>", "nowhere.h"),
    "a tunable that is not declared": ("[D];", "[BLOCK_M];", 'identifier "BLOCK_M" is undefined'),
    "too much shared memory": ("row[D]", "row[D * 1000]", "too much shared data"),
    "no workspace function": ("attention_workspace_bytes", "attention_workspace", "attention_workspace_bytes()"),
    "a function that nobody defines": ("return NUM_WARPS;", "size_t nowhere(); return nowhere();", "nowhere"),
}


@needs_nvcc
@pytest.mark.parametrize(("before", "after", "words"), FAULTS.values(), ids=FAULTS)
def test_a_fault_is_told_in_the_compilers_words_and_all_of_them_are_kept(before, after, words, kernels, server):
    assert before in CODE
    write_candidate(kernels, CODE.replace(before, after))
    made = build(find_candidate("tiny", kernels), server, 120.0, ["8.9"])
    assert made.status is Status.BUILD_FAILED
    assert words in made.message
    assert words in made.log or "kernel.cu" in made.log
    assert cached_build(find_candidate("tiny", kernels), ["8.9"]) is None


@needs_nvcc
def test_an_architecture_that_this_nvcc_does_not_know_is_told_in_its_words(kernels, server):
    write_candidate(kernels, toml=TOML.replace('"9.0"', '"99.0"'))
    made = build(find_candidate("tiny", kernels), server, 120.0, ["99.0"])
    assert (made.status, made.message[:10]) == (Status.BUILD_FAILED, "nvcc fatal")


def test_without_nvcc_the_machine_is_unfit_and_it_is_said_what_to_install(kernels, monkeypatch):
    monkeypatch.setattr("gate.build.build.find_tool", lambda _: None)
    write_candidate(kernels)
    made = build(find_candidate("tiny", kernels), None, 1.0)
    assert made.status is Status.ENVIRONMENT
    assert "install the CUDA toolkit" in made.message
    assert not Path(os.environ["KERNEL_GATE_CACHE"]).exists()


def test_a_candidate_for_other_gpus_is_refused(kernels, monkeypatch, recorded):
    recorded("exit 1")
    monkeypatch.setattr("gate.build.targets._capability", lambda: "12.0")
    write_candidate(kernels)
    made = build(find_candidate("tiny", kernels), None, 1.0)
    assert made.status is Status.UNSUPPORTED
    assert "8.0, 8.9, 9.0" in made.message
    assert "GPU (12.0)" in made.message


def test_the_request_changes_with_configuration_architectures_and_nvcc(kernels, recorded):
    program = recorded("echo one")
    write_candidate(kernels)
    plain, tuned = find_candidate("tiny", kernels), find_candidate("tiny", kernels, "NUM_WARPS=8")
    keys = [request_key(plain, ["8.9"]), request_key(tuned, ["8.9"]), request_key(plain, ["9.0"])]
    program.write_text("#!/bin/sh\necho two\n")
    assert len({*keys, request_key(plain, ["8.9"])}) == 4


COMMANDS = {
    "the defaults": ([], {"-O3", "-std=c++17", "-lineinfo"}, {"-use_fast_math"}),
    "fast math, which is asked for": (["-use_fast_math"], {"-O3", "-use_fast_math"}, set()),
    "another standard": (["-std=c++20"], {"-std=c++20", "-O3"}, {"-std=c++17"}),
    "less optimisation": (["-O1"], {"-O1"}, {"-O3"}),
    "for a debugger": (["-G"], {"-G"}, {"-lineinfo"}),
}


@pytest.mark.parametrize(("flags", "there", "absent"), COMMANDS.values(), ids=COMMANDS)
def test_the_candidates_flags_go_before_the_defaults(flags, there, absent, kernels, server, recorded):
    """What nvcc is called with is in the log, of builds that fail too."""
    recorded("exit 1")
    write_candidate(kernels, toml=TOML.replace("[tun", f"flags = {flags}\n[tun"))
    log = build(find_candidate("tiny", kernels), server, 60.0, ["8.9"]).log
    words = set(log.split())
    assert there <= words
    assert not absent & words
    assert {"-DNUM_WARPS=4", "-gencode=arch=compute_89,code=sm_89", "-Xptxas=-v", "-Xcompiler=-fPIC"} <= words
