"""DEL (arXiv:2504.05598): self-speculation by early exit, as tokens per loaded layer and as speed-up on a machine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import fmean
from typing import NamedTuple

import numpy as np

from papisim.calibration.speculation import speculator_of
from papisim.config.experiment import load_experiment
from papisim.engine.speculation import Speculator
from papisim.paper.claims import Setup, Study
from papisim.paper.figure import Explained, Figure, Table, View
from papisim.paper.speculation.play import mean_drafted, mean_emitted, play
from papisim.policies.speculation.base import NO_DRAFT, Draft, Round
from papisim.report.print.chart import Chart

CHART = Chart(
    kind="bars",
    x=("model",),
    y="speed_up",
    series="method",
    x_label="model",
    y_label="speed-up over no speculation",
    line=1.0,
)
_REQUESTS = 32


class Played(NamedTuple):
    """A method's rounds on a model, and the rate of these on the machine over that without drafts."""

    rounds: Sequence[Round]
    n_layers: int
    speed_up: float

    @property
    def per_layer(self) -> float:
        """Emitted tokens over loaded layers (eTPL)."""
        return tokens_per_layer(self.rounds, self.n_layers)


#: by model and method
Methods = Mapping[tuple[str, str], Played]


def played(study: Study) -> Methods:
    """Play every method on every model, and price its rounds on a machine."""
    found = {}
    for model, facts in study.setting("models").items():
        setup = study.setup(model)
        speculator = _speculator(setup)
        for method, overrides in facts["methods"].items():
            rounds = _play(setup, method, overrides)
            gain = speed_up(speculator, rounds, setup.kv_tokens)
            found[model, method] = Played(rounds, facts["n_layers"], gain)
    return found


def values(view: View) -> dict[str, Explained]:
    """Return tokens per loaded layer and speed-up of every method on every model."""
    steps = {model: _step_costs(view.study, model) for model in view.setting("models")}
    found = {}
    for (model, method), each in view.once(played).items():
        name, allowed = f"{model}_{method}", each.per_layer * each.n_layers
        found[f"{name}_per_layer"] = Explained(
            each.per_layer,
            f"{mean_drafted(each.rounds):.2f} drafted from layer {_exit(each.rounds):.1f} and {mean_emitted(each.rounds):.2f} emitted per "
            f"round of {loaded(each.rounds, each.n_layers):.1f} layers; {_origin(view.study, model, method)}",
            _bound(view.study, model) if method == "del" else "",
        )
        found[f"{name}_speed_up"] = Explained(
            each.speed_up,
            f"the layers loaded allow {allowed:.2f}×, of which {100 * each.speed_up / allowed:.0f} % are left; in the paper "
            f"{100 * _left(view.study, name, each.n_layers):.0f} %. {steps[model]}",
        )
    return found | {f"{model}_order": _order(view, model) for model in view.setting("models")}


def _order(view: View, model: str) -> Explained:
    """Compare each method with the next one of the published order."""
    found, order = view.once(played), view.setting("order")
    values = {method: found[model, method].per_layer for method in order}
    return Explained(
        min(values[first] / values[next_one] for first, next_one in pairwise(order)),
        f"tokens per loaded layer: {', '.join(f'{method} {value:.4f}' for method, value in values.items())}",
    )


def table(view: View) -> Table:
    """Return both values of every method on every model."""
    return [
        {"model": model, "method": method, "tokens_per_layer": each.per_layer, "speed_up": each.speed_up}
        for (model, method), each in view.once(played).items()
    ]


def loaded(rounds: Sequence[Round], n_layers: int) -> float:
    """Return the layers that a round loads, L + d·e, on average."""
    return n_layers + fmean(each.draft.length * (each.draft.exit_layer or 0) for each in rounds)


def tokens_per_layer(rounds: Sequence[Round], n_layers: int) -> float:
    """Return emitted tokens over loaded layers (eTPL)."""
    return mean_emitted(rounds) / loaded(rounds, n_layers)


def speed_up(speculator: Speculator, rounds: Sequence[Round], kv_tokens: int) -> float:
    """Return the rate of rounds, each priced on the machine, over that of decoding without drafts, at batch 1."""
    cached = np.array([kv_tokens], dtype=np.int64)
    drafts = Counter(each.draft for each in rounds)
    spent_s = sum(count * speculator.price_s([draft], cached) for draft, count in drafts.items())
    return mean_emitted(rounds) * len(rounds) * speculator.price_s([NO_DRAFT], cached) / spent_s


def _play(setup: Setup, method: str, overrides: Sequence[str]) -> list[Round]:
    return play(method, setup.acceptance, overrides, requests=_REQUESTS, tokens=setup.output_tokens)


def _speculator(setup: Setup) -> Speculator:
    return speculator_of(load_experiment(setup.options(draft="early_exit")))


def _left(study: Study, method: str, n_layers: int) -> float:
    """Return the share of the gain that the loaded layers allow that the published speed-up reaches."""
    claims = study.published.claims
    return float(claims[f"{method}_speed_up"].claimed) / (float(claims[f"{method}_per_layer"].claimed) * n_layers)


def _exit(rounds: Sequence[Round]) -> float:
    return fmean(each.draft.exit_layer for each in rounds if each.draft.exit_layer)


def _bound(study: Study, model: str) -> str:
    """Return the value of DEL with exits whose confidence tells right tokens from wrong ones, in words."""
    sure = "acceptance.surprise={agreeing: 0.001, disagreeing: 50, deviation: 0}"
    rounds = _play(study.setup(model), "del", [sure])
    best = tokens_per_layer(rounds, study.setting("models")[model]["n_layers"])
    return f"exits whose confidence tells right from wrong tokens reach {best:.4f}, and none more"


def _origin(study: Study, model: str, method: str) -> str:
    """Return the assumptions behind a method's value, in words."""
    if method == "layerskip":
        return "acceptance at this exit layer is computed from the paper's own value, and drifts as a plot of the paper shows"
    if method == "draft_verify":
        facts = study.setting("models")[model]
        overrides = [f"speculation.exit_layer={facts['exit_layer']}", "speculation.length=1"]
        one = tokens_per_layer(_play(study.setup(model), "layerskip", overrides), facts["n_layers"])
        return (
            f"one draft per round would be {one:.4f}, the published value of most tasks, whose exits are hardly ever as sure as the "
            "threshold asks; the confidence is fitted to this row"
        )
    return "the growth of acceptance with the layer follows from the layers that the paper's plot settles at"


def _step_costs(study: Study, model: str) -> str:
    """Return the costs of a draft step that the count of layers leaves out, in words."""
    setup, facts = study.setup(model), study.setting("models")[model]
    speculator, exit_layer = _speculator(setup), facts["exit_layer"]
    cached = np.array([setup.kv_tokens], dtype=np.int64)
    whole_s = speculator.price_s([NO_DRAFT], cached)
    shorter_s, longer_s = (speculator.price_s([Draft(length, exit_layer=exit_layer)], cached) for length in (5, 6))
    more = (longer_s - shorter_s) / whole_s
    return (
        f"A draft step of {exit_layer} layers takes {100 * more:.0f} % of a pass of {whole_s * 1e3:.1f} ms, its layers being "
        f"{100 * exit_layer / facts['n_layers']:.0f} %: it reads the LM head too, which the count of layers leaves out"
    )


FIGURE = Figure(values=values, table=table, drawing=CHART)
