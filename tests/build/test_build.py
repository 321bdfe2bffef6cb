import ctypes
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from filelock import FileLock, Timeout

from gate.build import cache_key
from gate.build.build import build, cached_build
from gate.build.cache_key import files_sha256, request_key
from gate.build.compile import compile_library
from gate.candidates.registry import find_candidate
from gate.errors import UnfitEnvironmentError
from gate.machine.preflight import cache_root
from gate.records import Status
from gate.sandbox.client import WorkerServer
from gate.sandbox.protocol import CompileAnswer, CompileRequest, Dependencies
from tests.support import examples
from tests.support.jobs import answering, ended
from tests.support.processes import DEADLINE_S

CODE = """
#include "attention.h"
extern "C" int attention(const attention_args *) { return ANSWER; }
extern "C" size_t attention_workspace_bytes(const attention_args *) { return 0; }
"""
TOML = """
name = "tiny"
summary = "compiles within a second"
language = "c++"
sources = ["kernel.cpp"]
flags = ["-O0", "-DANSWER=42"]
devices = ["cpu"]
"""


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty build cache."""
    monkeypatch.setenv("KERNEL_GATE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path):
    """The folder of a candidate that compiles fast."""
    made = tmp_path / "kernels" / "tiny"
    made.mkdir(parents=True)
    (made / "kernel.cpp").write_text(CODE)
    (made / "kernel.toml").write_text(TOML)
    return made


@pytest.fixture
def candidate(folder):
    return find_candidate("tiny", folder.parent)


class Compiler:
    """Stands for the fork server: `compiles` in its place, and counts."""

    def __init__(self, ending=None, meanwhile=lambda: None, read=()):
        self.ending, self.meanwhile, self.count = ending, meanwhile, 0
        self.read = Dependencies(read)

    def call(self, kind, requests, seconds):
        self.count += 1
        self.meanwhile()
        if self.ending is not None:
            return self.ending
        library = Path(requests[0].directory) / "libtiny.so"
        library.touch()
        return answering(CompileAnswer(str(library), dependencies=self.read))


def entries(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.iterdir() if path.name != "locks")


def test_a_candidate_becomes_a_library_that_can_be_called(candidate, server, cache):
    made = build(candidate, server, 120.0)
    assert (made.status, made.cached) == (Status.OK, False)
    assert ctypes.CDLL(made.library).attention(None) == 42
    assert entries(cache) == [made.key]


def test_a_second_build_is_found_in_the_cache(candidate, cache):
    compiler = Compiler()
    first, second = build(candidate, compiler, 1.0), build(candidate, compiler, 1.0)
    assert compiler.count == 1
    assert (first.cached, second.cached) == (False, True)
    assert (first.key, first.library) == (second.key, second.library)


def test_nothing_is_cached_before_it_is_built(candidate, cache):
    assert cached_build(candidate) is None
    assert not cache.exists()


def test_two_builds_at_once_compile_once(candidate, cache, monkeypatch):
    """The second waits for the first and finds what it made; the first goes on once the second has come so far."""
    results, second_is_there = [], threading.Event()
    other = threading.Thread(target=lambda: results.append(build(candidate, compiler, 1.0)))

    class Lock(FileLock):
        def acquire(self, **options):
            try:
                return super().acquire(timeout=0)
            except Timeout:
                second_is_there.set()
                return super().acquire(**options)

    def meanwhile():
        if other.ident:
            second_is_there.set()  # and compiles
        else:
            other.start()
            assert second_is_there.wait(DEADLINE_S)

    monkeypatch.setattr("filelock.FileLock", Lock)
    compiler = Compiler(meanwhile=meanwhile)
    results.append(build(candidate, compiler, 1.0))
    other.join()
    assert compiler.count == 1
    assert sorted(result.cached for result in results) == [False, True]


def test_a_build_that_was_ended_holds_up_no_other(candidate, cache):
    key = request_key(candidate)
    hold = f"import os, filelock; filelock.FileLock('{cache}/locks/{key}').acquire(); os._exit(9)"
    (cache / "locks").mkdir(parents=True)
    assert subprocess.run([sys.executable, "-c", hold], check=False).returncode == 9
    assert (cache / "locks" / key).exists()
    assert build(candidate, Compiler(), 1.0).status is Status.OK


@pytest.mark.parametrize("lost", ["the library", "the record", "half of the record", "both"])
def test_a_cached_build_that_is_damaged_is_made_anew(lost, candidate, cache):
    compiler = Compiler()
    made = build(candidate, compiler, 1.0)
    library, record = Path(made.library), Path(made.library).with_name("build.json")
    if lost in ("the library", "both"):
        library.unlink()
    if lost in ("the record", "both"):
        record.unlink()
    if lost == "half of the record":
        record.write_text(record.read_text()[:20])
    again = build(candidate, compiler, 1.0)
    assert (again.status, again.cached, compiler.count) == (Status.OK, False, 2)
    assert library.exists()
    assert record.exists()


def test_a_cache_that_moved_still_serves(candidate, cache, monkeypatch):
    build(candidate, Compiler(), 1.0)
    moved = cache.rename(cache.with_name("moved"))
    monkeypatch.setenv("KERNEL_GATE_CACHE", str(moved))
    assert Path(cached_build(candidate).library).is_relative_to(moved)


FAILURES = {
    "the compiler says no": (
        answering(CompileAnswer(None, "error: expected ';'", "a long log")),
        Status.BUILD_FAILED,
        "error: expected ';'",
    ),
    "it takes too long": (ended(cause="time", state=9, seconds=1.0), Status.TIMED_OUT, "did not end within 1 s"),
    "it takes too much memory": (ended(cause="memory", state=9), Status.BUILD_FAILED, "more than its limit"),
    "the compiler crashes": (ended(state=11, output="cc1plus: oh"), Status.BUILD_FAILED, "SIGSEGV: cc1plus: oh"),
    "the answer is garbage": (ended(b"garbage"), Status.BUILD_FAILED, "is not a record"),
}


@pytest.mark.parametrize(("seen", "status", "words"), FAILURES.values(), ids=FAILURES)
def test_a_build_that_fails_says_why_and_is_not_cached(seen, status, words, candidate, cache):
    compiler = Compiler(seen)
    made = build(candidate, compiler, 1.0)
    assert made.status is status
    assert words in made.message
    assert entries(cache) == []
    build(candidate, compiler, 1.0)
    assert compiler.count == 2


def test_a_failed_build_names_the_first_error_and_keeps_the_log(folder, server, cache):
    (folder / "kernel.cpp").write_text(CODE.replace("return ANSWER;", "return ANSWER"))
    made = build(find_candidate("tiny", folder.parent), server, 120.0)
    assert made.status is Status.BUILD_FAILED
    assert "kernel.cpp:3" in made.message
    assert "error:" in made.message
    assert made.message in made.log
    assert entries(cache) == []


CONSTRUCTOR = """
#include <cstdio>
#include <cstdlib>
__attribute__((constructor)) static void first() {{ std::fclose(std::fopen("{mark}", "w")); std::_Exit(0); }}
"""


def test_a_build_runs_nothing_of_the_candidate(folder, server, cache, tmp_path):
    """Who runs in the process that answers can answer in its place."""
    mark = tmp_path / "mark"
    (folder / "kernel.cpp").write_text(CODE + CONSTRUCTOR.format(mark=mark))
    assert build(find_candidate("tiny", folder.parent), server, 120.0).status is Status.OK
    assert not mark.exists()


HIDDEN = 'extern "C" __attribute__((visibility("hidden"))) size_t'
MISSING = {
    "nothing of the name": CODE.replace("attention_workspace_bytes", "attention_workspace"),
    "a function that nobody else sees": CODE.replace('extern "C" size_t', HIDDEN),
    "a variable": 'extern "C" { int attention() { return 0; } int attention_workspace_bytes = 0; }',
}


@pytest.mark.parametrize("code", MISSING.values(), ids=MISSING)
def test_a_function_that_is_not_exported_is_a_failed_build_that_names_it(code, folder, server, cache):
    (folder / "kernel.cpp").write_text(code)
    made = build(find_candidate("tiny", folder.parent), server, 120.0)
    assert (made.status, made.library) == (Status.BUILD_FAILED, None)
    assert made.message == "the library exports no function attention_workspace_bytes()"


def test_a_library_with_undefined_functions_is_a_failed_build(folder, server, cache):
    (folder / "kernel.cpp").write_text(
        CODE.replace("ANSWER;", "nowhere();").replace("\nextern", "\nint nowhere();\nextern", 1)
    )
    made = build(find_candidate("tiny", folder.parent), server, 120.0)
    assert made.status is Status.BUILD_FAILED
    assert "nowhere" in made.message


ENDLESS = """
#if __INCLUDE_LEVEL__ < 100
#include "endless.h"
#include "endless.h"
#endif
"""


def test_a_real_build_that_takes_too_long_has_timed_out(folder, server, cache):
    (folder / "endless.h").write_text(ENDLESS)
    (folder / "kernel.cpp").write_text(f'#include "endless.h"\n{CODE}')
    assert build(find_candidate("tiny", folder.parent), server, 0.5).status is Status.TIMED_OUT
    assert entries(cache) == []


BROKEN = {
    "a syntax error": ("import torch\n\ndef attention(q, k, v)\n    pass\n", ":3: SyntaxError: expected ':'"),
    "an indentation": ("def attention():\npass\n", ":2: IndentationError"),
    "a null byte": ("x = 1\0", "null byte"),
}


@pytest.mark.parametrize(("code", "words"), BROKEN.values(), ids=BROKEN)
def test_python_that_does_not_parse_is_a_failed_build_with_its_file_and_line(code, words, python_candidate):
    folder = python_candidate(code)
    made = build(find_candidate("made_up", folder.parent), Compiler(), 1.0)
    assert made.status is Status.BUILD_FAILED
    assert "kernel.py:" in made.message
    assert words in made.message


def test_a_second_source_that_does_not_parse_fails_the_build_too(python_candidate):
    folder = python_candidate("import other\n")
    (folder / "other.py").write_text("(\n")
    toml = folder / "kernel.toml"
    toml.write_text(toml.read_text().replace('["kernel.py"]', '["kernel.py", "other.py"]'))
    assert "other.py:1: SyntaxError" in build(find_candidate("made_up", folder.parent), Compiler(), 1.0).message


def test_a_python_candidate_needs_no_build(cache):
    made = build(find_candidate("python_honest", examples.ADVERSARIAL), Compiler(), 1.0)
    assert (made.status, made.library) == (Status.OK, None)
    assert made.key.startswith("python_honest-")
    assert not cache.exists()


CHANGES = {
    "a source": lambda folder: (folder / "kernel.cpp").write_text(CODE + "\n"),
    "the flags": lambda folder: (folder / "kernel.toml").write_text(TOML.replace("-O0", "-O1")),
    "a file of its own": lambda folder: (folder / "tile.h").touch(),
    "a file that moved": lambda folder: (folder / "deep" / "moves.h").rename(folder / "deeper" / "moves.h"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_the_digest_of_a_candidates_files_is_that_of_their_names_and_contents(change, folder, tmp_path):
    before = files_sha256(folder)
    copy = Path(shutil.copytree(folder, tmp_path / "elsewhere" / "of another name"))
    (copy / "__pycache__").mkdir(exist_ok=True)
    (copy / "__pycache__" / "kernel.pyc").touch()
    assert files_sha256(copy) == before
    for name in ("deep", "deeper"):
        (folder / name).mkdir()
    (folder / "deep" / "moves.h").touch()
    before = files_sha256(folder)
    change(folder)
    assert files_sha256(folder) != before


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_the_request_changes_with(change, folder):
    for name in ("deep", "deeper"):
        (folder / name).mkdir()
    (folder / "deep" / "moves.h").touch()
    before = request_key(find_candidate("tiny", folder.parent))
    change(folder)
    assert request_key(find_candidate("tiny", folder.parent)) != before


def test_a_file_that_changes_while_it_is_compiled_is_compiled_again(candidate, cache):
    def edited():
        (candidate.folder / "kernel.cpp").write_text(CODE)

    build(candidate, Compiler(meanwhile=edited, read=("kernel.cpp",)), 1.0)
    assert cached_build(candidate) is None


@pytest.mark.parametrize("what", ["compiler_version", "processor_flags", "version"])
def test_the_request_changes_with_the_machine(what, candidate, monkeypatch):
    before = request_key(candidate)
    monkeypatch.setattr(cache_key, what, lambda *_: "another")
    assert request_key(candidate) != before


def test_the_request_does_not_depend_on_where_the_candidate_lies(folder, tmp_path):
    before = request_key(find_candidate("tiny", folder.parent))
    for place in ("aaa", "zzz"):
        shutil.copytree(folder.parent, tmp_path / place)
        assert request_key(find_candidate("tiny", tmp_path / place)) == before


def test_the_request_does_not_depend_on_what_python_caches(folder):
    before = request_key(find_candidate("tiny", folder.parent))
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "kernel.pyc").touch()
    assert request_key(find_candidate("tiny", folder.parent)) == before


def pipe(path):
    os.mkfifo(path)


def bind(path):
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(os.path.relpath(path))  # a socket's path is short


def huge(path):
    with path.open("wb") as file:
        file.truncate(10 << 30)  # it takes no space


NOT_PLAIN = {
    "a pipe": (pipe, "is a named pipe"),
    "a socket": (bind, "is a socket"),
    "a device": (lambda path: path.symlink_to("/dev/zero"), "is a device"),
    "a file without end": (lambda path: path.symlink_to("/proc/self/pagemap"), "cannot be read|no plain file"),
    "a file that is made as it is read": (lambda path: path.symlink_to("/proc/cpuinfo"), "no plain file"),
    "a link to nothing": (lambda path: path.symlink_to("nowhere"), "is a link to nothing"),
    "a link to itself": (lambda path: path.symlink_to("odd"), "leads back to itself"),
    "a huge file": (huge, "holds 10240 MB"),
}


@pytest.mark.parametrize("language", ["c++", "python"])
@pytest.mark.parametrize(("make", "words"), NOT_PLAIN.values(), ids=NOT_PLAIN)
def test_a_folder_with_what_is_no_plain_file_is_a_failed_build_that_names_it(make, words, language, folder, cache):
    make(folder / "odd")
    if language == "python":
        (folder / "kernel.toml").write_text(TOML.replace("c++", "python"))
    made = build(find_candidate("tiny", folder.parent), Compiler(), 1.0)
    assert made.status is Status.BUILD_FAILED
    assert re.search(f"{re.escape(str(folder / 'odd'))} .*({words})", made.message)


@pytest.mark.skipif(os.getuid() == 0, reason="root may read all")
def test_a_file_that_may_not_be_read_is_a_failed_build_that_names_it(folder, cache):
    (folder / "secret.h").touch(mode=0)
    made = build(find_candidate("tiny", folder.parent), Compiler(), 1.0)
    assert made.status is Status.BUILD_FAILED
    assert "secret.h cannot be read: Permission denied" in made.message


def test_a_folder_of_too_many_files_is_a_failed_build_that_names_it(folder, cache, monkeypatch):
    monkeypatch.setattr("gate.build.file_digests.MAX_FOLDER_FILES", 1)
    made = build(find_candidate("tiny", folder.parent), Compiler(), 1.0)
    assert made.status is Status.BUILD_FAILED
    assert f"{folder} holds more than 1 files" in made.message


def test_a_folder_that_links_to_itself_is_read_once(folder, cache):
    (folder / "again").symlink_to(".")
    assert build(find_candidate("tiny", folder.parent), Compiler(), 1.0).status is Status.OK


def test_an_editors_lock_is_no_part_of_a_candidate(folder, cache):
    (folder / ".#kernel.cpp").symlink_to("user@host.1234:1700000000")
    assert build(find_candidate("tiny", folder.parent), Compiler(), 1.0).status is Status.OK


FAR = {
    "a source": ('#include "/dev/zero"', "-O0"),
    "a source that reads bytes": ('asm(".incbin \\"/dev/zero\\"");', "-O0"),
    "a flag": ("", "-include/dev/zero"),
    "a response file in the flags": ("", "@/dev/zero"),
}


@pytest.mark.parametrize(("code", "flag"), FAR.values(), ids=FAR)
def test_no_compiler_is_given_a_device_that_is_named_by(code, flag, folder, cache):
    (folder / "kernel.cpp").write_text(code + CODE)
    (folder / "kernel.toml").write_text(TOML.replace("-O0", flag))
    compiler = Compiler()
    made = build(find_candidate("tiny", folder.parent), compiler, 1.0)
    assert (made.status, compiler.count) == (Status.BUILD_FAILED, 0)
    assert "/dev/zero is a device" in made.message


def test_what_a_compiler_read_and_is_no_plain_file_is_laid_to_the_candidate(candidate, cache):
    made = build(candidate, Compiler(read=("/proc/self/status",)), 1.0)
    assert made.status is Status.BUILD_FAILED
    assert "/proc/self/status" in made.message


def test_large_libraries_count_by_size_and_time(folder, cache, tmp_path):
    huge(tmp_path / "large.a")
    candidate = find_candidate("tiny", folder.parent)
    build(candidate, Compiler(read=("../../large.a",)), 1.0)
    assert cached_build(candidate).cached
    os.utime(tmp_path / "large.a", (1, 1))
    assert cached_build(candidate) is None


@pytest.mark.parametrize("command", ["/nonexistent", "/nonexistent -O2"])
def test_no_compiler_is_an_unfit_machine(command, candidate, cache, monkeypatch):
    monkeypatch.setenv("CXX", command)
    with pytest.raises(UnfitEnvironmentError, match="set CXX"):
        build(candidate, Compiler(), 1.0)
    assert not cache.exists()


def test_an_empty_cxx_is_no_choice(candidate, monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    before = request_key(candidate)
    monkeypatch.setenv("CXX", "")
    assert request_key(candidate) == before


def test_a_cache_that_cannot_be_written_is_an_unfit_machine(candidate, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("KERNEL_GATE_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(UnfitEnvironmentError, match="KERNEL_GATE_CACHE"):
        build(candidate, Compiler(), 1.0)


@pytest.mark.parametrize(
    ("variables", "root"),
    [
        ({"KERNEL_GATE_CACHE": "/a", "XDG_CACHE_HOME": "/b"}, "/a"),
        ({"XDG_CACHE_HOME": "/b", "HOME": "/c"}, "/b/kernel-gate"),
        ({"HOME": "/c"}, "/c/.cache/kernel-gate"),
        ({"XDG_CACHE_HOME": "relative", "HOME": "/c"}, "/c/.cache/kernel-gate"),  # XDG: to be ignored
    ],
)
def test_the_cache_is_where_the_environment_says(variables, root, monkeypatch):
    for name in ("KERNEL_GATE_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cache_root() == Path(root)


@pytest.mark.parametrize(("flags", "optimised"), [("", "1"), ('"-O0", ', "0")])
def test_cpp_is_optimised_unless_the_candidate_says_otherwise(flags, optimised, folder, server, cache):
    (folder / "kernel.toml").write_text(TOML.replace('"-O0", ', flags))
    told = f"\n#if defined(__OPTIMIZE__) != {optimised}\n#error otherwise\n#endif\n"
    (folder / "kernel.cpp").write_text(CODE + told)
    made = build(find_candidate("tiny", folder.parent), server, 60.0)
    assert made.status is Status.OK, made.log


def test_sources_of_one_name_in_two_folders_are_one_library(folder, server, cache):
    for name in ("a", "b"):
        (folder / name).mkdir()
        (folder / name / "kernel.cpp").write_text(f"int {name}() {{ return 1; }}")
    (folder / "kernel.cpp").write_text("int a(); int b();" + CODE.replace("ANSWER", "a() + b()"))
    (folder / "kernel.toml").write_text(TOML.replace('p"]', 'p", "a/kernel.cpp", "b/kernel.cpp"]'))
    made = build(find_candidate("tiny", folder.parent), server, 60.0)
    assert made.status is Status.OK, made.log
    assert ctypes.CDLL(made.library).attention(None) == 2


HALF = """
#include <c10/util/Half.h>
#include <c10/util/Exception.h>
static int checked(int answer) { TORCH_CHECK(answer, "of libc10"); return int(float(c10::Half(float(answer)))); }
"""


def test_a_candidate_that_includes_torch_is_linked_with_it(folder, server, cache):
    (folder / "kernel.cpp").write_text(HALF + CODE.replace("ANSWER", "checked(ANSWER)"))
    made = build(find_candidate("tiny", folder.parent), server, 120.0)
    assert made.status is Status.OK, made.log
    assert b"libc10.so" in Path(made.library).read_bytes()


def test_a_candidate_that_includes_nothing_of_torch_is_not_linked_with_it(candidate, server, cache):
    assert b"libc10.so" not in Path(build(candidate, server, 60.0).library).read_bytes()


def test_no_list_of_what_was_read_is_a_failed_build_that_says_why(tmp_path, monkeypatch):
    monkeypatch.setattr("gate.build.gcc.compile_command", lambda asked, source, target: ["touch", str(target)])
    asked = CompileRequest(
        name="tiny", language="c++", folder=str(tmp_path), sources=("kernel.cpp",), include=(), system_include=(),
        architectures=(), nvcc=None, flags=(), link_flags=(), directory=str(tmp_path),
    )  # fmt: skip
    made = compile_library(asked)
    assert made.library is None
    assert "wrote no depfile" in made.message


def test_variables_that_add_folders_change_nothing(folder, server, cache, tmp_path, monkeypatch):
    (tmp_path / "added.h").touch()
    for name in ("CPATH", "CPLUS_INCLUDE_PATH"):
        monkeypatch.setenv(name, str(tmp_path))
    (folder / "kernel.cpp").write_text(f"#include <added.h>\n{CODE}")
    with WorkerServer(examples.limits()) as another:
        made = build(find_candidate("tiny", folder.parent), another, 60.0)
    assert made.status is Status.BUILD_FAILED
    assert "added.h" in made.message
