"""Machine code without a GPU: instructions are counted, and two builds compared."""

import contextlib
import struct
from dataclasses import replace
from pathlib import Path

import pytest

from gate.analysis.code_difference import Static, compare_builds
from gate.analysis.kernel_names import same_kernel
from gate.build import sass
from gate.build.elf import exported_functions, fingerprint, sections
from gate.build.sass import Instruction, barriers_per_tile, read_sass
from gate.machine.cuda_tools import find_tool
from gate.records import KernelResources
from gate.report.machine_code import difference_text, static_text
from tests.support import examples
from tests.support.cuda_candidate import CODE, needs_nvcc, write_candidate
from tests.support.profiles import machine_code

SASS = Path(__file__).parents[1] / "data" / "sass" / "tiny.sass"
"""cuobjdump 13.1 on two kernels for 8.9 and 9.0: products on tensor cores in a loop with two barriers, and a fill."""
needs_disassembler = pytest.mark.skipif(
    find_tool("cuobjdump") is None, reason="needs cuobjdump: the CUDA toolkit or triton"
)


@pytest.fixture
def codes():
    return read_sass(SASS.read_text())


def test_every_kernel_of_every_architecture_is_read(codes):
    assert [each.architecture for each in codes] == ["9.0", "9.0", "8.9", "8.9"]
    assert ["products" in each.kernel for each in codes] == [True, False, True, False]


def test_instructions_are_counted_by_kind(codes):
    products = codes[2]
    assert (products.mix["HMMA"], products.mix["BAR"]) == (2, 2)
    assert "NOP" not in products.mix
    assert products.instructions == sum(products.mix.values())


def test_what_fills_the_end_is_no_instruction(codes):
    assert codes[1].mix.get("BRA", 0) == 0  # but for the branch to itself
    assert codes[1].mix["EXIT"] == 1


def test_barriers_are_those_of_the_loop_that_computes(codes):
    assert codes[0].barriers_per_tile == 2  # and none of the loop within it, which copies
    assert codes[1].barriers_per_tile is None  # no loop


def loop(*kinds, first=0):
    body = [Instruction(first + 16 * at, kind, kind) for at, kind in enumerate(kinds)]
    return [*body, Instruction(first + 16 * len(kinds), "BRA", "BRA", first)]


def test_the_loop_with_the_most_arithmetic_counts():
    scalar, tensor = loop("FFMA", "FFMA", "BAR", "BAR", "BAR"), loop("HMMA", "BAR", first=256)
    assert barriers_per_tile([*scalar, *tensor]) == 1


def test_barriers_of_a_loop_within_the_tile_are_not_of_the_tile():
    inner = loop("LDG", "BAR", "BAR", first=16)
    outer = [Instruction(0, "HMMA", "HMMA"), *inner, Instruction(96, "BAR", "BAR"), Instruction(112, "BRA", "BRA", 0)]
    assert barriers_per_tile(outer) == 1


def test_a_loop_without_arithmetic_is_no_tile():
    assert barriers_per_tile(loop("LDG", "STS", "BAR")) is None


def test_the_digest_is_of_operands_too():
    text = SASS.read_text()
    assert read_sass(text) == read_sass(text)
    other = read_sass(text.replace("HMMA.16816.F32 R4, R12.reuse, R2, R4", "HMMA.16816.F32 R4, R12.reuse, R2, R8"))
    changed = [one.kernel for one, two in zip(read_sass(text), other, strict=True) if one.digest != two.digest]
    assert len(changed) == 1


def test_a_dump_of_nothing_has_no_kernels():
    assert read_sass("") == ()


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("void <unnamed>::attend<(int)64, (bool)1>(float *)", "attend<64, true>", True),
        ("void wmma::forward<wmma::Float16, 64>(wmma::Problem)", "wmma::forward<wmma::Float16, 64>", True),
        ("attend<64ul>", "void attend<64>(int)", True),
        ("attend<64>", "attend<32>", False),
        ("ladder::attend<64>", "attend<64>", False),
        ("(anonymous namespace)::attend", "attend()", True),
    ],
)
def test_names_of_two_tools_meet(one, other, same):
    assert same_kernel(one, other) is same


def static(*codes, fingerprint="a", resources=()):
    return Static("tiny", fingerprint, codes, resources)


def test_the_same_program_needs_no_measurement():
    same = compare_builds(static(machine_code()), static(machine_code()))
    assert same.identical
    assert "a new measurement is not needed" in difference_text(same)


def test_the_same_machine_code_called_otherwise_is_another_program():
    other = compare_builds(static(machine_code()), static(machine_code(), fingerprint="b"))
    assert not other.identical
    assert "host code or constants changed" in difference_text(other)


def test_what_changed_is_told_by_its_counts():
    old, new = machine_code(HMMA=10, BAR=2, LDL=4), replace(machine_code(HMMA=12, BAR=1), digest="1" * 32)
    taken = KernelResources("attend", "9.0", registers=128, shared_bytes=0, spill_store_bytes=8, spill_load_bytes=8,
                            stack_bytes=0)  # fmt: skip
    better = replace(taken, registers=120, spill_store_bytes=0, spill_load_bytes=0, occupancy=None)
    (change,) = compare_builds(static(old, resources=(taken,)), static(new, resources=(better,))).changes
    assert change.change == "changed"
    assert dict(change.counts) == {
        "instructions": (16, 13), "HMMA": (10, 12), "BAR": (2, 1), "LDL": (4, 0), "barriers a tile": (2, 1),
        "registers": (128, 120), "spill_bytes": (16, 0),
    }  # fmt: skip


def test_other_operands_with_equal_counts_are_a_move():
    moved = replace(machine_code(), digest="1" * 32)
    assert [each.change for each in compare_builds(static(machine_code()), static(moved)).changes] == ["moved"]


