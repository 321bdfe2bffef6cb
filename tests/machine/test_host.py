import pytest

from gate.machine.host import compiler_command, cpu_model, first_output_line, l2_bytes, memory_bytes, processor_flags


def test_the_machine_has_a_name_a_cache_and_memory():
    assert cpu_model()
    assert processor_flags()
    assert 1 << 14 <= l2_bytes() < memory_bytes()


def test_the_first_line_of_a_programs_output_is_returned():
    assert first_output_line("sh", "-c", "echo one; echo two") == "one"


@pytest.mark.parametrize("command", [("no-such-program",), ("false",), ("sh", "-c", r"printf '\377'")])
def test_a_program_that_is_absent_or_fails_has_no_first_line(command):
    assert first_output_line(*command) is None


def test_a_program_that_cannot_be_run_has_no_first_line(tmp_path):
    program = tmp_path / "program"
    program.write_bytes(b"\x00\x01")
    program.chmod(0o755)
    assert first_output_line(str(program)) is None


@pytest.mark.parametrize(("chosen", "command"), [("clang++ -v", "clang++ -v"), ("", "c++"), (None, "c++")])
def test_cxx_names_the_compiler(chosen, command, monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    if chosen is not None:
        monkeypatch.setenv("CXX", chosen)
    assert compiler_command() == command
