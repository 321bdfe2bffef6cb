"""A run as a web page."""

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from gate.records import Build, Status
from gate.report.facts import NOT_PROFILED, evidence, headline
from gate.report.html import page
from gate.report.terminal import HEADERS
from tests.support import examples
from tests.support.profiles import H200, kernel, profile, recorded

HOSTILE = "</pre></main><img src=https://evil.test/x><script>alert(1)</script> {{ 7 * 7 }} \u202e\x1b[0m\r\n<b>big"
VOID = {"meta", "img"}


class Reader(HTMLParser):
    """What a browser would make of it: texts, tags with their attributes, and whether each is closed in its turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open, self.tags, self.texts = [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def text(self) -> str:
        return "".join(self.texts)

    def named(self, tag: str) -> list[dict]:
        return [attributes for each, attributes in self.tags if each == tag]


def profiled():
    seen = replace(examples.evaluation(), profiles=(profile(kernel(), impl="wmma"), recorded(2)))
    return examples.run(examples.measurement(seen, environment=examples.environment(gpu=H200, device_name="H200")))


RUNS = {
    "pass": examples.run(),
    "rejected": examples.run(examples.measurement(examples.evaluation(trial=examples.trial(1.4)))),
    "noisy": examples.run(examples.measurement(examples.evaluation(trial=examples.trial(0.3, noise=0.2)))),
    "profiled": profiled(),
}


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_it_says_what_the_comment_says(run):
    read = Reader(page(run))
    facts = [headline(run), run.verdict.next_step, *HEADERS, *run.verdict.warnings]
    facts += [line for _, lines in evidence(run) for line in lines]
    assert [fact for fact in facts if fact not in read.text] == []
    assert read.open == []
    assert read.named("h1") == [{"class": run.verdict.outcome.value}]


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_it_loads_nothing_and_runs_nothing(run):
    read = Reader(page(run))
    sources = [value for _, each in read.tags for name, value in each.items() if name in ("src", "href", "srcset")]
    assert all(value.startswith("data:image/svg+xml;base64,") for value in sources)
    assert not read.named("script")
    (policy,) = (each["content"] for each in read.named("meta") if "http-equiv" in each)
    assert policy.startswith("default-src 'none'; img-src data:;")


def test_the_roofline_is_in_it_where_something_was_counted():
    (picture,) = Reader(page(RUNS["profiled"])).named("img")
    drawn = base64.b64decode(picture["src"].partition(",")[2]).decode()
    assert "Roofline on H200" in drawn
    assert {"wmma", "sdpa:flash"} <= set(re.findall(r"wmma|sdpa:flash", drawn))


def test_without_counters_it_says_how_to_get_them():
    read = Reader(page(RUNS["pass"]))
    assert NOT_PROFILED in read.text
    assert not read.named("img")


def test_a_candidates_words_are_words():
    failed = Build(examples.IMPL, Status.BUILD_FAILED, HOSTILE, log=HOSTILE)
    run = examples.run(examples.measurement(evaluations=(), build=failed))
    read = Reader(page(run))
    assert not read.named("img")
    assert not read.named("script")
    assert not read.named("b")
    assert "<script>alert(1)</script> {{ 7 * 7 }}" in read.text
    assert not {"\u202e", "\x1b", "\r"} & set(page(run))


def test_equal_runs_are_equal_pages():
    assert page(profiled()) == page(profiled())
