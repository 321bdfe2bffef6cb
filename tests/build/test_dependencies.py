"""A changed file that a compiler read, or one that it would have read, makes another build."""

import shutil
import subprocess
from pathlib import Path

import pytest

from gate.build.build import build, cached_build
from gate.build.dependencies import files_of_rules, files_of_trace, folders_searched, named_in_flags
from gate.candidates.registry import find_candidate
from gate.records import Status
from tests.support.cuda_candidate import needs_nvcc

pytestmark = pytest.mark.xdist_group("dependencies")  # one build serves many

CODE = """
#include "attention.h"
#include "beside.h"
#include "own.h"
#include <plain.h>
#include <declared.h>
#include <system.h>
#include "quoted.h"
#include <after.h>
#include <shadowed.h>
#include <folder_link/linked.h>
#include "../../outside/links/link.h"
#define CHOSEN <chosen.h>
#include CHOSEN
#if __has_include("optional.h")
#include "optional.h"
#endif
int helper();
DEVICE_ONLY
asm(".section .rodata.blob\\n.incbin \\"../../outside/blobs/blob.bin\\"\\n.previous");
extern "C" int attention(const attention_args *) { return helper() + BEFORE + RESPONSE; }
extern "C" size_t attention_workspace_bytes(const attention_args *) { return 0; }
"""
DEVICE_ONLY = """
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ == 900
#include <device.h>
#endif
__global__ void attend() {}
"""
OUTSIDE = "../../outside"
FOLDERS = (
    "first", "plain", "declared", "system", "quoted", "after", "real", "links", "before", "libraries", "blobs",
    "responses",
)  # fmt: skip
HEADERS = (
    "plain/plain.h", "plain/chosen.h", "plain/shadowed.h", "plain/device.h", "plain/deeper.h", "declared/declared.h",
    "system/system.h", "quoted/quoted.h", "after/after.h", "real/linked.h", "links/real.h", "links/other.h",
)  # fmt: skip
FLAGS = {
    "c++": ["-O0", f"-iquote{OUTSIDE}/quoted", "-idirafter", f"{OUTSIDE}/after", f"@{OUTSIDE}/responses/response"],
    "cuda": [
        f"-Xcompiler=-iquote,{OUTSIDE}/quoted", f"-Xcompiler=-idirafter,{OUTSIDE}/after",
        f"--options-file={OUTSIDE}/responses/response",
    ],
}  # fmt: skip
BOTH = [f"-I{OUTSIDE}/first", f"-I{OUTSIDE}/later", f"-I{OUTSIDE}/plain", "-isystem", f"{OUTSIDE}/system"]
LINKED = [f"-L{OUTSIDE}/first", f"-L{OUTSIDE}/libraries", "-lhelper"]


def write_world(world: Path, language: str) -> None:
    """A candidate that reaches files outside its folder in every way there is."""
    outside, folder = world / "outside", world / "kernels" / "tiny"
    for name in FOLDERS:
        (outside / name).mkdir(parents=True)
    for name in HEADERS:
        (outside / name).write_text("// as it was\n")
    (outside / "plain" / "plain.h").write_text('#include "deeper.h"\n')
    (outside / "before" / "before.h").write_text("#define BEFORE 1\n")
    (outside / "responses" / "response").write_text("-DRESPONSE=1 -include ../../outside/before/before.h\n")
    (outside / "blobs" / "blob.bin").write_bytes(b"as it was")
    (outside / "plain" / "folder_link").symlink_to("../real")
    (outside / "links" / "link.h").symlink_to("real.h")
    archive(outside, 1)
    folder.mkdir(parents=True)
    (folder.parent / "beside.h").touch()
    (folder / "own.h").touch()
    source = "kernel.cu" if language == "cuda" else "kernel.cpp"
    (folder / source).write_text(CODE.replace("DEVICE_ONLY", DEVICE_ONLY if language == "cuda" else ""))
    (folder / "kernel.toml").write_text(
        f'name = "tiny"\nsummary = "reads much"\nlanguage = "{language}"\nsources = ["{source}"]\ndevices = ["cpu"]\n'
        f'include_dirs = ["{OUTSIDE}/declared"]\nflags = {BOTH + FLAGS[language]}\nlink_flags = {LINKED}\n'
        + ('architectures = ["8.0", "9.0"]\n' if language == "cuda" else "")
    )


def archive(outside: Path, answer: int) -> None:
    """The static library that the candidate is linked with."""
    commands = (
        ["g++", "-fPIC", "-x", "c++", "-c", "-", "-o", "helper.o"],
        ["ar", "rcs", "libraries/libhelper.a", "helper.o"],
    )
    for command in commands:
        subprocess.run(command, cwd=outside, input=f"int helper() {{ return {answer}; }}".encode(), check=True)


@pytest.fixture(scope="module", params=["c++", pytest.param("cuda", marks=needs_nvcc)])
def built(request, tmp_path_factory, server):
    """That candidate with its build in a cache beside it."""
    world = tmp_path_factory.mktemp("world")
    write_world(world, request.param)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERNEL_GATE_CACHE", str(world / "cache"))
        made = build(find_candidate("tiny", world / "kernels"), server, 120.0, architectures(request.param))
    assert made.status is Status.OK, made.log
    return world, request.param


def architectures(language: str) -> list[str]:
    return ["8.0", "9.0"] if language == "cuda" else []