def test_kernels_come_and_go():
    seen = compare_builds(static(machine_code("old")), static(machine_code("new")))
    assert {(each.kernel, each.change) for each in seen.changes} == {("new", "added"), ("old", "removed")}


def test_every_kernel_has_a_row_with_what_matters(codes):
    text = static_text(static(*codes))
    assert "barriers per tile" in text
    assert text.count("9.0") == 2


@pytest.mark.parametrize("content", [b"", b"#!/bin/sh", b"\x7fELF\x02\x01", b"\x7fELF\x02\x01" + b"\xff" * 80])
def test_what_is_no_library_has_no_sections(content):
    with pytest.raises(ValueError, match="ELF"):
        sections(content)


def test_a_library_that_is_broken_anywhere_is_read_or_refused_in_one_way():
    whole = elf({".dynstr": b"\0a\0", ".dynsym": symbol(1, FUNCTION, HERE) * 3, ".text": b"call"})
    for at in range(len(whole)):
        for broken in (whole[:at], whole[:at] + b"\xff" + whole[at + 1 :]):
            with contextlib.suppress(ValueError):  # and no other
                exported_functions(broken)
            with contextlib.suppress(ValueError):
                sections(broken)


@pytest.mark.slow
@needs_nvcc
@needs_disassembler
def test_a_comment_changes_no_machine_code_and_a_statement_does(kernel_gate, tmp_path, monkeypatch):
    monkeypatch.setenv("KERNEL_GATE_CACHE", str(tmp_path / "cache"))
    for name, code in (("old", CODE), ("comment", f"// a line\n{CODE}"), ("other", CODE.replace("row[0]", "row[1]"))):
        write_candidate(tmp_path / name, code)
    base = ("machine-code", "--impl", "tiny", "--arch", "9.0", "--against", tmp_path / "old")
    same = kernel_gate(*base, "--kernels", tmp_path / "comment", "--out", tmp_path / "same.json")
    assert same.code == 0, same.err
    assert "identical program" in same.out
    assert '"identical":true' in (tmp_path / "same.json").read_text()
    other = kernel_gate(*base, "--kernels", tmp_path / "other")
    assert (other.code, "moved: " in other.out) == (0, True)


@needs_nvcc
def test_without_a_disassembler_the_remedy_is_said(kernel_gate, tmp_path, monkeypatch):
    monkeypatch.setattr(sass, "find_tool", lambda _: None)
    write_candidate(tmp_path / "kernels")
    said = kernel_gate("machine-code", "--impl", "tiny", "--arch", "9.0", "--kernels", tmp_path / "kernels")
    assert said.code == 69
    assert "pip install triton" in said.complaint


def test_host_code_and_device_code_decide_the_fingerprint():
    host, device = elf({".text": b"call", ".comment": b"gcc 1"}), elf({".text.attend": b"mma", ".debug_line": b"7"})
    same = fingerprint(elf({".text": b"call", ".comment": b"gcc 2"}), [elf({".text.attend": b"mma"})])
    assert fingerprint(host, [device]) == same
    assert fingerprint(elf({".text": b"jump"}), [device]) != same
    assert fingerprint(host, [elf({".text.attend": b"wgmma"})]) != same
    assert fingerprint(host, [device, elf({".nv.constant3": b"1"})]) != same


FUNCTION, VARIABLE, INDIRECT, UNDEFINED, HERE = 0x12, 0x11, 0x1A, 0, 7


def symbol(name: int, about: int, section: int) -> bytes:
    return struct.pack("<IBBHQQ", name, about, 0, section, 0, 0)


def test_a_library_exports_the_functions_that_it_defines():
    table = [symbol(1, FUNCTION, HERE), symbol(3, VARIABLE, HERE), symbol(5, FUNCTION, UNDEFINED)]
    library = {".dynstr": b"\0a\0b\0c\0d\0", ".dynsym": b"".join([*table, symbol(7, INDIRECT, HERE)])}
    assert exported_functions(elf(library)) == {"a", "d"}


def test_what_has_no_symbols_exports_nothing():
    assert exported_functions(elf({".text": b"call"})) == set()


KINDS = {".dynstr": (3, 0, 0), ".dynsym": (11, 1, 24)}
"""elf.h: SHT_STRTAB; SHT_DYNSYM, whose names are in the first section, and the size of a symbol."""


def elf(content):
    """The least that is an ELF file with these sections."""
    names = b"\0" + b"\0".join(name.encode() for name in content) + b"\0.shstrtab\0"
    bodies, headers, at = b"", [struct.pack("<IIQQQQIIQQ", *[0] * 10)], 64
    for name, body in (*content.items(), (".shstrtab", names)):
        start = names.index(b"\0" + name.encode() + b"\0") + 1
        kind, link, entry = KINDS.get(name, (1, 0, 0))
        headers.append(struct.pack("<IIQQQQIIQQ", start, kind, 0, 0, at + len(bodies), len(body), link, 0, 1, entry))
        bodies += body
    head = bytearray(64)
    head[:7] = b"\x7fELF\x02\x01\x01"
    struct.pack_into("<Q", head, 0x28, at + len(bodies))
    struct.pack_into("<HHH", head, 0x3A, 64, len(headers), len(headers) - 1)
    return bytes(head) + bodies + b"".join(headers)


@pytest.mark.parametrize("impl", ["honest", "python_honest"])
def test_what_nvcc_does_not_compile_has_no_machine_code_to_look_at(impl, kernel_gate):
    answer = kernel_gate("machine-code", "--impl", impl, "--kernels", examples.ADVERSARIAL)
    assert answer.code == 64
    assert f"{impl} is " in answer.complaint
    assert "choose a CUDA candidate" in answer.complaint
