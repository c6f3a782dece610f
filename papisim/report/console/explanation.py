"""An explained run on the console."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from papisim import units
from papisim.diagnosis.changes import Yield
from papisim.diagnosis.explanation import Explanation
from papisim.diagnosis.operators import Alternative, OperatorGain
from papisim.diagnosis.scope import Scope
from papisim.diagnosis.sensitivity import WIDE, Elasticity
from papisim.report.console.console import console


def print_explanation(explanation: Explanation, top: int) -> None:
    """Print an explained run on stdout, at most ``top`` rows of each table."""
    page, run = console(), explanation.run
    critical, busy_ratio = explanation.critical
    page.print(
        f"{run.experiment.system.name} · {run.experiment.trace.name} · engine {run.experiment.engine.name} · {explanation.throughput_tokens_per_s:,.1f} tokens/s "
        f"in {units.format(explanation.time_s, 's', 3)} of {explanation.scope}; critical resource: {critical}, busy {busy_ratio:.0%}",
        soft_wrap=True,
    )
    page.print("\nWhere the time goes", style="bold")
    page.print(_times(explanation, top))
    page.print("\nSensitivity of throughput", style="bold")
    page.print(_slopes(explanation.elasticities[:top]))
    page.print(_how(explanation), style="dim", soft_wrap=True)
    page.print(
        f"\nBest changes (numbers improved by {explanation.step_ratio:.0%}, whole numbers by at least one)",
        style="bold",
    )
    page.print(_changes(explanation.best))
    if explanation.operators:
        page.print("\nOperators elsewhere, each moved alone", style="bold")
        page.print(_operators(explanation.operators))
        page.print(most_from_moving(explanation), soft_wrap=True)


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
    """Write the gain from a value, given as a multiple of the number: ``+10 %: +2.3 %``."""
    return f"{100 * (of_value - 1):+.0f} %: {100 * gain_ratio:+.1f} %"


def _how(explanation: Explanation) -> str:
    how = {
        "repricing": "by pricing the run's work again, where it ran",
        "simulation": "by repeating the run, whose steps depend on time",
    }[explanation.method]
    return (
        f"% of throughput per % of the number, {how}; raised and lowered by {WIDE:.0%}, whole numbers by at least one. "
        "In steps: the model rounds cycles, waves, columns or stacks there, or another bound takes over."
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


def _operators(found: Sequence[OperatorGain]) -> Table:
    table = Table(
        "operator", "may run on", "kernels", "best other device", "fastest of each iteration", "set", box=None
    )
    table.columns[2].justify = "right"
    table.columns[5].overflow = "fold"
    for each in found:
        table.add_row(
            each.operator.value,
            ", ".join(each.devices),
            units.format(each.kernel_s, "s", 3),
            _elsewhere(each.whole),
            _elsewhere(each.each),
            " ".join(f"--set {text}" for text in each.overrides),
        )
    return table


def _elsewhere(found: Alternative | None) -> str:
    if found is None:
        return units.NO_VALUE
    device = "" if found.device is None else f"{found.device}: "
    return f"{device}{units.format(found.time_s, 's', 3)}, {found.speed_up_ratio:.3f}×"


def most_from_moving(explanation: Explanation) -> str:
    """Return the operator that would gain most from moving, where to and by how much, as a sentence."""
    most = explanation.operators[0]
    alternatives = [each for each in (most.whole, most.each) if each is not None]
    if not alternatives:
        return "No operator has another device: the machine has none that could run it."
    best = max(alternatives, key=lambda each: each.speed_up_ratio)
    if not most.is_worth_it:
        return f"No operator gains from moving alone; {most.operator.value} would come closest, {best.speed_up_ratio:.3f}×."
    where = (
        "on the fastest device of each iteration" if best.device is None else f"on {best.device} for the whole run"
    )
    needs = "".join(f" --set {text}" for text in most.overrides)
    once = f", once it may run there ({needs.strip()})" if needs else ""
    what = "the run" if explanation.scope is Scope.RUN else "decoding"
    before, after = (units.format(time_s, "s", 3) for time_s in (explanation.time_s, best.time_s))
    return (
        f"{most.operator.value} would gain most from moving: {where} {what} takes {after} in place of {before}, "
        f"{best.speed_up_ratio:.3f}× the throughput{once}."
    )
