"""The files that a compiler and a linker read: from depfiles, the list of searched folders, the linker's trace."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from gate.build.file_digests import HIDDEN, NotReadableError, read_file
from gate.sandbox.protocol import CompileRequest, Dependencies

PREREQUISITE = re.compile(r"(?:\\[ #:\\]|\$\$|[^\s\\]|\\(?!\n))+")
"""A file's name in a make rule; a backslash escapes a space in it."""
ESCAPED = re.compile(r"\\([ #:\\])|\$(\$)")
SEARCHED = re.compile(r"search starts here:\n(.*?)(?=^\S)", re.MULTILINE | re.DOTALL)
NOT_THERE = re.compile(r'^ignoring nonexistent directory "(.*)"$', re.MULTILINE)
MEMBER = re.compile(r"\((?P<before>[^()]+)\).*|(?P<after>[^()]+)\([^()]*\)")
"""In a trace: (lib.a)member.o of the GNU linker, lib.a(member.o) of LLVM's."""
OPTION = re.compile(r"-(include|imacros|isystem|iquote|idirafter|[A-Za-z])")
"""What a path may be written behind without a space."""
RESPONSE = ("@", "--options-file=", "-optf=")
RESPONSE_BYTES = 1 << 20


def dependencies(
    asked: CompileRequest, read: Sequence[str], opened: Iterable[str], searched: Iterable[str]
) -> Dependencies:
    """The existing files that the compiler `read`, that the linker `opened`, or that the flags name.

    Intermediate files of the compilers are left out. Folders are the `searched` ones, those that the flags name, and
    those of the headers, where the search for #include "..." starts.
    """
    folder, scratch = Path(asked.folder), Path(asked.directory).resolve()
    named = list(named_in_flags([*asked.flags, *asked.link_flags], folder))
    folders = [name for name in named if (folder / name).is_dir()]
    files = [*read, *opened, *(name for name in named if name not in folders)]
    there = [name for name in files if _exists(folder / name) and scratch not in (folder / name).resolve().parents]
    beside = [str(Path(name).parent) for name in read if name in there]
    return Dependencies(tuple(dict.fromkeys(there)), tuple(_outermost([*searched, *folders, *beside], folder)))


def _outermost(names: Iterable[str], start: Path) -> list[str]:
    kept: list[str] = []
    for name in sorted(dict.fromkeys(names), key=lambda name: len(_place(start, name).parts)):
        if not _is_searched(name, kept, start):
            kept.append(name)
    return kept


def _is_searched(name: str, folders: Iterable[str], start: Path) -> bool:
    """Whether gate/build/file_digests.py comes there from one of these folders or the candidate's own."""
    above = {start, *(_place(start, folder) for folder in folders)}
    place = _place(start, name)
    for parent in (place, *place.parents):
        if parent in above:
            return True
        if parent.name.startswith(HIDDEN) or (parent / "kernel.toml").exists():
            return False
    return False


def _place(start: Path, name: str) -> Path:
    return Path(os.path.normpath(start / name))


def files_of_rules(text: str) -> Iterator[str]:
    """The prerequisites of the rules in a depfile."""
    for rule in text.replace("\\\n", " ").splitlines():
        _, _, names = rule.partition(": ")
        for name in PREREQUISITE.findall(names):
            yield ESCAPED.sub(r"\1\2", name)


def folders_searched(text: str) -> Iterator[str]:
    """The folders that GCC, Clang or nvcc's host compiler prints with -v, including those that do not exist."""
    for listed in SEARCHED.findall(text):
        yield from (line.strip() for line in listed.splitlines())
    yield from NOT_THERE.findall(text)


def files_of_trace(text: str, folder: Path) -> dict[str, str]:
    """The files that a linker opened, by their lines in the output of --trace."""
    found = {}
    for line in text.splitlines():
        member = MEMBER.fullmatch(line)
        name = (member["before"] or member["after"]) if member else line
        if _exists(folder / name):
            found[line] = name
    return found


def named_in_flags(flags: Sequence[str], folder: Path) -> Iterator[str]:
    """Files and folders that the flags name (-specs=FILE, -LFOLDER), and those named in response files."""
    words, known = list(flags), set()
    while words:
        word = words.pop()
        for name in _paths(word):
            if name not in known and _exists(folder / name):
                known.add(name)
                yield name
                words += _response(folder / name) if word.startswith(RESPONSE) else []


def _paths(word: str) -> Iterable[str]:
    parts = [part for part in re.split(r"[=,@]", word) if part]
    return [name for part in parts for name in (part, OPTION.sub("", part, count=1)) if name]


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # too long for a path, or no path
        return False


def _response(path: Path) -> list[str]:
    try:
        return shlex.split(read_file(path, RESPONSE_BYTES).decode(errors="replace"))
    except (NotReadableError, ValueError):
        return []
