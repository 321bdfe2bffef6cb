"""The pages for readers: links lead somewhere, and files, tests and candidates that they name exist."""

import json
import re
from configparser import ConfigParser
from fnmatch import fnmatch
from pathlib import Path

import pytest

from gate.report.markdown import markdown
from gate.settings.load import load_settings
from gate.verdict.evidence_file import load_evidence, measurement_of
from gate.verdict.judge import NEXT_STEPS, judge
from tests.support.cheats import CHEATS, CUDA_CHEATS

ROOT = Path(__file__).parents[1]
TESTS = ROOT / "tests"
PATTERNS = ("*.md", "docs/**/*.md", "kernels/**/*.md", "baselines/**/*.md", ".github/*.md", ".github/actions/**/*.md")
NAMES = sorted(str(page.relative_to(ROOT)) for pattern in PATTERNS for page in ROOT.glob(pattern))
FENCED = re.compile(r"^( *)(```|~~~).*?^\1\2", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
NAMED_FILE = re.compile(r"(?<![\w./-])((?:gate|scripts|tests|kernels|docs|baselines|\.github)/[\w./-]*\w)")
NAMED_MODULE = re.compile(r"python -m ((?:scripts|tests)\.[a-z_.]+)")
NAMED_TEST = re.compile(r"`((?:\w+/)*test_\w+\.py)?(?:::)?(…?test_\w+…?|…\w+…?)?`")
FOLDERS_OF_A_READER = ("kernels/my_kernel",)
"""Named in a page as what its reader makes."""


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def anchors(page: Path) -> set[str]:
    """Of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ +(.+)$", FENCED.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(page: Path) -> list[str]:
    found = []
    for target in LINK.findall(FENCED.sub("", page.read_text(encoding="utf-8"))):
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if "://" not in target and not (file.exists() and (not anchor or anchor in anchors(file))):
            found.append(target)
    return found


def missing_tests(text: str) -> list[str]:
    """Named and not there: `room/test_x.py::test_name`, or `…part of a name…` in the file that was named before."""
    found, file = [], ""
    for named, name in NAMED_TEST.findall(text):
        file = named.removeprefix("tests/") or file
        path = TESTS / file
        defined = re.findall(r"def (test_\w+)", path.read_text(encoding="utf-8")) if path.is_file() else []
        if (named or name) and not any(fnmatch(each, name.replace("…", "*") or "*") for each in defined):
            found.append(f"{file}::{name}")
    return found


def test_the_readme_has_at_most_900_words():
    assert len(text_of("README.md").split()) <= 900


@pytest.mark.parametrize("name", NAMES)
def test_every_link_of_a_page_leads_to_a_file_and_a_heading(name):
    assert broken_links(ROOT / name) == []


def test_a_link_to_no_file_or_no_heading_is_broken(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "# One `thing`, more\n[a](#one-thing-more) [b](#two) [c](page.md#one) [d](page.md) [e](gone.md)\n"
    )
    assert broken_links(page) == ["#two", "page.md#one", "gone.md"]


@pytest.mark.parametrize("name", NAMES)
def test_every_file_that_a_page_names_exists(name):
    named = {each for each in NAMED_FILE.findall(text_of(name)) if not each.startswith(FOLDERS_OF_A_READER)}
    assert {each for each in named if not ((ROOT / each).exists() or (TESTS / each).exists())} == set()


@pytest.mark.parametrize("name", NAMES)
def test_every_module_that_a_page_runs_exists(name):
    paths = [ROOT / each.replace(".", "/") for each in NAMED_MODULE.findall(text_of(name))]
    assert [path for path in paths if not path.with_suffix(".py").exists()] == []


@pytest.mark.parametrize("name", NAMES)
def test_every_test_that_a_page_names_exists(name):
    assert missing_tests(text_of(name)) == []


def test_a_test_that_does_not_exist_is_missed():
    here, gone = "`test_docs.py::test_a_test_that_does_not_exist…`", "`…exist_is_missed`, `…no_such_test`"
    assert missing_tests(f"{here}, {gone}, `test_gone.py`") == ["test_docs.py::…no_such_test", "test_gone.py::"]


def test_every_candidate_that_the_security_page_lists_exists():
    table = text_of("docs/security.md").partition("## Candidates that cheat")[2]
    cells = [line.split("|")[2] for line in table.splitlines() if line.startswith("| ")]
    named = [name for cell in cells for name in re.findall(r"`(\w+)`", cell)]
    kept = TESTS / "candidates" / "adversarial"
    assert named
    assert [name for name in named if not (kept / name).is_dir()] == []


def test_the_security_page_counts_the_dishonest_candidates():
    counted = re.search(
        r"There are (\d+) dishonest candidates for a CPU and (\d+) for a GPU", text_of("docs/security.md")
    )
    assert counted
    assert [int(number) for number in counted.groups()] == [len(CHEATS), len(CUDA_CHEATS)]


def folded(text: str) -> list[str]:
    """Its lines, each with one space for any number of them."""
    return [" ".join(re.sub(r"-+", "-", line).split()) for line in text.splitlines()]


def test_the_comment_in_the_readme_is_the_beginning_of_the_example():
    quoted = folded("\n".join(re.findall(r"^> ?(.*)$", text_of("README.md"), re.MULTILINE)))
    assert quoted
    assert quoted == folded(text_of("docs/examples/comment-pass.md"))[: len(quoted)]


@pytest.mark.parametrize(("name", "recorded"), [("pass", "triton_flash"), ("fail", "triton_best")])
def test_an_example_is_what_is_commented_on_a_recorded_measurement_now(name, recorded):
    measurement = measurement_of(load_evidence(ROOT / f"baselines/nvidia-h200/candidates/{recorded}.json"))
    comment = markdown(judge(measurement, load_settings(ROOT / "gate.toml").gates))
    assert text_of(f"docs/examples/comment-{name}.md") == comment, "run `make reference`"


@pytest.mark.parametrize(
    ("page", "header"), [("dev_env", "what you see"), ("perf_guardrails", "what you read"), ("profiling", "message")]
)
def test_a_message_that_a_page_explains_is_one_that_the_code_prints(page, header):
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "gate").rglob("*.py"))
    table = text_of(f"docs/{page}.md").partition(f"| {header} |")[2].partition("\n\n")[0]
    quoted = [part for row in table.splitlines()[2:] for part in re.findall(r"`([^`]+)`", row.split(" | ")[0])]
    parts = [part.strip() for message in quoted for part in message.split("…")]
    assert parts
    assert [part for part in parts if part not in code] == []


def test_the_guide_lists_the_gates_in_the_order_in_which_they_are_applied():
    table = text_of("docs/perf_guardrails.md").partition("| gate | passes if |")[2].partition("\n\n")[0]
    listed = [row.split("|")[1].strip() for row in table.splitlines()[2:]]
    verdicts = json.loads(text_of("tests/golden/recorded_verdicts.json")).values()
    for verdict in verdicts:
        for workload in {workload for _, workload, _ in verdict["gates"]}:
            names = [name for name, of, _ in verdict["gates"] if of == workload]
            assert names == [name for name in listed if name in names]
    assert {name for steps in NEXT_STEPS.values() for name in steps} <= set(listed)


def test_the_architecture_page_has_the_floors_that_are_enforced():
    contracts = ConfigParser()
    contracts.read(ROOT / ".importlinter")
    floors = contracts["importlinter:contract:floors"]["layers"].split("\n")[1:]
    table = text_of("docs/architecture.md").partition("| floor, from the top |")[2].partition("\n\n")[0]
    cells = [row.split("|")[1] for row in table.splitlines()[2:]]
    assert [re.findall(r"`(\w+)`", cell) for cell in cells] == [floor.split(" | ") for floor in floors]
