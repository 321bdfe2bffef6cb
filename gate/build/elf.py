"""ELF files, read and never loaded: the functions that a library exports, and whether two are the same program.

For that, line numbers, symbols and the compiler's hashes of file names are left out: a comment may change those.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import Symbol, SymbolTableSection

FUNCTIONS = ("STT_FUNC", "STT_LOOS")
"""Types of symbols; the second is what elf.h calls STT_GNU_IFUNC on Linux."""
HOST = re.compile(r"\.(text|rodata|data|bss|init|fini|tdata|tbss)\b.*")
DEVICE = re.compile(r"\.(text\.|nv\.(constant|global|shared|info|local)).*")
MODULE = re.compile(rb"[0-9a-f]{8}(_\d+_\w{1,80}?_cu_)[0-9a-f]{8}")
"""nvcc's name for a source: hashes of it and of where it lies, around its file name."""


@dataclass(frozen=True, slots=True)
class Section:
    """One section of an ELF file."""

    name: str
    size: int
    content: bytes


@contextmanager
def _readable() -> Iterator[None]:
    """Raises ValueError for whatever pyelftools raises: on a broken file that may be any exception."""
    try:
        yield
    except Exception as error:
        raise ValueError(f"not an ELF file, or a broken one: {error or type(error).__name__}") from error


def sections(file: bytes) -> list[Section]:
    """The sections of an ELF file. Raises ValueError for anything else."""
    with _readable():
        elf = ELFFile(io.BytesIO(file))
        return [
            Section(section.name, section["sh_size"], _content(file, section.header))
            for section in elf.iter_sections()
        ]


def _content(file: bytes, header: Mapping[str, Any]) -> bytes:
    """The bytes as they lie in the file: `Section.data` would unpack a compressed one to whatever size it claims."""
    return b"" if header["sh_type"] == "SHT_NOBITS" else file[header["sh_offset"] :][: header["sh_size"]]


def exported_functions(library: bytes) -> set[str]:
    """The functions that a shared library offers to whoever loads it. Raises ValueError for what is no library."""
    with _readable():
        table = ELFFile(io.BytesIO(library)).get_section_by_name(".dynsym")
        symbols = table.iter_symbols() if isinstance(table, SymbolTableSection) else ()
        return {symbol.name for symbol in symbols if _is_exported_function(symbol)}


def _is_exported_function(symbol: Symbol) -> bool:
    return symbol["st_shndx"] != "SHN_UNDEF" and symbol["st_info"]["type"] in FUNCTIONS


def fingerprint(library: bytes, cubins: list[bytes]) -> str:
    """A digest of host code and data, and of the GPU's: equal fingerprints run alike."""
    device = sorted(_digest(each, DEVICE) for each in cubins)  # in whatever order they were linked
    return hashlib.sha256(" ".join([_digest(library, HOST), *device]).encode()).hexdigest()[:32]


def _digest(file: bytes, kept: re.Pattern[str]) -> str:
    digest = hashlib.sha256()
    for section in sorted(sections(file), key=lambda each: each.name):
        if kept.fullmatch(section.name):
            digest.update(_plain(section.name.encode()) + b"%d" % section.size + _plain(section.content))
    return digest.hexdigest()


def _plain(content: bytes) -> bytes:
    return MODULE.sub(lambda found: b"0" * 8 + found[1] + b"0" * 8, content)
