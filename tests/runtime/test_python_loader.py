"""How a Python candidate is imported: in a process of its own, from the text of its files."""

import importlib.util
import py_compile
import sys

import pytest

from gate.candidates.registry import find_candidate
from gate.check.request import check_cases
from gate.records import Case, Status
from gate.runtime.python_loader import CALL, signature_fault
from gate.sandbox.protocol import CHECK
from tests.support import examples
from tests.support.jobs import answers_in, check_request

SDPA = "torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal, scale=scale)"
WRITES = f"import torch\ndef attend(q, k, v, scale, causal, out):\n    out.copy_({SDPA})\n"
RIGHT = WRITES.replace("attend", "attention")
WRONG = "def attend(q, k, v, scale, causal, out): out.zero_()\n"
CALLS = "\ndef attention(*arguments): attend(*arguments)\n"


@pytest.fixture
def checked(session, python_candidate):
    """Checks a candidate of one or more files; says what came of it."""

    def check(code: str, **fields: str):
        return _check(session, python_candidate(code, **fields))

    return check


@pytest.fixture
def checked_beside(session, python_candidate):
    """Checks a candidate beside which other files lie."""

    def check(code: str, files: dict[str, str], **fields: str):
        folder = python_candidate("", **fields)
        for name, text in {"kernel.py": code, **files}.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        return _check(session, folder)

    return check


def _check(session, folder):
    candidate = find_candidate(folder.name, folder.parent)
    (seen,) = check_cases(session, candidate, candidate.entry, {Case(examples.workload()): 1})
    return seen


@pytest.mark.parametrize("ahead", ["", "from __future__ import annotations\n"])
def test_a_dataclass_may_be_defined_and_pickled(ahead, checked):
    code = f"""{ahead}import dataclasses, pickle, torch
@dataclasses.dataclass
class Scale:
    value: float
def attention(q, k, v, scale, causal, out):
    scale = pickle.loads(pickle.dumps(Scale(scale))).value
    out.copy_({SDPA})
"""
    seen = checked(code)
    assert (seen.message, seen.status) == ("", Status.OK)


@pytest.mark.parametrize(
    "statement",
    ["from helper import attend", "from .helper import attend", "from . import helper; attend = helper.attend",
     "import helper; attend = helper.attend", "import importlib; attend = importlib.import_module('helper').attend"],
)  # fmt: skip
def test_a_declared_source_is_imported_by_its_name(statement, checked_beside):
    seen = checked_beside(statement + CALLS, {"helper.py": WRITES}, sources='["kernel.py", "helper.py"]')
    assert (seen.message, seen.status) == ("", Status.OK)


@pytest.mark.parametrize("statement", ["from third.party import attend", "from .third.party import attend"])
@pytest.mark.parametrize("marker", ["third/__init__.py", "README"])
def test_a_vendored_package_is_imported_as_it_is(statement, marker, checked_beside):
    files = {marker: "", "third/party.py": "from .core import attend", "third/core.py": WRITES}
    seen = checked_beside(statement + CALLS, files)
    assert (seen.message, seen.status) == ("", Status.OK)


def test_a_source_in_a_folder_of_its_own_finds_what_lies_beside_it_and_beside_kernel_toml(checked_beside):
    files = {
        "src/entry.py": f"from near import nothing\nfrom far import attend{CALLS}",
        "src/near.py": "nothing = 0",
        "far.py": WRITES,
    }
    seen = checked_beside("raise AssertionError", files, sources='["src/entry.py"]')
    assert (seen.message, seen.status) == ("", Status.OK)


def test_a_neighbour_finds_the_tunables_of_the_first_source(checked_beside):
    helper = f"from .kernel import BLOCK\n{WRITES.replace('scale=scale', 'scale=scale * BLOCK / 8')}"
    code = f"BLOCK: int\nfrom .helper import attend{CALLS}"
    seen = checked_beside(code, {"helper.py": helper}, tunables="{ BLOCK = [8] }")
    assert (seen.message, seen.status) == ("", Status.OK)


