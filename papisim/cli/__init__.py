"""The command line: ``papisim COMMAND``; each command is the file of its name in this package."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import click

from papisim import __version__
from papisim.cli._faults import STOPPING, ReaderGone, finish_streams, prepare_streams, stopped_by, stopping_on_sigterm
from papisim.errors import FormerName, did_you_mean

#: other spellings of commands
_ALIASES = {"optimize": "optimise"}


class _Commands(click.Group):
    """Finds commands as files of this package and imports the one that is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return sorted(info.name for info in pkgutil.iter_modules(__path__) if not info.name.startswith("_"))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        cmd_name = _ALIASES.get(cmd_name, cmd_name)
        if cmd_name not in self.list_commands(ctx):
            return None
        command: click.Command = importlib.import_module(f"{__name__}.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands with their first sentences, read from the files: importing all would take a second."""
        with formatter.section("Commands"):
            summaries = [(name, _first_paragraph(name)) for name in self.list_commands(ctx)]
            width = formatter.width - 6 - max(len(name) for name, _ in summaries)
            formatter.write_dl(
                [(name, click.Command(name, help=text).get_short_help_str(width)) for name, text in summaries]
            )

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        known = self.list_commands(ctx)
        if args and args[0] not in {*known, *_ALIASES}:
            raise click.UsageError(f"no command '{args[0]}'; {did_you_mean(args[0], known)}", ctx)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; click itself would end a closed pipe with status 1."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise ReaderGone from error


def _first_paragraph(name: str) -> str:
    """Return the first paragraph of the docstring of a command's function."""
    source = (Path(__file__).parent / f"{name}.py").read_text(encoding="utf-8")
    functions = (node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef))
    command = next(function for function in functions if function.name == "command")
    return (ast.get_docstring(command) or "").partition("\n\n")[0]


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="papisim")
def papisim() -> None:
    """Simulate LLM decoding on machines of GPUs and processing-in-memory.

    \b
    Example:
      papisim run --hw papi --trace llama7b
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; whatever stops a command ends with one message and its exit status.

    Args:
        arguments: those of the process if None.
    """
    with stopping_on_sigterm():
        prepare_streams()
        status = _run(arguments)
        sys.exit(finish_streams(status))


@contextmanager
def _former_names_as_notes() -> Iterator[None]:
    """Print a note on stderr for each former name in a file; Python alone would not show it."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", FormerName)
        show = warnings.showwarning

        def note(  # noqa: PLR0917 - the signature of warnings.showwarning
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if issubclass(category, FormerName):
                click.echo(f"papisim: note: {message}", err=True)
            else:
                show(message, category, filename, lineno, file, line)

        warnings.showwarning = note
        yield


def _run(arguments: Sequence[str] | None) -> int:
    """Run the command line and return its exit status."""
    try:
        with _former_names_as_notes():
            status = papisim.main(arguments, standalone_mode=False)
    except STOPPING as error:
        return stopped_by(error)
    except Exception as error:
        from papisim.kinds.outside import fault_in  # noqa: PLC0415 - start-up time

        fault = fault_in(error)
        if fault is None:
            raise
        return stopped_by(fault)
    return status if isinstance(status, int) else 0