@pytest.fixture
def world(built, tmp_path, monkeypatch):
    """A copy of it all, which a test may change."""
    shutil.copytree(built[0], tmp_path / "copy", symlinks=True)
    monkeypatch.setenv("KERNEL_GATE_CACHE", str(tmp_path / "copy" / "cache"))
    return tmp_path / "copy"


def relink(link: Path, target: str) -> None:
    link.unlink()
    link.symlink_to(target)


def write(path: str):
    """A change that gives the file another content."""
    return lambda world: (world / path).write_text("// another\n")


CHANGES = {
    "a source": lambda world: next(world.glob("kernels/tiny/kernel.c*")).write_text("// another\n"),
    "a header of its own": write("kernels/tiny/own.h"),
    "a header beside its folder": write("kernels/beside.h"),
    "a header reached by -I": write("outside/plain/plain.h"),
    "a header that such a header includes": write("outside/plain/deeper.h"),
    "a header reached by include_dirs": write("outside/declared/declared.h"),
    "a header reached by -isystem": write("outside/system/system.h"),
    "a header reached by -iquote": write("outside/quoted/quoted.h"),
    "a header reached by -idirafter": write("outside/after/after.h"),
    "a header reached by -include": write("outside/before/before.h"),
    "a header that a macro names": write("outside/plain/chosen.h"),
    "a response file": lambda world: (world / "outside/responses/response").write_text("-DRESPONSE=2 -DBEFORE=1"),
    "a file behind a link": write("outside/links/real.h"),
    "a file in a folder behind a link": write("outside/real/linked.h"),
    "a file that the assembler read": write("outside/blobs/blob.bin"),
    "a static library": lambda world: archive(world / "outside", 2),
    "a link's target": lambda world: [
        write("outside/links/other.h")(world), relink(world / "outside/links/link.h", "other.h")
    ],
    "a file that is gone": lambda world: (world / "outside/plain/deeper.h").unlink(),
    "a file for which __has_include asks": write("kernels/optional.h"),
    "a header that is found earlier": write("outside/first/shadowed.h"),
    "a header in a folder that was not there": lambda world: [
        (world / "outside/later").mkdir(), write("outside/later/shadowed.h")(world)
    ],
    "a library that is found earlier": lambda world: shutil.copy(
        world / "outside/libraries/libhelper.a", world / "outside/first"
    ),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_another_build_is_made_after_a_change_of(change, world, built):
    assert found(world, built).cached
    change(world)
    assert found(world, built) is None


def found(world: Path, built):
    return cached_build(find_candidate("tiny", world / "kernels"), architectures(built[1]))


@needs_nvcc
@pytest.mark.parametrize("built", ["cuda"], indirect=True)
def test_another_build_is_made_after_a_change_of_a_header_for_one_architecture(world, built):
    write("outside/plain/device.h")(world)
    assert found(world, built) is None


def test_what_no_compiler_reads_makes_no_other_build(world, built):
    for name in ("outside/plain/results.json", "outside/plain/README.md", "kernels/report.html"):
        write(name)(world)
    (world / "kernels" / "neighbour").mkdir()
    write("kernels/neighbour/kernel.toml")(world)
    write("kernels/neighbour/plain.h")(world)
    assert found(world, built).cached


def test_the_build_is_found_from_any_working_folder(world, built, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert found(world, built).cached


def test_several_states_of_the_files_outside_have_a_build_each(world, built, server):
    header = world / "outside/plain/plain.h"
    before = header.read_text()
    header.write_text("// another\n")
    other = build(find_candidate("tiny", world / "kernels"), server, 120.0, architectures(built[1]))
    assert (other.status, other.cached) == (Status.OK, False)
    header.write_text(before)
    assert found(world, built).key != other.key
    header.write_text("// another\n")
    assert found(world, built).key == other.key


def test_names_in_a_rule_are_read_with_spaces_dollars_and_hashes():
    rules = "a.o: plain.h with\\ space.h \\\n d$$llar.h \\\n h\\#sh.h\n\nplain.h:\n"
    assert list(files_of_rules(rules)) == ["plain.h", "with space.h", "d$llar.h", "h#sh.h"]


def test_searched_folders_are_those_that_the_compiler_lists_and_those_that_are_not_there():
    said = (
        'ignoring nonexistent directory "/none"\n#include "..." search starts here:\n /quoted\n'
        '#include <...> search starts here:\n /one\n /two three\nEnd of search list.\n# 1 "empty.cpp"\n'
    )
    assert list(folders_searched(said)) == ["/quoted", "/one", "/two three", "/none"]


@pytest.mark.parametrize("line", ["lib.a", "(lib.a)member.o", "lib.a(member.o)"])
def test_a_linkers_trace_names_an_archive_in_its_own_way(line, tmp_path):
    (tmp_path / "lib.a").touch()
    assert files_of_trace(f"{line}\nan unrelated warning\n", tmp_path) == {line: "lib.a"}


@pytest.mark.parametrize(
    "flag", ["-specs=a/file", "-Wl,--version-script=a/file", "-Ta/file", "a/file", "-includea/file", "@a/file"]
)
def test_files_that_flags_name_are_found(flag, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").write_text("-O2 -DNAME=1")
    assert list(named_in_flags(["-O3", flag], tmp_path)) == ["a/file"]


def test_response_files_that_name_one_another_are_read_once(tmp_path):
    (tmp_path / "one").write_text("@two")
    (tmp_path / "two").write_text("@one -include three")
    (tmp_path / "three").touch()
    assert set(named_in_flags(["@one"], tmp_path)) == {"one", "two", "three"}
