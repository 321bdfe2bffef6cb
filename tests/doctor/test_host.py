"""What `doctor` looks for on every machine; what a GPU needs is in test_doctor.py."""

import pytest

from gate.doctor import host
from gate.doctor.host import examine


def finding(item: str):
    return next(each for each in examine("cpu") if each.item.startswith(item))


@pytest.mark.parametrize("item", ["torch", "ninja", "scipy", "C++ compiler", "build cache"])
def test_what_every_device_needs_is_looked_for(item):
    found = finding(item)
    assert found.needed
    assert found.present
    assert found.remedy


def test_a_missing_compiler_is_found_with_its_remedy(monkeypatch):
    monkeypatch.setenv("CXX", "/nonexistent")
    assert not finding("C++ compiler").present
    assert "g++" in finding("C++ compiler").remedy


def test_a_missing_package_is_found_with_its_remedy(monkeypatch):
    monkeypatch.setattr(host, "_version", lambda name: None if name == "ninja" else "1.0")
    assert not finding("ninja").present
    assert finding("ninja").remedy == "pip install ninja"


def test_a_cache_below_a_file_is_found(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("KERNEL_GATE_CACHE", str(tmp_path / "file" / "cache"))
    assert not finding("build cache").present
    assert "KERNEL_GATE_CACHE" in finding("build cache").remedy


def test_a_cache_that_is_not_there_yet_is_no_fault(monkeypatch, tmp_path):
    monkeypatch.setenv("KERNEL_GATE_CACHE", str(tmp_path / "not" / "yet"))
    assert finding("build cache").present
    assert not (tmp_path / "not").exists()
