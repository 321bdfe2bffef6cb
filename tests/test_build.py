import ctypes
import fcntl
import json
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from gate import buildkey
from gate.build import build, cached_build
from gate.buildkey import build_key
from gate.errors import UnfitEnvironmentError
from gate.files import to_json
from gate.messages import Compiled
from gate.preflight import cache_root
from gate.records import Status
from gate.registry import find
from gate.workers import Ending
from tests import examples
from tests.processes import DEADLINE_S

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
    return find("tiny", folder.parent)


class Compiler:
    """Stands for the fork server: `compiles` in its place, and counts."""

    def __init__(self, ending=None, meanwhile=lambda: None):
        self.ending, self.meanwhile, self.count = ending, meanwhile, 0

    def call(self, job, seconds):
        self.count += 1
        self.meanwhile()
        if self.ending is not None:
            return self.ending
        library = Path(json.loads(job["requests"][0])["directory"]) / "libtiny.so"
        library.touch()
        return Ending(json.dumps([to_json(Compiled(str(library)))]), 0, None, 1.0, 0, "")


def ending(**changes) -> Ending:
    return replace(Ending("", 0, None, 1.0, 0, ""), **changes)


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
    results, second_is_there, lock = [], threading.Event(), fcntl.flock
    other = threading.Thread(target=lambda: results.append(build(candidate, compiler, 1.0)))

    def flock(file, operation):
        try:
            lock(file, operation | fcntl.LOCK_NB)
        except BlockingIOError:
            second_is_there.set()
            lock(file, operation)

    def meanwhile():
        if other.ident:
            second_is_there.set()  # and compiles
        else:
            other.start()
            assert second_is_there.wait(DEADLINE_S)

    monkeypatch.setattr("gate.build.fcntl.flock", flock)
    compiler = Compiler(meanwhile=meanwhile)
    results.append(build(candidate, compiler, 1.0))
    other.join()
    assert compiler.count == 1
    assert sorted(result.cached for result in results) == [False, True]


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
        ending(reply=json.dumps([to_json(Compiled(None, "error: expected ';'", "a long log"))])),
        Status.BUILD_FAILED,
        "error: expected ';'",
    ),
    "it takes too long": (ending(cause="time", state=9), Status.TIMED_OUT, "did not end within 1 s"),
    "it takes too much memory": (ending(cause="memory", state=9), Status.BUILD_FAILED, "more than its limit"),
    "the compiler crashes": (ending(state=11, output="cc1plus: oh"), Status.BUILD_FAILED, "SIGSEGV: cc1plus: oh"),
    "the answer is garbage": (ending(reply="garbage"), Status.BUILD_FAILED, "not a list of records"),
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
    made = build(find("tiny", folder.parent), server, 120.0)
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
    assert build(find("tiny", folder.parent), server, 120.0).status is Status.OK
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
    made = build(find("tiny", folder.parent), server, 120.0)
    assert (made.status, made.library) == (Status.BUILD_FAILED, None)
    assert made.message == "the library exports no function attention_workspace_bytes()"


def test_a_library_with_undefined_functions_is_a_failed_build(folder, server, cache):
    (folder / "kernel.cpp").write_text(
        CODE.replace("ANSWER;", "nowhere();").replace("\nextern", "\nint nowhere();\nextern", 1)
    )
    made = build(find("tiny", folder.parent), server, 120.0)
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
    assert build(find("tiny", folder.parent), server, 0.5).status is Status.TIMED_OUT
    assert entries(cache) == []


BROKEN = {
    "a syntax error": ("import torch\n\ndef attention(q, k, v)\n    pass\n", ":3: SyntaxError: expected ':'"),
    "an indentation": ("def attention():\npass\n", ":2: IndentationError"),
    "a null byte": ("x = 1\0", "null byte"),
}


@pytest.mark.parametrize(("code", "words"), BROKEN.values(), ids=BROKEN)
def test_python_that_does_not_parse_is_a_failed_build_with_its_file_and_line(code, words, python_candidate):
    folder = python_candidate(code)
    made = build(find("made_up", folder.parent), Compiler(), 1.0)
    assert made.status is Status.BUILD_FAILED
    assert "kernel.py:" in made.message
    assert words in made.message


