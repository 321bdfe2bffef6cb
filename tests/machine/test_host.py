import pytest

from gate.machine.host import compiler_command, cpu_model, l2_bytes, memory_bytes, processor_flags, said_by


def test_the_machine_has_a_name_a_cache_and_memory():
    assert cpu_model()
    assert processor_flags()
    assert 1 << 14 <= l2_bytes() < memory_bytes()


def test_a_program_is_known_by_its_first_line():
    assert said_by("sh", "-c", "echo one; echo two") == "one"


@pytest.mark.parametrize("command", [("no-such-program",), ("false",), ("sh", "-c", r"printf '\377'")])
def test_a_program_that_is_absent_or_fails_says_nothing(command):
    assert said_by(*command) is None


def test_a_program_that_cannot_be_run_says_nothing(tmp_path):
    program = tmp_path / "program"
    program.write_bytes(b"\x00\x01")
    program.chmod(0o755)
    assert said_by(str(program)) is None


@pytest.mark.parametrize(("chosen", "command"), [("clang++ -v", "clang++ -v"), ("", "c++"), (None, "c++")])
def test_the_compiler_is_what_cxx_says(chosen, command, monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    if chosen is not None:
        monkeypatch.setenv("CXX", chosen)
    assert compiler_command() == command
