"""What the comment's templates show is escaped, whether or not anybody thought of it."""

import pytest

from gate.report.escaping import Markdown, code_block, escape, escaped, link, safe
from gate.report.markdown import Surroundings, _templates, no_verdict
from tests.report.test_markdown import HOSTILE


@pytest.mark.parametrize("value", [HOSTILE, [HOSTILE], {"a": HOSTILE}, ValueError(HOSTILE)])
def test_whatever_a_template_shows_is_escaped(value):
    shown = _templates().from_string("{{ value }}").render(value=value)
    assert not [mark for mark in ("<img", "`code`", "@everyone", "](", "://", " #1") if mark in shown]
    assert shown == escaped(value)


@pytest.mark.parametrize(
    "source", ["{{ a ~ b }}", "{{ [a, b] | join }}", "{{ a + b }}", "{% set c %}{{ b }}{% endset %}{{ c }}"]
)
def test_to_join_markdown_with_text_from_outside_does_not_make_that_markdown(source):
    shown = _templates().from_string(source).render(a=Markdown("**ours** "), b="<img src=x>")
    assert "<img" not in shown


def test_a_name_that_the_template_lacks_is_a_fault_and_not_an_empty_place():
    with pytest.raises(Exception, match="nobody"):
        _templates().from_string("{{ nobody }}").render()


def test_markdown_is_escaped_once():
    assert escaped(escaped("<b>")) == escaped("<b>") == "&lt;b&gt;"


def test_the_code_of_our_own_sentences_stays_code():
    assert escape("run `kernel-gate doctor` & read <it>") == "run `kernel-gate doctor` &amp; read &lt;it&gt;"


@pytest.mark.parametrize("line", ["```", "````", "a ` b", "</details>"])
def test_no_line_closes_a_code_block(line):
    first, *_, last = code_block([line]).splitlines()
    assert first == f"{last}text"
    assert last not in line


@pytest.mark.parametrize("end", [")", " ", "\n", "<", ">", "\\", "("])
def test_no_character_of_a_links_target_ends_the_link(end):
    assert end not in link(f"https://example.org/a{end}b")


def test_a_links_label_and_the_plans_reason_are_escaped():
    text = no_verdict(Surroundings(links=((HOSTILE, "https://example.org/a?b=c&d#e"),)), HOSTILE)
    assert safe(HOSTILE, 500) in text
    assert "(https://example.org/a?b=c&d#e)" in text
    assert "<img" not in text
    assert "@everyone" not in text
