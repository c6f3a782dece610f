"""``papisim validate --commands``: a command trace beside the simulator that reads it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import click
from rich.table import Table

from papisim.cli._options import print_json, stack
from papisim.config.system import load_part
from papisim.devices.pim import Part, Pool
from papisim.devices.pim.traces import FORMATS
from papisim.errors import CheckFailed, InputError
from papisim.report.console.console import console
from papisim.validation.commands import Replayed, compared, executable, read_log, replay, scheduled
from papisim.validation.pim import POINT_LIMIT
from papisim.validation.schema import CommandValidation

F = TypeVar("F", bound=Callable[..., object])

_OPTIONS = (
    click.option(
        "--commands",
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE",
        help="Compare a command trace with the simulator that reads it instead; price --commands-format writes such traces.",
    ),
    click.option("--part", metavar="NAME|FILE", help="commands: PIM part that the trace is for."),
    click.option(
        "--commands-format", "form", type=click.Choice(tuple(FORMATS)), help="commands: format of the trace.  [default: ramulator]"
    ),
    click.option(
        "--simulator",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="commands: executable of the simulator.  [default: PAPISIM_RAMULATOR or PAPISIM_AIM_SIMULATOR of the environment]",
    ),
    click.option(
        "--log",
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE",
        help="commands: log of a channel that AttAcc's simulator has written, in place of running it.",
    ),
)  # fmt: skip


def command_options(function: F) -> F:
    """Add the options to a command."""
    return stack(*_OPTIONS)(function)


@dataclass(frozen=True)
class CommandTrace:
    """A comparison as the options of ``--commands`` ask for it; see their help."""

    commands: Path
    part: str
    form: str
    simulator: Path | None
    log: Path | None
    overrides: tuple[str, ...]

    def validate(self, output: str) -> None:
        """Compare the trace with the simulator, print the differences, and fail if the ends are apart."""
        device = load_part(self.part, self.overrides)
        if not isinstance(device.part, Part):
            raise InputError(f"is a {device.part.kind}, expected PIM stacks, which have commands", file=self.part)
        found = self._compared(Pool(device.name, device.part, 1))
        if output == "json":
            print_json(found.as_json())
        else:
            _print(found)
        if abs(found.error) > POINT_LIMIT:
            raise CheckFailed(f"the ends of the trace are {found.error:+.1%} apart, more than {POINT_LIMIT:.0%}")

    def _compared(self, pool: Pool) -> CommandValidation:
        if self.log is not None:
            return compared(scheduled(self.commands, self.form, pool), read_log(self.log))
        program = executable(self.form, self.simulator)
        ours = scheduled(self.commands, self.form, pool)
        theirs: Replayed = replay(self.commands, self.form, pool, program)
        return compared(ours, theirs)


def commands_of(options: dict[str, object], others: Mapping[str, object]) -> CommandTrace | None:
    """Take the options of ``--commands`` out of those of a command.

    Args:
        options: options of the command by parameter; those of ``--commands`` are removed, with it also ``--set``.
        others: options that have no meaning with ``--commands``, by flag.

    Returns:
        The comparison that they ask for; None without ``--commands``.

    Raises:
        UsageError: options that have no effect are given, or ``--part`` is missing.
    """
    own = {name: options.pop(name) for name in ("commands", "part", "form", "simulator", "log")}
    if own["commands"] is None:
        given = [name for name, value in own.items() if value is not None]
        if given:
            raise click.UsageError(
                f"--{given[0].replace('form', 'commands-format')} has a meaning with --commands alone"
            )
        return None
    own["overrides"] = options.pop("overrides")
    idle = [
        flag
        for flag, value in ({f"--{name}": value for name, value in options.items()} | dict(others)).items()
        if value
    ]
    if idle:
        raise click.UsageError(f"{idle[0].replace('_', '-')} has no meaning with --commands")
    if own["part"] is None:
        raise click.UsageError("--commands needs --part, the PIM part that the trace is for")
    if own["log"] is not None and (own["form"] == "aim" or own["simulator"] is not None):
        raise click.UsageError(
            "--log is what AttAcc's simulator has written: it goes with neither --simulator nor the format aim"
        )
    return CommandTrace(**{**own, "form": own["form"] or "ramulator"})  # type: ignore[arg-type]


def _print(found: CommandValidation) -> None:
    page = console()
    if found.commands:
        table = Table(
            "command", "here", "simulator", "in the same cycle", "largest difference", box=None, pad_edge=False
        )
        for row in found.commands:
            table.add_row(
                row.command,
                f"{row.n:,}",
                f"{row.n_simulator:,}",
                f"{row.n_equal:,}",
                f"{row.largest_cycles:,} cycles",
            )
        page.print(table)
    page.print(f"end: cycle {found.cycles:,}, simulator {found.simulator_cycles:,} ({found.error:+.2%})")
