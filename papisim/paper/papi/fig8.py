"""Figure 8: end-to-end speed-up and energy efficiency over three models and nine settings."""

from __future__ import annotations

from papisim.paper.claims import Study, Value
from papisim.paper.experiment import Case, Cell
from papisim.paper.figure import Figure, Table, View
from papisim.paper.outcomes import largest
from papisim.report.print.chart import Chart

CHART = Chart(
    kind="bars",
    x=("batch", "tlp"),
    y="speed_up",
    series="over",
    panel="model",
    x_label="batch, TLP",
    y_label="PAPI's speed-up",
    line=1.0,
)

#: what PAPI is compared with, and the end of the claims' names
BASELINES = {"a100_attacc": "attacc", "a100_hbmpim": "hbmpim", "attacc_only": "pim"}


def cases(study: Study) -> list[Case]:
    """Return the settings of a figure of this kind."""
    models, category = study.setting("models"), study.setting("category")
    batches, tlps = study.setting("batches"), study.setting("tlps")
    return [Case(model, category, batch, tlp) for model in models for batch in batches for tlp in tlps]


def cells(study: Study) -> list[Cell]:
    """Return every setting on PAPI and the three baselines."""
    return [Cell(system, case) for system in ("papi", *BASELINES) for case in cases(study)]


def values(view: View) -> dict[str, Value]:
    """Return mean and largest speed-ups, and mean energy efficiencies, of those that are claimed."""
    outcomes, settings = view.outcomes, cases(view.study)
    found = {}
    for system, name in BASELINES.items():
        ratios = [outcomes.speed_up(case, system) for case in settings]
        found[f"speed_{name}"] = outcomes.mean(ratios)
        found[f"peak_{name}"] = largest(ratios)
        found[f"energy_{name}"] = outcomes.mean([outcomes.energy_gain(case, system) for case in settings])
    return {name: value for name, value in found.items() if name in view.study.published.claims}


def table(view: View) -> Table:
    """Return speed-up and energy efficiency of every setting, and where PAPI ran FC."""
    outcomes = view.outcomes
    return [
        {
            **case._asdict(),
            "over": system,
            "speed_up": float(outcomes.speed_up(case, system).value),
            "energy_gain": float(outcomes.energy_gain(case, system).value),
            "papi_s": float(outcomes.time_s("papi", case)),
            "papi_fc_pim_ratio": float(outcomes.runs[Cell("papi", case)].fc_pim_ratio),
        }
        for case in cases(view.study)
        for system in BASELINES
    ]


FIGURE = Figure(values=values, table=table, drawing=CHART, cells=cells)
