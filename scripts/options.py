"""Command-line options shared by several commands, and their conversion to records."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

import gate

from . import cli, progress

if TYPE_CHECKING:
    from gate.candidates.registry import Candidate
    from gate.records import Build, Dtype, Record, Workload
    from gate.session import Session
    from gate.settings.model import Settings

F = TypeVar("F", bound=Callable[..., Any])
R = TypeVar("R", bound="Record")
OVERRIDES = "kernel-gate.overrides"
PROBE_CHARS = 1 << 20
"""Size of a small measurement: on a full disk an empty file can still be written."""
DEFAULT_DTYPES: dict[str, Dtype] = {"cpu": "float32", "cuda": "float16"}

BUNDLED = Path(gate.__file__).with_name("kernels")
"""The candidates that an installed wheel comes with. A checkout has none here, so that on GitHub nothing but the pull
request's own kernels is ever measured under their names."""


def _folder_of_candidates() -> Path:
    here = Path("kernels")
    return BUNDLED if BUNDLED.is_dir() and not here.exists() else here


impl = click.option("--impl", envvar="IMPL", required=True, help="The candidate, a name in the registry (or IMPL).")
kernels = click.option(
    "--kernels", type=click.Path(path_type=Path), default=_folder_of_candidates,
    help="The folder of candidates. Default: ./kernels, or else those of the installed wheel.",
)  # fmt: skip
config = click.option("--config", metavar="NAME=VALUE,...", help="Tunables: BLOCK_M=64. Default: kernel.toml's.")
device = click.option("--device", type=click.Choice(["auto", "cuda", "cpu"]), default="auto", help="Where to run.")
shape = click.option(
    "--shape",
    "shapes",
    multiple=True,
    metavar="B,H,S,D[,DTYPE[,causal]]",
    help="A workload; repeat for more. Default: gate.toml's.",
)
dtype = click.option(
    "--dtype", type=click.Choice(["float32", "float16", "bfloat16"]), help="The dtype of workloads that name none."
)
arch = click.option(
    "--arch", "asked", multiple=True, metavar="8.9",
    help="A CUDA architecture; repeat for more. Default: TORCH_CUDA_ARCH_LIST, or this GPU's.",
)  # fmt: skip
out_file = click.option("--out", type=click.Path(path_type=Path), help="Write JSON to this file.")


def stack(*options: Callable[[F], F]) -> Callable[[F], F]:
    """Combines options into one decorator; --help shows them in the given order."""

    def decorate(command: F) -> F:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def setting(flag: str, name: str, form: str = "{}", **attributes: Any) -> Callable[[F], F]:
    """An option that sets the value `name` of gate.toml, like `--set`; `form` is its TOML notation."""

    def remember(ctx: click.Context, _: click.Parameter, value: Any) -> None:
        if value is not None:
            ctx.meta.setdefault(OVERRIDES, []).append(f"{name}={form.format(json.dumps(value))}")

    return click.option(flag, expose_value=False, callback=remember, **attributes)


baseline = setting("--baseline", "measure.baseline", help="The SDPA backend to beat: best, flash, cudnn, ...")
iters = setting("--iters", "measure.rounds", type=int, help="Rounds per replicate.")
replicates = setting(
    "--replicates",
    "measure.interim_replicates",
    "[{}]",
    type=int,
    help="Exact number of replicates (fresh processes).",
)
lock_clocks = setting(
    "--lock-clocks",
    "measure.lock_clocks",
    is_flag=True,
    default=None,
    help="Lock the GPU's clocks; needs root, and a GPU that nobody shares.",
)
alpha = setting("--alpha", "gates.alpha", type=float, help="One minus the confidence of the interval.")
speedup = setting(
    "--speedup", "gates.speedup", type=float, help="Threshold of the time ratio candidate / baseline: 0.95."
)
margin = setting("--margin", "gates.margin", type=float, help="Slower by more than this is a regression: 0.03.")
improvement = setting("--improvement", "gates.improvement", type=float, help="Faster by more than this: 0.10.")
strict = setting(
    "--strict", "gates.strict", is_flag=True, default=None, help="Require the whole interval below --speedup."
)


def ncu(default: str) -> Callable[[F], F]:
    """The option that selects the workloads to profile; the command gets `ncu`."""
    return click.option(
        "--ncu",
        type=click.Choice(["none", "worst", "all"]),
        is_flag=False,
        flag_value="all",
        default=default,
        show_default=True,
        help="Workloads whose hardware counters are read: all (just --ncu), or the one with the worst ratio.",
    )


def settings(command: F) -> Callable[..., Any]:
    """--policy and --set; the command gets `settings`, with all overrides applied."""

    @functools.wraps(command)
    def with_settings(*arguments: Any, policy: Path | None, overrides: tuple[str, ...], **options: Any) -> Any:
        from gate.settings.load import load_settings

        by_option = click.get_current_context().meta.get(OVERRIDES, ())
        twice = {override.partition("=")[0] for override in overrides} & {
            override.partition("=")[0] for override in by_option
        }
        if twice:
            raise click.UsageError(
                f"{', '.join(sorted(twice))} is set by an option and by --set: remove one of them."
            )
        every = (*overrides, *by_option)
        return command(*arguments, settings=load_settings(policy, every), **options)

    add = stack(
        click.option("--policy", type=click.Path(path_type=Path), help="The policy file. Default: ./gate.toml."),
        click.option("--set", "overrides", multiple=True, metavar="SECTION.NAME=VALUE", help="Override gate.toml."),
    )
    return add(with_settings)