@pytest.mark.parametrize("name", ["json", "torch", "gate", "numpy"])
def test_a_neighbour_named_as_a_module_of_ours_is_found_by_a_relative_import_alone(name, checked_beside):
    code = (
        f"import {name} as theirs\nfrom . import {name} as own\nfrom .{name} import attend\nassert theirs is not own"
    )
    seen = checked_beside(code + CALLS, {f"{name}.py": WRITES})
    assert (seen.message, seen.status) == ("", Status.OK)


def test_a_file_named_for_the_package_that_it_calls_imports_the_package(checked_beside):
    code = f"import tabulate\nassert hasattr(tabulate, 'tabulate_formats')\n{RIGHT}"
    seen = checked_beside("", {"tabulate.py": code}, sources='["tabulate.py"]')
    assert (seen.message, seen.status) == ("", Status.OK)


def test_a_neighbour_comes_before_an_installed_package_of_its_name(checked_beside):
    seen = checked_beside(f"from tabulate import attend{CALLS}", {"tabulate.py": WRITES})
    assert (seen.message, seen.status) == ("", Status.OK)


BY_PATH = """
import importlib.util, pathlib
spec = importlib.util.spec_from_file_location("anything", pathlib.Path(__file__).with_name("helper.py"))
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
attend = module.attend
"""
BY_SYS_PATH = """
import sys, pathlib
sys.path.insert(0, str(pathlib.Path(__file__).parent))
from helper import attend
"""


def plant(source, text):
    """Bytecode of another text, which Python prefers without looking at the source (PEP 552)."""
    aside = source.with_name("aside.py")
    aside.write_text(text)
    target = importlib.util.cache_from_source(str(source))
    py_compile.compile(
        str(aside), target, str(source), True, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
    )
    aside.unlink()
    return target


def test_planted_bytecode_would_be_preferred_by_python(tmp_path, monkeypatch):
    (tmp_path / "planted_by_us.py").write_text("value = 'text'")
    plant(tmp_path / "planted_by_us.py", "value = 'bytecode'")
    monkeypatch.syspath_prepend(tmp_path)
    assert __import__("planted_by_us").value == "bytecode"
    del sys.modules["planted_by_us"]


@pytest.mark.parametrize(
    "statement", ["from helper import attend\n", "from .helper import attend\n", BY_PATH, BY_SYS_PATH]
)
@pytest.mark.parametrize("planted", ["kernel.py", "helper.py"])
def test_bytecode_beside_a_source_has_no_effect_and_none_is_written(planted, statement, session, python_candidate):
    folder = python_candidate(statement + CALLS)
    (folder / "helper.py").write_text(WRITES)
    plant(folder / planted, f"{WRONG}{CALLS}")
    before = sorted(folder.rglob("*"))
    seen = _check(session, folder)
    assert (seen.message, seen.status) == ("", Status.OK)
    assert sorted(folder.rglob("*")) == before


def test_bytecode_without_a_source_is_refused(session, python_candidate):
    folder = python_candidate(f"from helper import attend{CALLS}")
    (folder / "helper.py").write_text(WRITES)
    py_compile.compile(str(folder / "helper.py"), str(folder / "helper.pyc"), doraise=True)
    (folder / "helper.py").unlink()
    seen = _check(session, folder)
    assert seen.status is Status.CRASHED
    assert "helper.pyc is bytecode, which a candidate may not contain" in seen.message


def test_an_error_names_the_line_of_the_file_that_raised_it(checked_beside):
    seen = checked_beside("import helper", {"helper.py": "\n\nraise OSError('no such thing')"})
    assert seen.message == "raised OSError: no such thing (helper.py, line 3)"


def test_all_cases_of_a_process_share_one_import(session, python_candidate):
    folder = python_candidate(f"print('imported')\n{RIGHT}")
    candidate = find_candidate(folder.name, folder.parent)
    requests = [check_request(candidate.entry, candidate.name)] * 3
    ending = session.server.call(CHECK, requests, 60.0)
    assert [answer["status"] for answer in answers_in(ending)] == ["ok"] * 3
    assert ending.output.count("imported") == 1


