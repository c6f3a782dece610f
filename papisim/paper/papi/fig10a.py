"""Figure 10 a: the fastest machine at each batch size."""

from __future__ import annotations

from functools import reduce

import numpy as np

from papisim.paper.claims import Study, Value
from papisim.paper.experiment import Case, Cell
from papisim.paper.figure import Figure, Table, View
from papisim.paper.papi.fig8 import BASELINES
from papisim.report.print.chart import Chart

CHART = Chart(
    kind="lines",
    x=("batch",),
    y="over_a100_attacc",
    series="system",
    x_label="batch",
    y_label="speed over A100+AttAcc",
    line=1.0,
    log=True,
)
SYSTEMS = ("papi", *BASELINES)


def cases(study: Study) -> list[Case]:
    """Return the batches, smallest first."""
    model, category, tlp = study.setting("model"), study.setting("category"), study.setting("tlp")
    return [Case(model, category, batch, tlp) for batch in study.setting("batches")]


def cells(study: Study) -> list[Cell]:
    """Return every batch on every machine."""
    return [Cell(system, case) for system in SYSTEMS for case in cases(study)]


def values(view: View) -> dict[str, Value]:
    """Return PAPI's least advantage, and that of AttAcc-only over A100+AttAcc at both ends.

    Batches whose caches do not fit the memory, as very long ones may not, are left out.
    """
    outcomes, settings = view.outcomes, cases(view.study)
    ratios = [outcomes.speed_up(case, system).value for case in settings for system in BASELINES]
    over = [outcomes.time_s("a100_attacc", case) / outcomes.time_s("attacc_only", case) for case in settings]
    return {"papi_best": reduce(np.fmin, ratios), "pim_wins": over[0], "pim_loses": over[-1]}


def table(view: View) -> Table:
    """Return the time of every machine at every batch."""
    outcomes = view.outcomes
    return [
        {
            **case._asdict(),
            "system": system,
            "time_s": float(outcomes.time_s(system, case)),
            "over_a100_attacc": float(outcomes.time_s("a100_attacc", case) / outcomes.time_s(system, case)),
        }
        for case in cases(view.study)
        for system in SYSTEMS
    ]


FIGURE = Figure(values=values, table=table, drawing=CHART, cells=cells)