def test_a_second_source_that_does_not_parse_fails_the_build_too(python_candidate):
    folder = python_candidate("import other\n")
    (folder / "other.py").write_text("(\n")
    toml = folder / "kernel.toml"
    toml.write_text(toml.read_text().replace('["kernel.py"]', '["kernel.py", "other.py"]'))
    assert "other.py:1: SyntaxError" in build(find("made_up", folder.parent), Compiler(), 1.0).message


def test_a_python_candidate_needs_no_build(cache):
    made = build(find("python_honest", examples.ADVERSARIAL), Compiler(), 1.0)
    assert (made.status, made.library) == (Status.OK, None)
    assert made.key.startswith("python_honest-")
    assert not cache.exists()


CHANGES = {
    "a source": lambda folder: (folder / "kernel.cpp").write_text(CODE + "\n"),
    "the flags": lambda folder: (folder / "kernel.toml").write_text(TOML.replace("-O0", "-O1")),
    "a header of its own": lambda folder: (folder / "tile.h").touch(),
    "a header that moved": lambda folder: (folder / "deep" / "moves.h").rename(folder / "deeper" / "moves.h"),
    "a file of another folder that it includes": lambda folder: (folder.parent / "other" / "far.inc").write_text(
        "// x"
    ),
    "a file that such a file includes": lambda folder: (folder.parent / "other" / "farther.inc").write_text("// x"),
    "a header beside it": lambda folder: (folder.parent / "attention.h").write_text("// other"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_the_key_changes_with(change, folder):
    for name in ("deep", "deeper"):
        (folder / name).mkdir()
    (folder / "deep" / "moves.h").touch()
    other = folder.parent / "other"
    other.mkdir()
    (other / "far.inc").write_text('#include "farther.inc"')
    (other / "farther.inc").touch()
    (folder / "tile.cpp").write_text('  # include <other/far.inc>\n#include "missing.h"')
    before = build_key(find("tiny", folder.parent))
    change(folder)
    assert build_key(find("tiny", folder.parent)) != before


def test_the_key_does_not_change_with_a_file_that_nothing_includes(folder):
    before = build_key(find("tiny", folder.parent))
    (folder.parent / "other").mkdir()
    (folder.parent / "other" / "kernel.cu").touch()
    (folder.parent / "README.md").touch()
    assert build_key(find("tiny", folder.parent)) == before


@pytest.mark.parametrize("what", ["compiler_version", "processor_flags", "version"])
def test_the_key_changes_with_the_machine(what, candidate, monkeypatch):
    before = build_key(candidate)
    monkeypatch.setattr(buildkey, what, lambda *_: "another")
    assert build_key(candidate) != before


def test_the_key_changes_with_the_shipped_header(candidate, monkeypatch, tmp_path):
    before = build_key(candidate)
    shutil.copytree(buildkey.INCLUDE, tmp_path / "include")
    monkeypatch.setattr(buildkey, "INCLUDE", tmp_path / "include")
    assert build_key(candidate) == before
    (tmp_path / "include" / "attention.h").write_text("// other")
    assert build_key(candidate) != before


def test_the_key_does_not_depend_on_where_the_candidate_lies(folder, tmp_path):
    before = build_key(find("tiny", folder.parent))
    for place in ("aaa", "zzz"):
        shutil.copytree(folder.parent, tmp_path / place)
        assert build_key(find("tiny", tmp_path / place)) == before


def test_the_key_does_not_depend_on_what_python_caches(folder):
    before = build_key(find("tiny", folder.parent))
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "kernel.pyc").touch()
    assert build_key(find("tiny", folder.parent)) == before


@pytest.mark.parametrize("command", ["/nonexistent", "/nonexistent -O2"])
def test_no_compiler_is_an_unfit_machine(command, candidate, cache, monkeypatch):
    monkeypatch.setenv("CXX", command)
    with pytest.raises(UnfitEnvironmentError, match="set CXX"):
        build(candidate, Compiler(), 1.0)
    assert not cache.exists()


def test_an_empty_cxx_is_no_choice(candidate, monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    before = build_key(candidate)
    monkeypatch.setenv("CXX", "")
    assert build_key(candidate) == before


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
    made = build(find("tiny", folder.parent), server, 60.0)
    assert made.status is Status.OK, made.log
