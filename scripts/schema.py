"""Prints the JSON Schema of the files that Kernel Gate writes; `make schema` publishes it in docs/schema/."""

from __future__ import annotations

import json

import click

from gate.records.codec import schema


def main() -> None:
    """Print the schema."""
    click.echo(json.dumps(schema(), indent=2))


if __name__ == "__main__":
    main()
