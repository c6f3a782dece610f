"""Figure 11: decoding on PIM alone, hybrid PIM against AttAcc-only."""

from __future__ import annotations

from papisim.paper.claims import Study, Value
from papisim.paper.experiment import Case, Cell
from papisim.paper.figure import Figure, Table, View
from papisim.paper.outcomes import Ratio
from papisim.report.print.chart import Chart

CHART = Chart(
    kind="bars",
    x=("batch", "tlp"),
    y="speed_up",
    series="model",
    x_label="batch, TLP",
    y_label="speed-up of hybrid PIM over AttAcc-only",
    line=1.0,
)
HYBRID, BASELINE = "papi_pim_only", "attacc_only"


def cases(study: Study) -> list[Case]:
    """Return the settings, the smallest first and the largest last."""
    model, category = study.setting("model"), study.setting("category")
    return [Case(model, category, batch, tlp) for batch in study.setting("batches") for tlp in study.setting("tlps")]


def cells(study: Study) -> list[Cell]:
    """Return every setting on both."""
    return [Cell(system, case) for system in (HYBRID, BASELINE) for case in cases(study)]


def _speed_up(view: View, case: Case) -> Ratio:
    return Ratio(view.outcomes.decode_s(BASELINE, case), view.outcomes.decode_s(HYBRID, case))


def values(view: View) -> dict[str, Value]:
    """Return the mean speed-up of decoding, and those of the smallest and the largest setting."""
    ratios = [_speed_up(view, case) for case in cases(view.study)]
    return {"mean": view.outcomes.mean(ratios), "small": ratios[0].value, "large": ratios[-1].value}


def table(view: View) -> Table:
    """Return the speed-up of every setting."""
    return [{**case._asdict(), "speed_up": float(_speed_up(view, case).value)} for case in cases(view.study)]


FIGURE = Figure(values=values, table=table, drawing=CHART, cells=cells)