fuzzing = stack(
    click.option("--impl", envvar="IMPL", help="The candidate, a name in the registry (or IMPL)."),
    click.option("--backend", help="Check an SDPA backend instead: flash, cudnn, efficient or math. Default: flash."),
    kernels,
    config,
    dtype,
    device,
    click.option("--full", is_flag=True, help="Use the full matrix, the default on a GPU."),
    click.option("--extended", is_flag=True, help="Adds lengths, sizes, masks, bfloat16, layouts, distributions."),
    click.option(
        "--repro",
        type=click.Path(path_type=Path),
        help="Repeat the failure in a fuzz-failure.json instead, with any --impl.",
    ),
    click.option("--sanitize", is_flag=True, help="Run a few small cases under NVIDIA's compute-sanitizer instead."),
)
measuring = stack(shape, dtype, device, iters, replicates, lock_clocks)
judging = stack(alpha, speedup, strict)


def workloads(
    shapes: tuple[str, ...], dtype: Dtype | None, device: str, settings: Settings, *, checked: bool = True
) -> tuple[Workload, ...]:
    """The workloads of --shape and --dtype, or those that gate.toml requires on this device.

    Raises BadInputError for a workload that exceeds this machine's memory; a check (`checked`) needs the most.
    """
    from gate.machine.capacity import require_enough_memory

    chosen = _workloads(shapes, dtype, device, settings)
    require_enough_memory(chosen, device, settings.limits, checked=checked)
    return chosen


def _workloads(shapes: tuple[str, ...], dtype: Dtype | None, device: str, settings: Settings) -> tuple[Workload, ...]:
    from gate.settings.model import parse_workload

    if not shapes:
        required = settings.required(device)
        return tuple(dict.fromkeys(replace(workload, dtype=dtype) for workload in required)) if dtype else required
    named = (parse_workload(text, dtype or DEFAULT_DTYPES[device]) for text in shapes)
    return tuple(dict.fromkeys(named))  # each once, in the order given


def dtypes(asked: Dtype | None, device: str) -> tuple[Dtype, ...]:
    """--dtype if given, otherwise the device's default and bfloat16."""
    return (asked,) if asked else (DEFAULT_DTYPES[device], "bfloat16")


@contextmanager
def session(device: str, settings: Settings) -> Iterator[Session]:
    """A session with running servers and exclusive use of the device; shows progress on standard error."""
    from gate.machine import preflight
    from gate.machine.gpu_lock import exclusive_gpu

    preflight.require_fit_machine(settings.limits, device)  # before anything slow is imported
    from gate.sandbox.client import WorkerServer
    from gate.sandbox.job import UNLIMITED
    from gate.session import Session

    with ExitStack() as stack:
        clocks = settings.measure.lock_clocks
        read_telemetry = (
            stack.enter_context(exclusive_gpu(clocks, progress.waiting)) if device == "cuda" else lambda: None
        )
        server, witness = (stack.enter_context(WorkerServer(limits)) for limits in (settings.limits, UNLIMITED))
        server.start()
        stack.callback(progress.clear)
        yield Session(server, witness, device, settings, progress.show, read_telemetry)


def check_writable(path: Path | None, chars: int = PROBE_CHARS) -> None:
    """Fails before a long measurement, not after it, if the file may not be written or has no room for `chars`.

    Raises UnwritableOutputError or UnfitEnvironmentError.
    """
    from gate.errors import GateError, UnwritableOutputError
    from gate.storage import write_text

    if path is not None:
        if path.is_dir():
            raise UnwritableOutputError(f"cannot write {path}: it is a folder; choose a file's path")
        probe = path.with_name(f".{path.name}.probe")
        try:
            write_text(probe, " " * chars)
        except GateError as error:
            raise type(error)(str(error).replace(str(probe), str(path))) from error
        probe.unlink()


def runnable(candidate: Candidate) -> Candidate:
    """Returns the candidate if its requirements are installed. Raises UnfitEnvironmentError."""
    from gate.doctor.availability import not_installed
    from gate.errors import UnfitEnvironmentError

    absent = not_installed(candidate)
    if absent is not None:
        raise UnfitEnvironmentError(f"{candidate.name} cannot run here: {absent}")
    return candidate


def build_of(candidate: Candidate, asked: tuple[str, ...], settings: Settings) -> Build:
    """The candidate's build, cached or new; a failed build has a status and a message."""
    from gate.build.build import build, cached_build
    from gate.build.targets import wanted_architectures
    from gate.machine import preflight
    from gate.sandbox.client import WorkerServer

    preflight.require_fit_machine(settings.limits, "cuda")  # a build needs no shared memory
    if asked:
        wanted_architectures(asked)  # refuses an invalid --arch also for candidates without architectures
    made = cached_build(candidate, asked)
    if made is not None:
        return made
    with WorkerServer(settings.limits) as server:
        return build(candidate, server, settings.limits.build_s, asked)


def built(candidate: Candidate, asked: tuple[str, ...], settings: Settings) -> Build:
    """The candidate's successful build. Raises FailedBuildError or UnfitEnvironmentError."""
    from gate.errors import FailedBuildError, UnfitEnvironmentError
    from gate.records import Status

    made = build_of(candidate, asked, settings)
    if made.status in (Status.BUILD_FAILED, Status.TIMED_OUT):
        raise FailedBuildError(f"{candidate.folder}: {made.message}; `kernel-gate build` shows the compiler's output")
    if made.status is not Status.OK:
        raise UnfitEnvironmentError(made.message)
    return made


def deliver(record: R, out: Path | None, table: Callable[[R], str]) -> None:
    """Prints the record as a table, and writes it to `out` if given."""
    try:
        cli.say(table(record))
    finally:  # on a full disk one of the two may fail; the other is still delivered
        save(record, out)


def save(record: Record, out: Path | None) -> None:
    """Writes the record to `out` if given."""
    from gate.storage import write_record

    if out is not None:
        write_record(out, record)
        cli.say(f"written: {out}")
