"""What `from gate import ...` offers."""

import subprocess
import sys

import pytest

import gate


@pytest.mark.parametrize("name", gate.__all__)
def test_every_part_can_be_imported_and_says_what_it_does(name):
    assert getattr(gate, name).__doc__


def test_an_unknown_part_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing_of_ours'"):
        gate.nothing_of_ours  # noqa: B018


def test_importing_the_package_imports_nothing_heavy():
    code = "import sys, gate; print(sorted({'torch', 'numpy', 'scipy', 'pydantic'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
