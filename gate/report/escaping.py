"""Text from outside, made harmless in GitHub's Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from urllib.parse import quote

from tabulate import tabulate

from gate.text import one_line

ESCAPES = {
    "&": "&amp;", "<": "&lt;", ">": "&gt;", "|": "&#124;", "`": "&#96;", "\\": "&#92;", "*": "&#42;", "~": "&#126;",
    "$": "&#36;", "](": "]&#40;", "][": "]&#91;", "![": "&#33;[", "@": "@\u200b", "#": "#\u200b", "://": ":\u200b//",
}  # fmt: skip
"""Characters with a meaning in Markdown become entities, which have none. GitHub looks for mentions, issues and bare
links in what is shown, where an entity is the character itself: those are parted by a space of no width."""
_ESCAPED = re.compile("|".join(re.escape(mark) for mark in sorted(ESCAPES, key=len, reverse=True)))
_ESCAPED_WWW = re.compile(r"\b(www|gh)(?=[.-])", re.IGNORECASE)
URL_CHARACTERS = ":/?#@!$&',;=%~+"
"""What stays as it is in the target of a link, beside letters and digits: none of them ends the link."""


class Markdown(str):
    """Text that is Markdown already: what a template shows of any other type is escaped."""

    __slots__ = ()


def escaped(value: object) -> Markdown:
    """Any value as one line that holds no Markdown. A template applies this to all that it shows."""
    if isinstance(value, Markdown):
        return value
    text = _ESCAPED.sub(lambda mark: ESCAPES[mark[0]], one_line(str(value)))
    return Markdown(_ESCAPED_WWW.sub("\\1\u200b", text))


def safe(text: str, most: int) -> str:
    """Text from outside, on one line of at most `most` characters before escaping, made harmless in Markdown."""
    return escaped(clip(text, most))


def escape(text: str) -> Markdown:
    """Our own words with something from outside in them; marks of code stay what they are."""
    for mark in ("&", "<", ">", "|", "@"):
        text = text.replace(mark, ESCAPES[mark])
    return Markdown(text)


def clip(text: str, most: int) -> str:
    """The first `most` characters, and how many more there are."""
    left = len(text) - most
    return text if left <= 0 else f"{text[:most]} … ({left} characters more in run.json)"


def code_block(lines: Iterable[str]) -> Markdown:
    """Lines as they are: within the fence nothing is Markdown, HTML or a mention, and no line can close it."""
    body = "\n".join(map(one_line, lines))
    fence = "`" * max(3, 1 + max((len(ticks) for ticks in re.findall("`+", body)), default=0))
    return Markdown(f"{fence}text\n{body}\n{fence}")


def table(rows: Iterable[Sequence[str]], headers: Sequence[str]) -> Markdown:
    """A table, every cell escaped."""
    cells = [[escaped(cell) for cell in row] for row in rows]
    return Markdown(tabulate(cells, headers=headers, tablefmt="github", disable_numparse=True))


def link(url: str) -> Markdown:
    """The target of a link: what could end it is percent-encoded."""
    return Markdown(quote(url, safe=URL_CHARACTERS))
