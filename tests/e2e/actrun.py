"""Runs kernel-gate.yml with `act`, on this machine and without Docker or network.

The repository is a git repository in a temporary folder, GitHub's API is `tests.support.fake_github`, and the four
actions of GitHub's that the workflow uses are stood in for by small composite ones. act 0.2 does not know `queue:`:
`rewritten` takes it out, and nothing else.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.support.fake_github import Github

ROOT = Path(__file__).parents[2]
WORKFLOW = Path(".github/workflows/kernel-gate.yml")
PARTS = ("gate", "scripts", ".github", "pyproject.toml", "kernels/attention.h")
ACTOR = "maintainer"
PINS = re.compile(r"uses: (actions/[\w-]+@[0-9a-f]{40})")
POLICY = """
[github]
impl = "right"
runners = [{ name = "cpu", labels = ["self-hosted"], device = "cpu" }]
[workloads]
cpu = ["1,2,64,32,float32"]
[measure]
baseline = "flash"
interim_replicates = [5]
rounds = 4
warmup_rounds = 3
"""
RIGHT = """import torch
def attention(q, k, v, scale, causal, out):
    out.copy_(torch.softmax(q @ k.mT * scale, -1) @ v)
"""
CRASHING = """import os, signal
def attention(q, k, v, scale, causal, out):
    os.kill(os.getpid(), signal.SIGSEGV)
"""
KERNELS = {
    "right": RIGHT,
    "wrong": RIGHT.replace("@ v)", "@ v * 1.5)"),
    "crashing": CRASHING,
}

STAND_INS = {
    "checkout": """
      if [ -z "$REF" ]; then REF=$GITHUB_SHA; fi
      mkdir -p "./$FOLDER"
      git -C "$ACT_ORIGIN" archive "$REF" $SPARSE | tar -x -C "./$FOLDER"
    """,
    "setup-python": "true",
    "upload-artifact": """
      kept="$ACT_ARTIFACTS/$NAME"
      if [ ! -d "$FOLDER" ]; then echo "no files in $FOLDER" >&2; [ "$MISSING" != error ]; exit; fi
      rm -rf "$kept"; mkdir -p "$kept"; cp -r "$FOLDER/." "$kept"
      if [ -d "$ACT_FORGED" ]; then case "$NAME" in measured-*) cp -r "$ACT_FORGED/." "$kept";; esac; fi
    """,
    "download-artifact": """
      if [ ! -d "$ACT_ARTIFACTS/$NAME" ]; then echo "no artifact $NAME" >&2; exit 1; fi
      mkdir -p "$FOLDER"; cp -r "$ACT_ARTIFACTS/$NAME/." "$FOLDER"
    """,
}
INPUTS = {
    "ref": "REF", "path": "FOLDER", "sparse-checkout": "SPARSE", "name": "NAME", "if-no-files-found": "MISSING",
    "persist-credentials": "", "overwrite": "", "python-version": "",
}  # fmt: skip


def act() -> str | None:
    """The path of act, where it is installed."""
    return shutil.which("act", path=str(Path(sys.executable).parent)) or shutil.which("act")


def rewritten(text: str) -> str:
    """The workflow as act can read it."""
    return re.sub(r"^ *queue: max\n", "", text, flags=re.MULTILINE)


@dataclass
class Origin:
    """A repository: Kernel Gate and some candidates on `main`, and a topic branch that changes one of them."""

    folder: Path
    python: Path
    """The runner's: what `python3` is there."""
    variables: dict[str, str] = field(default_factory=dict)
    """What is set on the runner."""
    base: str = ""
    head: str = ""

    def git(self, *arguments: str) -> str:
        identity = ("-c", "user.name=t", "-c", "user.email=t@example.test", "-c", "commit.gpgsign=false")
        command = ["git", "-C", str(self.folder), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def commit(self, message: str) -> str:
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        return self.git("rev-parse", "HEAD")

    def candidate(self, name: str, code: str) -> None:
        folder = self.folder / "kernels" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "kernel.py").write_text(code)
        (folder / "kernel.toml").write_text(
            f'name = "{name}"\nsummary = "made for a test"\nlanguage = "python"\nsources = ["kernel.py"]\n'
            'devices = ["cpu"]\nsupports = { dtypes = ["float32"] }\n'
        )


