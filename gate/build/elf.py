"""ELF files, read and never loaded: the functions that a library exports, and whether two are the same program.

For that, line numbers, symbols and the compiler's hashes of file names are left out: a comment may change those.
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

ELF = b"\x7fELF"
NO_BITS = 8  # elf.h: SHT_NOBITS
SYMBOL = struct.Struct("<IBBHQQ")  # elf.h: Elf64_Sym
UNDEFINED, FUNCTIONS = 0, (2, 10)  # elf.h: SHN_UNDEF; STT_FUNC, STT_GNU_IFUNC
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


def sections(file: bytes) -> Iterator[Section]:
    """The sections of a 64-bit little-endian ELF file. Raises ValueError for anything else."""
    if file[:6] != ELF + b"\x02\x01":
        raise ValueError("not a 64-bit ELF file")
    try:
        (table,) = struct.unpack_from("<Q", file, 0x28)
        size, count, names = struct.unpack_from("<HHH", file, 0x3A)
        headers = [struct.unpack_from("<IIQQQQIIQQ", file, table + size * number) for number in range(count)]
    except (struct.error, OverflowError) as error:
        raise ValueError(f"a truncated ELF file: {error}") from error
    strings = headers[names][4] if count else 0
    for name, kind, _, _, offset, length, *_ in headers:
        content = b"" if kind == NO_BITS else file[offset : offset + length]
        yield Section(file[strings + name :].partition(b"\0")[0].decode(errors="replace"), length, content)


def exported_functions(library: bytes) -> set[str]:
    """The functions that a shared library offers to whoever loads it. Raises ValueError for what is no library."""
    content = {each.name: each.content for each in sections(library)}
    symbols, names = content.get(".dynsym", b""), content.get(".dynstr", b"")
    whole = symbols[: len(symbols) // SYMBOL.size * SYMBOL.size]
    return {
        names[name:].partition(b"\0")[0].decode(errors="replace")
        for name, about, _, section, _, _ in SYMBOL.iter_unpack(whole)
        if section != UNDEFINED and about & 0xF in FUNCTIONS
    }


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
