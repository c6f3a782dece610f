"""``papisim fit``: turn logs into parameters."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import click
from rich.table import Table

from papisim.acceptance.fitting.estimate import Fit, fit
from papisim.acceptance.fitting.holdout import Check, Split, check
from papisim.acceptance.fitting.statistics import Statistics
from papisim.acceptance.fitting.steps import kept
from papisim.acceptance.fitting.write import as_yaml, parameters
from papisim.acceptance.log import Turn, read_log
from papisim.cli._command import Commands
from papisim.cli._numbers import Number
from papisim.cli._options import PositiveInt, format_option, print_json, quiet_option, seed_option
from papisim.config.acceptance import load_signals
from papisim.errors import InputError, did_you_mean
from papisim.report.console.console import console
from papisim.results.store import write_file

_MIN_TURNS = 4
_LONGEST_NAME = 100  # characters
_MIN_STEPS = 4000


@dataclass(frozen=True)
class _Group:
    """Turns that one process is fitted to."""

    name: str
    turns: list[Turn]
    max_steps: int | None

    @property
    def steps(self) -> int:
        return sum(kept(turn, self.max_steps) for turn in self.turns)


@click.group(name="fit", cls=Commands)
def command() -> None:
    """Fit a process to a log."""


@command.command(name="acceptance")
@click.argument("log", type=click.Path(path_type=Path), metavar="LOG")
@click.option("--source", "wanted", multiple=True, metavar="NAME", help="Only this source; may be repeated.")
@click.option(
    "--by", type=click.Choice(["source", "task"]), default="source", show_default=True, help="A process each."
)
@click.option(
    "--max-steps",
    multiple=True,
    metavar="[SOURCE=]N",
    help="Use the first N steps of a turn, where answers run on past their end; may be repeated.",
)
@click.option(
    "--min-steps",
    type=PositiveInt(),
    default=_MIN_STEPS,
    show_default=True,
    help="Leave out what has fewer steps: too little to fit.",
)
@click.option(
    "--holdout",
    type=Number(0, 1, min_open=True, max_open=True),
    metavar="SHARE",
    help="Hold this share of the turns out and compare with them, instead of fitting to all.",
)
@click.option(
    "--split",
    type=click.Choice(get_args(Split)),
    default="balanced",
    show_default=True,
    help="Hold out turns that are alike to the others in sum, or any turns.",
)
@click.option("--signals", metavar="NAME|FILE", help="Signals that the written files name.")
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="FILE|DIR", help="Write a file, or one each into a folder."
)
@click.option("--force", is_flag=True, help="Overwrite files.")
@quiet_option
@seed_option
@format_option("table", "json")
def acceptance(
    *,
    log: Path,
    wanted: tuple[str, ...],
    by: str,
    max_steps: tuple[str, ...],
    min_steps: int,
    holdout: float | None,
    split: Split,
    signals: str | None,
    out: Path | None,
    force: bool,
    quiet: bool,
    seed: int,
    output: str,
) -> None:
    """Fit an acceptance process to logged speculation steps.

    LOG has a request turn a line, plain or gzipped: {"source": "…", "task": "…", "new_tokens": 120, "draft_len": 5 (or a list,
    one a step, or null), "accepted": [2, 0, 5, …]}. One process is fitted per source, to be used with `--acceptance FILE`.

    With --holdout the process is fitted to some turns and compared with the others; standard errors tell what the log's own
    turns are worth.

    \b
    Example:
      papisim fit acceptance steps.jsonl.gz --holdout 0.5 --format json
    """
    groups = _groups(read_log(log), wanted, by, _limits(max_steps), min_steps, quiet=quiet)
    if signals is not None:
        load_signals(signals)
    if holdout is not None:
        if out is not None:
            raise InputError("--out writes a process fitted to all turns; leave out --holdout")
        checks = {group.name: check(group.turns, holdout, seed, split, group.max_steps) for group in groups}
        _show_checks(checks, output, {"log": log.name, "holdout": holdout, "split": split, "seed": seed})
        return
    paths = _targets(out, groups, force=force) if out is not None else {}
    fits = {group.name: fit(group.turns, seed, group.max_steps) for group in groups}
    for group in groups if paths else ():
        text = as_yaml(group.name, fits[group.name], log.name, signals, group.max_steps)
        write_file(paths[group.name], text, force=force)
    _show_fits(fits, output, {"log": log.name, "seed": seed})


def _limits(options: tuple[str, ...]) -> dict[str | None, int]:
    limits: dict[str | None, int] = {}
    for option in options:
        source, _, number = option.rpartition("=")
        if not number.isascii() or not number.isdigit() or int(number) == 0:
            raise InputError(f"found '{option}', expected a number of steps, or SOURCE=N", file="--max-steps")
        limits[source or None] = int(number)
    return limits


def _groups(
    turns: list[Turn],
    wanted: tuple[str, ...],
    by: str,
    limits: dict[str | None, int],
    min_steps: int,
    *,
    quiet: bool,
) -> list[_Group]:
    sources = {turn.source for turn in turns}
    for name in [*wanted, *(source for source in limits if source is not None)]:
        if name not in sources:
            raise InputError(f"no source '{name}' in the log; {did_you_mean(name, sources)}")
    gathered: dict[tuple[str, str], list[Turn]] = defaultdict(list)
    for turn in turns:
        if not wanted or turn.source in wanted:
            gathered[turn.source, turn.task if by == "task" else ""].append(turn)
    groups = [
        _Group(f"{source}.{task}" if task else source, members, limits.get(source, limits.get(None)))
        for (source, task), members in gathered.items()
    ]
    enough = [group for group in groups if group.steps >= min_steps and len(group.turns) >= _MIN_TURNS]
    for group in groups:
        if group not in enough and not quiet:
            click.echo(
                f"papisim: note: {group.name} left out: {len(group.turns)} turns, {group.steps} steps", err=True
            )
    if not enough:
        raise InputError(f"nothing has {_MIN_TURNS} turns and {min_steps} steps; lower --min-steps")
    return enough


def _targets(out: Path, groups: list[_Group], *, force: bool) -> dict[str, Path]:
    """Return the file of each group; none may exist yet."""
    if out.suffix in (".yaml", ".yml"):
        if len(groups) > 1:
            names = ", ".join(group.name for group in groups)
            raise InputError(
                f"is one file for {len(groups)} processes ({names}); choose a --source or give a folder",
                file=str(out),
            )
        paths = {groups[0].name: out}
    else:
        paths = {group.name: out / f"{_file_name(group.name)}.yaml" for group in groups}
        if len(set(paths.values())) < len(paths):
            raise InputError("several processes would be written into one file; choose a --source", file=str(out))
    for path in paths.values():
        if path.exists() and not force:
            raise InputError("exists; --force overwrites it", file=str(path))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"may not be made ({error.strerror})", file=str(path.parent)) from None
    return paths


def _file_name(source: str) -> str:
    """Return a source's name as that of a file in a folder: letters, digits, dots inside, and dashes for all else."""
    return re.sub(r"[^\w.]+|^\.+", "-", source)[:_LONGEST_NAME].strip("-.") or "process"


