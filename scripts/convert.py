"""Recorded measurements and runs of an earlier schema version, rewritten in this one."""

from __future__ import annotations

from pathlib import Path

import click

from . import cli


@click.command("convert")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
def command(files: tuple[Path, ...]) -> None:
    """Rewrite measurements and runs of schema version 1 in place, as version 2.

    Only names change. A file of version 2 stays as it is. If any file is neither, nothing is written.
    """
    from gate.storage import write_record
    from gate.verdict.evidence_file import load_converted

    records = {path: load_converted(path) for path in files}
    for path, record in records.items():
        if record is not None:
            write_record(path, record)
        cli.say(f"{path}: {'already version 2' if record is None else 'converted to version 2'}")


if __name__ == "__main__":
    cli.run(command)