WRAPS = "from functools import partial, wraps\n"
FAULTS = {
    "absent": ("attend = 1", "no function attention("),
    "a number": ("attention = 3", "no function attention("),
    "a class": ("class attention:\n    def __init__(self, q, k, v, scale, causal, out): pass", "as a class"),
    "async": ("async def attention(q, k, v, scale, causal, out): pass", "as an async function"),
    "an async generator": ("async def attention(q, k, v, scale, causal, out): yield", "as an async generator"),
    "a generator": ("def attention(q, k, v, scale, causal, out): yield", "as a generator"),
    "without out": ("def attention(q, k, v, scale, causal): pass", "causal), which has no parameter `out`"),
    "only q, k, v": ("def attention(q, k, v): pass", "attention(q, k, v), which has no parameter `out`"),
    "by keyword": ("def attention(q, k, v, *, scale, causal, out): pass", f"Kernel Gate calls {CALL}"),
    "one too many": ("def attention(q, k, v, scale, causal, out, extra): pass", f"Kernel Gate calls {CALL}"),
    "in another order": ("def attention(q, k, v, out, scale, causal): pass", "in this order"),
    "wrapped": (f"{WRAPS}def f(q, k, v): pass\n@wraps(f)\ndef attention(*a): pass", "has no parameter `out`"),
}  # fmt: skip


@pytest.mark.parametrize(("code", "words"), FAULTS.values(), ids=FAULTS)
def test_what_cannot_be_called_as_it_should_be_is_named_with_what_to_do(code, words, checked):
    seen = checked(code)
    assert seen.status is Status.CRASHED
    assert seen.message.startswith("kernel.py defines ")
    assert words in seen.message


CALLABLE = {
    "other names": "def attention(query, key, value, s, c, result): pass",
    "any arguments": "def attention(*arguments): pass",
    "a default more": "def attention(q, k, v, scale, causal, out, block=64): pass",
    "an object": "class Attention:\n    def __call__(self, q, k, v, *rest): pass\nattention = Attention()",
    "a partial": f"{WRAPS}def f(b, q, k, v, scale, causal, out): pass\nattention = partial(f, 1)",
    "built in": "attention = max",
}


@pytest.mark.parametrize("code", CALLABLE.values(), ids=CALLABLE)
def test_what_can_be_called_with_six_arguments_is_no_fault(code):
    names = {}
    exec(code, names)  # noqa: S102
    assert signature_fault(names["attention"]) is None


ANSWERS = {
    "a tensor": (f"return {SDPA}", "a tensor"),
    "a tuple": (f"return {SDPA}, None", "a tuple"),
    "a number": ("return 0", "an int"),
}


@pytest.mark.parametrize(("body", "what"), ANSWERS.values(), ids=ANSWERS)
def test_an_answer_that_is_returned_instead_of_written_is_incorrect_and_says_so(body, what, checked):
    seen = checked(f"import torch\ndef attention(q, k, v, scale, causal, out):\n    {body}")
    assert seen.status is Status.INCORRECT
    assert seen.message == (
        f"attention() returned {what} and did not write to `out`; write the result into `out`, e.g. out.copy_(result)"
    )


@pytest.mark.parametrize("returned", ["out", "q", "0"])
def test_an_answer_that_is_written_may_be_returned_besides(returned, checked):
    seen = checked(f"{RIGHT}    return {returned}\n")
    assert (seen.message, seen.status) == ("", Status.OK)


def test_a_candidate_that_prints_megabytes_is_judged_by_its_answer(checked):
    seen = checked(f"{RIGHT}    print('x' * 1000_000)\n")
    assert (seen.message, seen.status) == ("", Status.OK)


def test_what_a_candidate_raises_is_cut(checked):
    message = checked("raise OSError('x' * 5_000_000)").message
    assert message.startswith("raised OSError: xxx")
    assert len(message) < 3000