def _plain(found: Statistics) -> dict[str, Any]:
    return {
        "turns": found.n_turns,
        "steps": found.n_steps,
        "tokens_per_step": found.tokens_per_step,
        "S_j": list(found.survival),
        "spread": found.spread,
        "lag1_autocorrelation": found.lag1_autocorrelation,
    }


def _difference(measured: Statistics, simulated: Statistics) -> dict[str, float]:
    """Return the errors: ratios less 1 for means, plain differences for shares and correlations."""
    apart = [one - other for one, other in zip(simulated.survival, measured.survival, strict=True)]
    return {
        "tokens_per_step_ratio": simulated.tokens_per_step / measured.tokens_per_step - 1,
        "S_j_largest": max(apart, key=abs),
        "spread_ratio": simulated.spread / measured.spread - 1 if measured.spread > 0 else 0.0,
        "lag1_autocorrelation": simulated.lag1_autocorrelation - measured.lag1_autocorrelation,
    }


def _show_checks(checks: dict[str, Check], output: str, head: dict[str, Any]) -> None:
    if output == "json":
        sources = {
            name: {
                "measured": _plain(found.measured),
                "simulated": _plain(found.simulated),
                "standard_error": _plain(found.measured_error),
                "fitted_to": _plain(found.fitted_to),
                "difference": _difference(found.measured, found.simulated),
            }
            for name, found in checks.items()
        }
        print_json({"schema": "papisim/acceptance_holdout/1", **head, "sources": sources})
        return
    rows: dict[str, list[tuple[str, Statistics]]] = {
        name: [("held out", found.measured), ("± 1 s.e.", found.measured_error), ("simulated", found.simulated)]
        for name, found in checks.items()
    }
    _show(rows)


def _show_fits(fits: dict[str, Fit], output: str, head: dict[str, Any]) -> None:
    if output == "json":
        sources = {
            name: {
                "measured": _plain(found.measured),
                "simulated": _plain(found.simulated),
                "difference": _difference(found.measured, found.simulated),
                "parameters": parameters(found),
            }
            for name, found in fits.items()
        }
        print_json({"schema": "papisim/acceptance_fit/1", **head, "sources": sources})
        return
    _show({name: [("log", found.measured), ("simulated", found.simulated)] for name, found in fits.items()})


def _show(rows: dict[str, list[tuple[str, Statistics]]]) -> None:
    table = Table("source", "", "turns", "steps", "tokens/step", "spread", "lag-1", "S₁ S₂ …", box=None)
    for column in table.columns[2:7]:
        column.justify = "right"
    number: Callable[[float], str] = "{:.3f}".format
    for name, lines in rows.items():
        for label, found in lines:
            table.add_row(
                name if label == lines[0][0] else "",
                label,
                str(found.n_turns),
                str(found.n_steps),
                number(found.tokens_per_step),
                number(found.spread),
                number(found.lag1_autocorrelation),
                " ".join(number(share)[1:] if share < 1 else number(share) for share in found.survival),
            )
    console().print(table)
