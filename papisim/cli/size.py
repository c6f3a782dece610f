"""``papisim size``: how many machines a stream of requests needs for its latency targets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from papisim import units
from papisim.cli._axes import axis_option, axis_options, given
from papisim.cli._command import Command
from papisim.cli._grid import space_of
from papisim.cli._numbers import Number
from papisim.cli._options import PositiveInt, print_json, quiet_option, run_option, table_format_option
from papisim.config.experiment import SloSpec
from papisim.errors import InputError, did_you_mean
from papisim.foreign import number
from papisim.report.console.sizes import print_sizes
from papisim.report.figures import count
from papisim.results.folder import Json
from papisim.results.store import check_free, manifest_head, write_folder

if TYPE_CHECKING:
    from papisim.exploration.file import SweepFile
    from papisim.exploration.sizing import Goal

_TARGETS = ("ttft", "tpot", "e2e")


class Pairs(click.ParamType[dict[str, str]]):
    """``NAME=VALUE``, several separated by commas."""

    name = "pairs"

    def convert(
        self, value: str | dict[str, str], param: click.Parameter | None, ctx: click.Context | None
    ) -> dict[str, str]:
        """Return the values by name."""
        if isinstance(value, dict):
            return value
        pairs = [each.partition("=") for each in value.split(",")]
        for name, equals, text in pairs:
            if not (name.strip() and equals and text.strip()):
                self.fail(f"found '{value}', expected NAME=VALUE, several separated by commas", param, ctx)
        return {name.strip(): text.strip() for name, _, text in pairs}


@click.command(name="size", cls=Command)
@axis_option(
    "hw",
    metavar="NAME|FILE[@PLACEMENT][,…]",
    help="Machines to choose from, each with its placement if not that of its file.",
)
@run_option("trace")
@run_option("workload", default=None, required=True, show_default=False)
@click.option(
    "--slo",
    type=Pairs(),
    required=True,
    metavar="ttft=TIME,tpot=TIME",
    help="Latency targets of a request: ttft, tpot, e2e.",
)
@click.option(
    "--attain",
    type=Number(0, 1, min_open=True),
    default=0.99,
    show_default=True,
    help="Share of the requests that must meet all targets.",
)
@click.option("--rate", type=Number(0, min_open=True), help="Requests per second.  [default: the workload's]")
@click.option("--most", type=PositiveInt(), default=256, show_default=True, help="Most machines to try.")
@click.option("--price", type=Pairs(), metavar="HW=PRICE", help="Price per hour of each machine, in any currency.")
@axis_options("hw", "trace", "workload", "replicas", "metrics")
@run_option("set")
@table_format_option("table", "json")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for frames and manifest.")
@click.option("--force", is_flag=True, help="Replace the results in --out.")
@quiet_option
def command(*, output: str, out: Path | None, force: bool, quiet: bool, **asked: Any) -> None:
    """Find the least number of equal machines that serves a stream of requests within its latency targets.

    Every machine with every policy is sized by bisection on the same requests. The knee is the largest rate of arrivals that so
    many machines sustain; the target that fails first is the one most missed with one machine fewer, or beyond the knee.

    \b
    Example:
      papisim size --hw papi,gpu_only --trace llama3-8b --workload azure_conversation --rate 40 --slo ttft=500ms,tpot=30ms
    """
    from papisim.exploration.resolve import Resolver  # noqa: PLC0415 - help should not wait for the engine
    from papisim.exploration.run import points  # noqa: PLC0415
    from papisim.exploration.sizing import Goal, Sizing, row_of, trial_rows  # noqa: PLC0415
    from papisim.report.facets import line_label  # noqa: PLC0415

    if out is not None:
        check_free(out, force=force)
    goal = Goal(_targets(asked.pop("slo")), asked.pop("attain"), asked.pop("most"))
    prices = _prices(asked.pop("price"), machines=[name for names in asked["hw"] for name in names])
    space = _space(asked)
    resolver, varying = Resolver(space), [name for axis in space.axes for name in axis.names]
    rows, trials = [], []
    for values in points(space):
        label = line_label(values, ["hw", *varying]) if varying else str(space.base.hw)
        hw = str(values.get("hw", space.base.hw))
        sizing = Sizing(resolver.point(values).options, goal, _watch(label, quiet=quiet))
        rows.append(row_of(label, sizing, prices.get(hw)))
        trials += trial_rows(label, sizing)
    if out is not None:
        _write(rows, trials, goal, out, force=force)
    if output == "json":
        print_json({"schema": "papisim/size/1", **_goal(goal), "sizes": rows, "trials": trials})
    else:
        print_sizes(rows, goal.attained_ratio)


def _space(asked: Json) -> SweepFile:
    """Return the machines and policies to choose from, as a space."""
    assignments, rate = list(asked.pop("set")), asked.pop("rate")
    shared = {name: [asked.pop(name)] for name in ("trace", "workload")}
    rated = [f"workload.rate_per_s={rate!r}"] if rate is not None else []
    return space_of({**given(asked), **shared}, [*assignments, *rated])


def _targets(texts: dict[str, str]) -> SloSpec:
    for name in texts:
        if name not in _TARGETS:
            raise InputError(f"--slo: no target '{name}'; {did_you_mean(name, _TARGETS)}")
    return SloSpec(**{f"{name}_s": units.parse(text, "s") for name, text in texts.items()})


def _prices(texts: dict[str, str] | None, machines: list[str]) -> dict[str, float]:
    for name in texts or {}:
        if name not in machines:
            raise InputError(f"--price: '{name}' is no machine of --hw; {did_you_mean(name, machines)}")
    return {name: number(text, 0) for name, text in (texts or {}).items()}


def _watch(label: str, *, quiet: bool) -> Callable[[int, float], None]:
    def note(machines: int, rate_per_s: float) -> None:
        if not quiet:
            click.echo(f"papisim: {label}: {count(machines, 'machine')} at {rate_per_s:.4g} requests/s", err=True)

    return note


def _goal(goal: Goal) -> dict[str, object]:
    return {"slo": goal.slo.model_dump(), "attain_ratio": goal.attained_ratio}


def _write(rows: list[Json], trials: list[Json], goal: Goal, out: Path, *, force: bool) -> None:
    import pandas as pd  # noqa: PLC0415 - start-up time

    tables = {"sizes": pd.DataFrame(rows), "trials": pd.DataFrame(trials)}
    write_folder(out, {**manifest_head("size"), **_goal(goal)}, tables, force=force)
