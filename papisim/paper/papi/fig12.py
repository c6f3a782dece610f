"""Figure 12: an iteration's time by part on PIM alone, with a full batch."""

from __future__ import annotations

from papisim.paper.choices import Part
from papisim.paper.claims import Study, Value
from papisim.paper.experiment import Case, Cell
from papisim.paper.figure import Figure, Table, View
from papisim.paper.papi.fig11 import BASELINE, HYBRID
from papisim.report.print.chart import Chart

CHART = Chart(
    kind="stacked",
    x=("system",),
    y="time_ms",
    series="part",
    x_label="",
    y_label="ms per iteration",
)
PARTS: dict[str, tuple[Part, ...]] = {
    "fc": ("fc",),
    "attention": ("attention",),
    "communication": ("all_reduce", "messages"),
    "other": ("other",),
}


def case(study: Study) -> Case:
    """Return the one setting."""
    model, category = study.setting("model"), study.setting("category")
    return Case(model, category, study.setting("batch"), study.setting("tlp"), equal=True)


def cells(study: Study) -> list[Cell]:
    """Return the setting on both."""
    return [Cell(system, case(study)) for system in (HYBRID, BASELINE)]


def _milliseconds(view: View, system: str) -> dict[str, Value]:
    """Return an average iteration's time by part."""
    setting = case(view.study)
    iterations = view.outcomes.runs[Cell(system, setting)].iterations
    return {part: 1e3 * view.outcomes.decode_s(system, setting, *names) / iterations for part, names in PARTS.items()}


def values(view: View) -> dict[str, Value]:
    """Return the ratios of parts, communication's share, and the bars."""
    hybrid, baseline = _milliseconds(view, HYBRID), _milliseconds(view, BASELINE)
    bars = {
        f"{name}_{part}_ms": bar[part]
        for name, bar in (("attacc", baseline), ("papi", hybrid))
        for part in ("fc", "attention", "communication")
    }
    return {
        "fc_faster": baseline["fc"] / hybrid["fc"],
        "attention_slower": hybrid["attention"] / baseline["attention"],
        "communication": hybrid["communication"] / sum(hybrid.values()),
        **bars,
    }


def table(view: View) -> Table:
    """Return the parts of both."""
    return [
        {"system": system, "part": part, "time_ms": float(time_ms)}
        for system in (BASELINE, HYBRID)
        for part, time_ms in _milliseconds(view, system).items()
    ]


FIGURE = Figure(values=values, table=table, drawing=CHART, cells=cells)
