"""``papisim schema``: what do the keys of JSON documents and the columns of frames mean."""

from __future__ import annotations

import click

from papisim.cli._command import Command
from papisim.cli._options import print_json


@click.command(name="schema", cls=Command)
@click.argument("name", required=False)
def command(*, name: str | None) -> None:
    """Print the JSON Schema of a document or of a frame's rows: every key with type, unit and meaning.

    Without NAME, print the names. A document names its schema itself: "schema": "papisim/run-summary/1" is that of
    run-summary. Schemas of frames begin with frame-.

    \b
    Example:
      papisim schema run-summary
      papisim schema frame-steps
    """
    from papisim.api.schema import json_schema, names  # noqa: PLC0415 - help should not wait for the models

    if name is None:
        click.echo("\n".join(names()))
    else:
        print_json(json_schema(name))
