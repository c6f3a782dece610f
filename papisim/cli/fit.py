"""``papisim fit``: turn logs into parameters."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import click
from rich.table import Table

from papisim import foreign
from papisim.acceptance.fitting.curves import as_yaml as curve_yaml
from papisim.acceptance.fitting.curves import read_curves
from papisim.acceptance.fitting.estimate import Fit
from papisim.acceptance.fitting.holdout import Split
from papisim.acceptance.fitting.statistics import Statistics
from papisim.acceptance.synthetic import N_ROUNDS, Engine, settings
from papisim.api.logs import (
    MIN_STEPS,
    FittedProcesses,
    Group,
    HeldOut,
    acceptance_yield,
    check_fit,
    fit_groups,
    groups_of,
)
from papisim.cli._command import Commands
from papisim.cli._numbers import Number
from papisim.cli._options import PositiveInt, format_option, print_json, quiet_option, seed_option
from papisim.config.acceptance import load_signals
from papisim.errors import InputError, did_you_mean
from papisim.report.console.console import console
from papisim.results.store import write_file

_LONGEST_NAME = 100  # characters


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
    default=MIN_STEPS,
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

    LOG has one request turn per line, plain or gzipped: {"source": "…", "task": "…", "new_tokens": 120, "draft_len": 5 (or a list,
    one per step, or null), "accepted": [2, 0, 5, …]}. It may also hold responses of vLLM (--per-request-spec-decode-metrics
    detailed), AIPerf's acceptance records, or an acceptance bank with draft confidence (CSV or JSON lines). Of histograms
    (SGLang, TensorRT-LLM, vLLM's level summary) all but the correlation of rounds is fitted. One process is fitted per source, to
    be used with `--acceptance FILE`.

    With --holdout the process is fitted to some turns and compared with the others; standard errors tell what the log's own
    turns are worth.

    \b
    Example:
      papisim fit acceptance steps.jsonl.gz --holdout 0.5 --format json
    """

    def left_out(group: Group) -> None:
        if not quiet:
            note = f"papisim: note: {group.name} left out: {len(group.turns)} turns, {group.steps} steps"
            click.echo(note, err=True)

    groups = groups_of(log, wanted, by=by, max_steps=_limits(max_steps), min_steps=min_steps, left_out=left_out)
    if signals is not None:
        load_signals(signals)
    if holdout is not None:
        if out is not None:
            raise InputError("--out writes a process fitted to all turns; leave out --holdout")
        _show_checks(check_fit(log, groups, holdout, split, seed), output)
        return
    paths = _targets(out, list(groups), force=force) if out is not None else {}
    found = fit_groups(log, groups, seed)
    for name, path in paths.items():
        found.write(path, name, signals=signals, force=force)
    _show_fits(found, output)


@command.command(name="curve")
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE")
@click.option("--curve", "wanted", multiple=True, metavar="NAME", help="Only this curve; may be repeated.")
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="FILE|DIR", help="Write a file, or one each into a folder."
)
@click.option("--force", is_flag=True, help="Overwrite files.")
@format_option("table", "json")
def curve(*, file: Path, wanted: tuple[str, ...], out: Path | None, force: bool, output: str) -> None:
    """Make acceptance processes of published curves of tokens per step by draft length.

    FILE is one of InferenceX's golden curves (YAML), or a CSV file with the columns draft_tokens and tokens_per_step, whose other
    columns name the curve. The process has the measured mean at every measured length, also where the curve falls.

    \b
    Example:
      papisim fit curve golden_curves.csv --curve kimi-k3.dspark.thinking_on.default --out kimi.yaml
    """
    curves = read_curves(file)
    for name in wanted:
        if name not in curves:
            raise InputError(f"no curve '{name}'; {did_you_mean(name, curves)}", file=str(file))
    chosen = {name: means for name, means in curves.items() if not wanted or name in wanted}
    for name, path in (_targets(out, list(chosen), force=force) if out is not None else {}).items():
        write_file(path, curve_yaml(name, chosen[name], file.name), force=force)
    if output == "json":
        print_json({"schema": "papisim/acceptance_curves/1", "file": file.name, "curves": chosen})
        return
    for name, means in chosen.items():
        console().print(f"{name}: {' '.join(f'{mean:g}' for mean in means)} (drafts of 1 to {len(means)} measured)")


