"""What many tests share: the build cache, one fork server a test process, and the command line in-process."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from gate.machine import cuda_tools
from gate.sandbox.client import WorkerServer
from gate.session import Session
from gate.witness import coordinator
from tests.support import examples
from tests.support.bare import make_bare_python

WITNESS_BATCH_MS = coordinator.BATCH_MS["cpu"]


def pytest_configure() -> None:
    """One thread a test process, set before anything imports torch: threads that wait for each other burn time."""
    os.environ["OMP_NUM_THREADS"] = "1"


@pytest.fixture(scope="session", autouse=True)
def surroundings(request: pytest.FixtureRequest) -> Iterator[None]:
    """Builds are kept from one run of the tests to the next."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERNEL_GATE_CACHE", str(request.config.cache.mkdir("builds")))
        patch.delenv("IMPL", raising=False)
        signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell starts behind itself has it ignored
        yield


@pytest.fixture(scope="session")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with the dependencies alone."""
    return make_bare_python(tmp_path_factory.mktemp("bare") / "venv")


@pytest.fixture(scope="session")
def server(surroundings: None) -> Iterator[WorkerServer]:
    """A fork server for all tests of this process; none may end it."""
    with WorkerServer(examples.limits()) as running:
        yield running


@pytest.fixture(scope="session")
def witness_server(surroundings: None) -> Iterator[WorkerServer]:
    """Another, that runs no candidate."""
    with WorkerServer(examples.limits()) as running:
        yield running


@pytest.fixture(scope="session")
def gpu_servers(surroundings: None) -> Iterator[tuple[WorkerServer, WorkerServer]]:
    """The same two with room for CUDA, whose context alone takes half a gigabyte of host memory."""
    limits = examples.limits(memory_mb=8192)
    with WorkerServer(limits) as server, WorkerServer(limits) as witness:
        yield server, witness


@pytest.fixture
def session(server: WorkerServer, witness_server: WorkerServer, monkeypatch: pytest.MonkeyPatch) -> Session:
    """Where small measurements are made, with short batches of the witness, which take most of their time."""
    monkeypatch.setitem(coordinator.BATCH_MS, "cpu", WITNESS_BATCH_MS / 20)
    return Session(server, witness_server, "cpu", examples.settings(), lambda label, done, total: None)


@pytest.fixture
def full_witness_batches(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """What users have, for a test that depends on what the witness sees of a candidate's time or later calls."""
    monkeypatch.setitem(coordinator.BATCH_MS, "cpu", WITNESS_BATCH_MS)


@pytest.fixture
def no_cuda_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with neither a CUDA toolkit nor Nsight Compute, wherever they might be."""
    monkeypatch.setattr(cuda_tools, "_places", lambda _: ())


@dataclass(frozen=True)
class Answer:
    """What a command said, and the code it ended with."""

    code: int
    out: str
    err: str

    @property
    def complaint(self) -> str:
        """The one line of an error; fails where there are more, or a traceback."""
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("kernel-gate: ")
        return lines[0]


@pytest.fixture
def kernel_gate(capfd: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """The command line, in this process."""
    from scripts import cli

    def call(*arguments: object) -> Answer:
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main([str(argument) for argument in arguments])
        said = capfd.readouterr()
        return Answer(int(ended.value.code or 0), said.out, said.err)

    return call


@pytest.fixture
def python_candidate(tmp_path: Path) -> Callable[..., Path]:
    """Makes a candidate in Python; returns its folder, whose parent is a kernels directory."""

    def make(code: str, name: str = "made_up", **fields: str) -> Path:
        folder = tmp_path / "kernels" / name
        folder.mkdir(parents=True)
        (folder / "kernel.py").write_text(code)
        table = {
            "name": f'"{name}"', "summary": '"made up for a test"', "language": '"python"',
            "sources": '["kernel.py"]', "devices": '["cpu"]', "supports": '{ dtypes = ["float32"] }', **fields,
        }  # fmt: skip
        (folder / "kernel.toml").write_text("".join(f"{key} = {value}\n" for key, value in table.items()))
        return folder

    return make
