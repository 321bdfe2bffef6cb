"""The command line of `ncu`, its version and metrics, and the meaning of its failures."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gate.records import Status

RANGE = "kernel-gate"
"""The NVTX range around the calls to profile."""
PERMIT = (
    "put `options nvidia NVreg_RestrictProfilingToAdminUsers=0` into /etc/modprobe.d/ and reboot, or run as root (in "
    "a container: with --cap-add SYS_ADMIN); `kernel-gate doctor` checks it"
)


@dataclass(frozen=True, slots=True)
class Trouble:
    """A known failure: the pattern of its message, its status, meaning and remedy."""

    sign: re.Pattern[str]
    status: Status
    meaning: str
    remedy: str


def _trouble(sign: str, status: Status, meaning: str, remedy: str) -> Trouble:
    return Trouble(re.compile(sign, re.IGNORECASE), status, meaning, remedy)


ENVIRONMENT, CRASHED = Status.ENVIRONMENT, Status.CRASHED
TROUBLES: tuple[Trouble, ...] = (
    _trouble("ERR_NVGPUCTRPERM", ENVIRONMENT, "this user may not read the GPU's counters", PERMIT),
    _trouble(
        "driver resource was unavailable|InstrResourceUnavailable|other tool .*is (not )?concurrently",
        ENVIRONMENT,
        "another profiler holds the counters",
        "end it, then try again: another ncu or nsys, or DCGM (`dcgmi profile --pause`, later `--resume`)",
    ),
    _trouble(
        "nsight-compute-lock|lock ?file",
        ENVIRONMENT,
        "ncu cannot open its lock file, which another user created",
        "remove nsight-compute-lock from /tmp, or set TMPDIR to a folder of your own",
    ),
    _trouble(
        "driver is not compatible|Insufficient driver",
        ENVIRONMENT,
        "the driver is too old for this Nsight Compute",
        "update the driver, or install the Nsight Compute of the driver's CUDA version",
    ),
    _trouble(
        "not supported on (this )?device|unsupported GPU|Profiling is not supported",
        ENVIRONMENT,
        "this Nsight Compute cannot profile this GPU",
        "install a newer version; if it is a virtual GPU or a MIG slice, profile on the whole GPU",
    ),
    _trouble(
        "Failed to find metric|unrecognised metric|invalid metric",
        ENVIRONMENT,
        "this Nsight Compute does not have a requested metric",
        "install a newer Nsight Compute, and report this with its version",
    ),
    _trouble(
        "No kernels were profiled|==WARNING== No kernels",
        CRASHED,
        "the call launched no kernel",
        "the call itself must launch the kernel; run `kernel-gate run` to check whether the output is written",
    ),
    _trouble(
        "Failed to profile|error occurred while trying to profile|Trying to shutdown target",
        CRASHED,
        "ncu could not profile a kernel",
        "try again; a kernel that waits for another, or for the host, cannot be replayed",
    ),
    _trouble(
        "application returned an error code|target application terminated",
        CRASHED,
        "the program under ncu failed",
        "run it without ncu: `kernel-gate run`",
    ),
)


def explain(log: str) -> tuple[Status, str] | None:
    """The status of the failure in ncu's output, with meaning and remedy; None if it is not a known one."""
    found = next((each for each in TROUBLES if each.sign.search(log)), None)
    return None if found is None else (found.status, f"{found.meaning}; {found.remedy}")


def unknown_metrics(log: str) -> tuple[str, ...]:
    """Metrics that ncu reports as unknown."""
    return tuple(re.findall(r"Failed to find metric[s:]* *(?:regex:)?['\"^]*([\w.]+)", log))


def unread_metrics(log: str) -> tuple[str, ...]:
    """Metrics that ncu knows but could not read on this GPU."""
    said = re.findall(r"Unable to access the following \d+ metrics?: ([^\n]*)", log)
    return tuple(name.strip(" .") for line in said for name in line.split(",") if name.strip(" ."))


def version_in(said: str) -> str:
    """The version (`2025.3.1`) in the output of `ncu --version`; empty if there is none."""
    found = re.search(r"Version (\d+(?:\.\d+)+)", said)
    return found[1] if found else ""


def names_in(listing: str) -> frozenset[str]:
    """The metrics in what `ncu --query-metrics` prints, without suffixes."""
    return frozenset(re.findall(r"^([a-z][a-z0-9]*__\w+)\b", listing, re.MULTILINE))


@dataclass(frozen=True, slots=True)
class Options:
    """What changes what is counted. `clock_control`: hold the base clock, as ncu does by default; else none."""

    clock_control: bool = False

    @property
    def arguments(self) -> tuple[str, ...]:
        """Cold caches before each pass, since the gated time is taken from cold caches too."""
        return "--cache-control", "all", "--clock-control", "base" if self.clock_control else "none"


def ncu_command(
    program: str, metrics: Sequence[str], options: Options, log: Path, report: Path | None, harness: Sequence[str]
) -> list[str]:
    """The whole call: counters of the kernels in the harness's range, as CSV in `log`, and a report where wanted."""
    exported = ["--export", str(report), "--force-overwrite"] if report else []
    return [
        program, "--nvtx", "--nvtx-include", f"{RANGE}/", "--target-processes", "application-only",
        *options.arguments, "--metrics", ",".join(metrics),
        "--csv", "--page", "raw", "--print-units", "base", "--log-file", str(log), *exported, *harness,
    ]  # fmt: skip


def errors_in(log: str) -> Iterator[str]:
    """What ncu itself complains of, in order."""
    for line in log.splitlines():
        if line.startswith("==ERROR=="):
            yield line.removeprefix("==ERROR==").strip()