def make_origin(folder: Path, python: Path) -> Origin:
    """The repository at `folder`, with `main` checked out."""
    origin = Origin(folder, python)
    folder.mkdir(parents=True)
    ignore = shutil.ignore_patterns("node_modules", "__pycache__")
    for part in PARTS:
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        (folder / part).parent.mkdir(parents=True, exist_ok=True)
        copy(ROOT / part, folder / part, **({"ignore": ignore} if copy is shutil.copytree else {}))
    (folder / WORKFLOW).write_text(rewritten((folder / WORKFLOW).read_text()))
    (folder / "gate.toml").write_text(POLICY)
    origin.git("init", "-q", "-b", "main")
    for name, code in KERNELS.items():
        origin.candidate(name, code)
    origin.base = origin.commit("Kernel Gate and its candidates")
    return origin


@dataclass
class Done:
    """What a run of the workflow did."""

    code: int
    log: str
    results: dict[str, str] = field(default_factory=dict)
    """Per job, `success` or `failure`; a job that did not run is not there."""

    def ran(self, job: str) -> bool:
        return any(name.split()[0] == job for name in self.results)

    def result(self, job: str) -> str:
        return next((each for name, each in self.results.items() if name.split()[0] == job), "skipped")


def make_stand_ins(folder: Path) -> list[str]:
    """The composite actions, and act's options that put them in the place of GitHub's."""
    pins = dict.fromkeys(PINS.findall((ROOT / WORKFLOW).read_text()))
    options = []
    for pin in pins:
        name = pin.partition("@")[0].removeprefix("actions/")
        environment = {variable: f"${{{{ inputs.{each} }}}}" for each, variable in INPUTS.items() if variable}
        step = {"shell": "bash", "env": environment, "run": f"set -eu\n{STAND_INS[name]}"}
        action = {
            "name": name, "description": f"stands in for {name}",
            "inputs": {each: {"description": each, "required": False, "default": ""} for each in INPUTS},
            "runs": {"using": "composite", "steps": [step]},
        }  # fmt: skip
        (folder / name).mkdir(parents=True)
        (folder / name / "action.yml").write_text(yaml.safe_dump(action))
        options += ["--local-repository", f"{pin}={folder / name}"]
    return options


def runners_environment() -> dict[str, str]:
    """This process's, without what a runner would not have: nothing that is set for us, or for the tests' Python."""
    ours = ("GITHUB_", "RUNNER_", "INPUT_", "KERNEL_GATE_", "PYTHON", "VIRTUAL_ENV", "IMPL")
    return {key: value for key, value in os.environ.items() if not key.startswith(ours)}


def run(origin: Origin, github: Github, name: str, event: dict[str, Any], folder: Path, **variables: str) -> Done:
    """The workflow on an event; the commit is what the repository has checked out."""
    (folder / "event.json").write_text(json.dumps(event))
    (folder / "artifacts").mkdir(exist_ok=True)
    job = {
        "GITHUB_API_URL": github.url, "GITHUB_SERVER_URL": "https://github.test", "NO_PROXY": "*",
        "GITHUB_REPOSITORY": github.repository, "GITHUB_RUN_ID": "9042", "GITHUB_RUN_NUMBER": "42",
        "ACT_ORIGIN": str(origin.folder), "ACT_ARTIFACTS": str(folder / "artifacts"),
        "ACT_FORGED": str(folder / "forged"), **origin.variables, **variables,
    }  # fmt: skip
    options = [each for key, value in job.items() for each in ("--env", f"{key}={value}")]
    command = [
        act() or "act", name, "-W", str(WORKFLOW), "-e", str(folder / "event.json"), "--json",
        "-P", "self-hosted=-self-hosted", "-P", "ubuntu-latest=-self-hosted", "--pull=false", "--no-cache-server",
        "--no-skip-checkout", "--actor", ACTOR, "-s", "GITHUB_TOKEN=write-token",
        "--action-cache-path", str(folder / "cache"),
        *make_stand_ins(folder / "stand-ins"), *options,
    ]  # fmt: skip
    home = {
        "HOME": str(folder),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "PATH": f"{origin.python.parent}{os.pathsep}{os.environ['PATH']}",
    }
    done = subprocess.run(
        command, cwd=origin.folder, env=runners_environment() | home, capture_output=True, text=True, check=False
    )
    return Done(done.returncode, done.stdout + done.stderr, _results(done.stdout))


def _results(log: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in log.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if "jobResult" in entry:
            found[entry["job"].rpartition("/")[2]] = entry["jobResult"]
    return found