@command.command(name="synthetic")
@click.argument("process", metavar="NAME|FILE")
@click.option("--draft-len", type=PositiveInt(), required=True, metavar="N", help="Draft length of the benchmark.")
@click.option("--engine", type=click.Choice(get_args(Engine)), required=True, help="Engine that is benchmarked.")
@click.option("--quiet", is_flag=True, help="Print the setting alone.")
@seed_option
def synthetic(*, process: str, draft_len: int, engine: Engine, quiet: bool, seed: int) -> None:
    """Print an acceptance process as the synthetic acceptance that an engine's benchmark takes.

    vLLM and llama.cpp take shares by position, SGLang and TensorRT-LLM a mean. Engines draw every round by itself, so what
    correlates rounds of a request is lost.

    \b
    Example:
      papisim fit synthetic eagle2_chain6_llama3_8b --draft-len 4 --engine vllm
    """
    found = acceptance_yield(process, draft_len, seed)
    if not quiet:
        mean = f"{found.tokens_per_step:.3f} ± {found.tokens_per_step_error:.3f} tokens per step"
        click.echo(f"papisim: note: {mean} over {N_ROUNDS:,} simulated rounds", err=True)
    click.echo(settings(found, engine))


def _limits(options: tuple[str, ...]) -> dict[str, int]:
    """Return the limits by source; that of all sources is under the empty name."""
    limits: dict[str, int] = {}
    for option in options:
        source, _, number = option.rpartition("=")
        try:
            limits[source] = foreign.whole(number, 1)
        except ValueError:
            message = f"found '{option}', expected a number of steps, or SOURCE=N"
            raise InputError(message, file="--max-steps") from None
    return limits


def _targets(out: Path, names: Sequence[str], *, force: bool) -> dict[str, Path]:
    """Return the file of each group; none may exist yet."""
    if out.suffix in (".yaml", ".yml"):
        if len(names) > 1:
            raise InputError(
                f"is one file for {len(names)} processes ({', '.join(names)}); choose a --source or give a folder",
                file=str(out),
            )
        paths = {names[0]: out}
    else:
        paths = {name: out / f"{_file_name(name)}.yaml" for name in names}
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


def _show_checks(found: HeldOut, output: str) -> None:
    if output == "json":
        print_json(found.summary)
        return
    rows: dict[str, list[tuple[str, Statistics]]] = {
        name: [("held out", check.measured), ("± 1 s.e.", check.measured_error), ("simulated", check.simulated)]
        for name, check in found.checks.items()
    }
    _show(rows)


def _show_fits(found: FittedProcesses, output: str) -> None:
    if output == "json":
        print_json(found.summary)
        return
    _show({name: [("log", each.measured), ("simulated", each.simulated)] for name, each in found.fits.items()})
    for name, each in found.fits.items():
        console().print(_measured(name, each), highlight=False)


def _measured(name: str, found: Fit) -> str:
    """Return the sentence that says what of a process the log measures."""
    positions, logged = found.measured_positions, len(found.tries)
    rare = f" ({positions} to {logged} share one, tried too seldom)" if positions < logged else ""
    order = (
        ""
        if found.ordered
        else "; a log of histograms does not tell the correlation of rounds, which is taken as none"
    )
    return f"{name}: positions 1 to {positions} of the draft are measured{rare}, longer drafts extrapolated{order}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _show(rows: dict[str, list[tuple[str, Statistics]]]) -> None:
    table = Table("source", "", "turns", "steps", "tokens/step", "spread", "lag-1", "S₁ S₂ …", box=None)
    for column in table.columns[2:7]:
        column.justify = "right"
    for name, lines in rows.items():
        for label, found in lines:
            table.add_row(
                name if label == lines[0][0] else "",
                label,
                str(found.n_turns),
                str(found.n_steps),
                _number(found.tokens_per_step),
                _number(found.spread),
                _number(found.lag1_autocorrelation),
                " ".join(_number(share)[1:] if share < 1 else _number(share) for share in found.survival),
            )
    console().print(table)
