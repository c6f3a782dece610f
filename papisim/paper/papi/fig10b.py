"""Figure 10 b: the effect of longer speculation on the gain."""

from __future__ import annotations

from papisim.paper.claims import Study, Value
from papisim.paper.experiment import Case, Cell
from papisim.paper.figure import Figure, Table, View
from papisim.report.print.chart import Chart

CHART = Chart(
    kind="bars",
    x=("tlp",),
    y="speed_up",
    series="over",
    x_label="TLP",
    y_label="PAPI's speed-up",
    line=1.0,
)
BASELINES = {"a100_attacc": "attacc", "attacc_only": "pim"}


def cases(study: Study) -> list[Case]:
    """Return the speculation lengths, shortest first."""
    model, category, batch = study.setting("model"), study.setting("category"), study.setting("batch")
    return [Case(model, category, batch, tlp) for tlp in study.setting("tlps")]


def cells(study: Study) -> list[Cell]:
    """Return every length on PAPI and two baselines."""
    return [Cell(system, case) for system in ("papi", *BASELINES) for case in cases(study)]


def values(view: View) -> dict[str, Value]:
    """Return mean speed-ups, and how the one over A100+AttAcc changes from the shortest to the longest."""
    outcomes = view.outcomes
    gains = {s: [outcomes.speed_up(case, s) for case in cases(view.study)] for s in BASELINES}
    means = {f"speed_{name}": outcomes.mean(gains[system]) for system, name in BASELINES.items()}
    return {**means, "gain_falls": gains["a100_attacc"][-1].value / gains["a100_attacc"][0].value}


def table(view: View) -> Table:
    """Return the speed-up at every length."""
    return [
        {**case._asdict(), "over": system, "speed_up": float(view.outcomes.speed_up(case, system).value)}
        for case in cases(view.study)
        for system in BASELINES
    ]


FIGURE = Figure(values=values, table=table, drawing=CHART, cells=cells)
