"""An explained run on the console, and as plain values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from papisim import units
from papisim.explain.changes import Yield
from papisim.explain.explanation import Explanation
from papisim.explain.sensitivity import WIDE, Elasticity
from papisim.report.console.console import console

EXPLANATION_SCHEMA = "papisim/explanation/1"


def as_json(explanation: Explanation) -> dict[str, Any]:
    """Return everything that is known, units in the names."""
    run, (critical, busy_ratio) = explanation.run, explanation.critical
    return {
        "schema": EXPLANATION_SCHEMA,
        "system": run.experiment.system.name,
        "trace": run.experiment.trace.name,
        "workload": run.experiment.workload_name,
        "of": explanation.scope.value,
        "throughput_tokens_per_s": explanation.throughput_tokens_per_s,
        "time_s": explanation.time_s,
        "critical_resource": critical,
        "critical_busy_ratio": busy_ratio,
        "spent": [row._asdict() | {"time_ratio": row.time_s / explanation.machine_s} for row in explanation.rows],
        "other_s": explanation.other_s,
        "elasticity_method": explanation.method,
        "elasticities": [_elasticity(each) for each in explanation.elasticities],
        "step_ratio": explanation.step_ratio,
        "changes": [_yield(each) for each in explanation.best],
        "changes_of_no_use": [
            _yield(each)
            for each in (*explanation.numbers, *explanation.choices)
            if (each.speed_up_ratio or 0.0) <= 1.0
        ],
        "overrides": list(run.experiment.overrides),
    }


def _elasticity(each: Elasticity) -> dict[str, Any]:
    parameter = each.parameter
    return {
        "parameter": parameter.path,
        "value": parameter.value,
        "software": parameter.software,
        "elasticity": each.elasticity,
        "step_ratio": each.step_ratio,
        "smooth": each.smooth,
        "lower": each.lower,
        "throughput_if_lower_ratio": 1 + each.lowered_ratio,
        "higher": each.higher,
        "throughput_if_higher_ratio": 1 + each.raised_ratio,
    }


def _yield(each: Yield) -> dict[str, Any]:
    change = each.change
    return {
        "kind": change.kind,
        "set": list(change.overrides),
        "placement": change.placement,
        "was": change.was,
        "throughput_tokens_per_s": each.throughput_tokens_per_s,
        "speed_up_ratio": each.speed_up_ratio,
        "refused": each.refused,
    }


def print_explanation(explanation: Explanation, top: int) -> None:
    """Print an explained run on stdout, so many rows of each table."""
    page, run = console(), explanation.run
    critical, busy_ratio = explanation.critical
    page.print(
        f"{run.experiment.system.name} · {run.experiment.trace.name} · {explanation.throughput_tokens_per_s:,.1f} tokens/s "
        f"in {units.format(explanation.time_s, 's', 3)} of {explanation.scope}; critical resource: {critical}, busy {busy_ratio:.0%}",
        soft_wrap=True,
    )
    page.print("\nWhere the time goes", style="bold")
    page.print(_times(explanation, top))
    page.print("\nWhat throughput hangs on", style="bold")
    page.print(_slopes(explanation.elasticities[:top]))
    page.print(_how(explanation), style="dim", soft_wrap=True)
    page.print(
        f"\nWhat would help most (numbers made better by {explanation.step_ratio:.0%}, whole ones by one at least)",
        style="bold",
    )
    page.print(_changes(explanation.best))


def _times(explanation: Explanation, top: int) -> Table:
    table = Table("device or link", "work", "step", "bound by", "time", "share", box=None)
    for column in table.columns[4:]:
        column.justify = "right"
    end_s, shown = explanation.machine_s, explanation.rows[:top]
    for row in shown:
        table.add_row(row.resource, row.work, row.step, row.bound.replace("_", " "), *_share(row.time_s, end_s))
    rest_s = sum(row.time_s for row in explanation.rows[top:])
    if rest_s:
        table.add_row(f"{len(explanation.rows) - top} others", "", "", "", *_share(rest_s, end_s))
    if explanation.other_s > 0:
        table.add_row("nothing", "waiting", "", "arrivals", *_share(explanation.other_s, end_s))
    return table


def _share(time_s: float, end_s: float) -> tuple[str, str]:
    return units.format(time_s, "s", 3), f"{100 * time_s / end_s:.1f} %"


def _slopes(found: Sequence[Elasticity]) -> Table:
    table = Table("number", "value", "% per %", "raised", "lowered", "", box=None)
    for column in table.columns[1:5]:
        column.justify = "right"
    for each in found:
        notes = ["software"] * each.parameter.software + ["in steps"] * (not each.smooth)
        table.add_row(
            each.parameter.path,
            each.parameter.shown(each.parameter.value),
            f"{each.elasticity:+.3f}",
            _side(each.higher / each.parameter.value, each.raised_ratio),
            _side(each.lower / each.parameter.value, each.lowered_ratio),
            ", ".join(notes),
        )
    return table


def _side(of_value: float, gain_ratio: float) -> str:
    """Write what a value that is so many times the number's yields: ``+10 %: +2.3 %``."""
    return f"{100 * (of_value - 1):+.0f} %: {100 * gain_ratio:+.1f} %"


def _how(explanation: Explanation) -> str:
    how = {
        "repricing": "by pricing the run's work again, where it ran",
        "simulation": "by repeating the run, since its steps depend on time",
    }[explanation.method]
    return (
        f"% of throughput per % of the number, {how}; raised and lowered by {WIDE:.0%} or, whole numbers, by one at least. "
        "In steps: cycles, waves, columns or stacks are rounded, or the bound changes there."
    )


def _changes(found: Sequence[Yield]) -> Table:
    table = Table("tokens/s", "speed-up", "with", "was", box=None)
    table.columns[2].overflow = "fold"
    table.columns[0].justify = table.columns[1].justify = "right"
    for each in found:
        change = each.change
        flags = [f"--set {text}" for text in change.overrides]
        flags += [f"--placement {change.placement}"] if change.placement else []
        table.add_row(
            f"{each.throughput_tokens_per_s:,.1f}", f"{each.speed_up_ratio:.3f}×", " ".join(flags), change.was
        )
    return table
