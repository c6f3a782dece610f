"""Headlines of publications as ratios of two runs: throughput, or tokens per joule, of one machine over another's."""

from __future__ import annotations

from typing import NamedTuple

from papisim.config.experiment import load_experiment
from papisim.engine.run import simulate
from papisim.errors import DoesNotFit
from papisim.paper.claims import Study
from papisim.paper.figure import Explained, Figure, Table, View
from papisim.report.print.chart import Chart
from papisim.results.metrics import summarise

CHART = Chart(
    kind="bars", x=("setup",), y="tokens_per_s", series="machine", x_label="set-up", y_label="tokens per second"
)  # fmt: skip


class Outcome(NamedTuple):
    """Figures of one set-up: tokens per second and joules per token while decoding and computing prompts."""

    tokens_per_s: float
    token_j: float


def outcomes(study: Study) -> dict[str, Outcome | str]:
    """Return the outcome of each set-up, or why it has none."""
    return {name: _outcome(study, name) for name in study.published.setups}


def _outcome(study: Study, name: str) -> Outcome | str:
    setup = study.setup(name)
    try:
        summary = summarise(simulate(load_experiment(setup.options(study.setting("batch")))))
    except DoesNotFit as error:
        return str(error)
    rate, token_j = summary["throughput_tokens_per_s"], summary["energy_per_token_j"]
    return "no request was served" if rate is None or token_j is None else Outcome(rate, token_j)


def values(view: View) -> dict[str, Explained]:
    """Return each claimed ratio; of claims that are not tested, the reason."""
    found = view.once(outcomes)
    tested = {
        claim: _ratio(found[ratio["of"]], found[ratio["over"]], ratio["figure"], ratio["reason"])
        for claim, ratio in view.setting("ratios").items()
    }
    return tested | {claim: Explained(None, reason) for claim, reason in view.setting("not_tested").items()}


def _ratio(one: Outcome | str, other: Outcome | str, figure: str, reason: str) -> Explained:
    for outcome in (one, other):
        if isinstance(outcome, str):
            return Explained(None, outcome)
    assert isinstance(one, Outcome)
    assert isinstance(other, Outcome)
    if figure == "energy":
        return Explained(other.token_j / one.token_j, reason)
    return Explained(one.tokens_per_s / other.tokens_per_s, reason)


def table(view: View) -> Table:
    """Return throughput and energy of each set-up."""
    return [
        {
            "setup": name,
            "machine": view.study.setup(name).hw,
            "tokens_per_s": each.tokens_per_s,
            "token_j": each.token_j,
        }
        for name, each in view.once(outcomes).items()
        if isinstance(each, Outcome)
    ]


RATIOS = Figure(values=values, table=table, drawing=CHART)
