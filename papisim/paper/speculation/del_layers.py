"""DEL (arXiv:2504.05598): self-speculation by early exit, as tokens per loaded layer and as speed-up on a machine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from statistics import fmean
from typing import Any

import numpy as np

from papisim.calibration.speculation import speculator_of
from papisim.config.experiment import load_experiment
from papisim.engine.speculation import Speculator
from papisim.paper.speculation.play import mean_drafted, mean_emitted, play
from papisim.paper.study import Setup, Study
from papisim.paper.verdict import Row
from papisim.policies.speculation.base import NO_DRAFT, Draft, Round

_REQUESTS, _ROUNDS = 48, 40


def reproduce(study: Study) -> list[Row]:
    """Play every method, count the layers of its rounds, and price them on a machine."""
    return [row for model in study.figure("models") for row in _model(study, model)]


def _model(study: Study, model: str) -> Iterator[Row]:
    setup, facts = study.setup(model), study.figure("models")[model]
    n_layers = facts["n_layers"]
    speculator = speculator_of(load_experiment(setup.options(draft="early_exit")))
    step = _step_costs(speculator, setup.kv_tokens, facts["exit_layer"], n_layers)
    for method, overrides in facts["methods"].items():
        rounds = _play(setup, method, overrides)
        per_layer, gain = tokens_per_layer(rounds, n_layers), speed_up(speculator, rounds, setup.kv_tokens)
        yield study.row(
            f"{model}_{method}_per_layer",
            per_layer,
            f"{mean_drafted(rounds):.2f} drafted from layer {_exit(rounds):.1f} and {mean_emitted(rounds):.2f} emitted a round of "
            f"{loaded(rounds, n_layers):.1f} layers; {_origin(method, setup, facts)}",
        )
        yield study.row(
            f"{model}_{method}_speed_up",
            gain,
            f"the layers loaded allow {per_layer * n_layers:.2f}×, of which {100 * gain / (per_layer * n_layers):.0f} % are left; in the paper "
            f"{100 * _left(study, f'{model}_{method}', n_layers):.0f} %. {step}",
        )


def _play(setup: Setup, method: str, overrides: Sequence[str]) -> list[Round]:
    return play(method, setup.acceptance, overrides, requests=_REQUESTS, rounds=_ROUNDS)


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


def _left(study: Study, method: str, n_layers: int) -> float:
    """Return the share of what the layers loaded allow that the published speed-up has left."""
    claims = study.published.claims
    return float(claims[f"{method}_speed_up"].claimed) / (float(claims[f"{method}_per_layer"].claimed) * n_layers)


def _exit(rounds: Sequence[Round]) -> float:
    return fmean(each.draft.exit_layer for each in rounds if each.draft.exit_layer)


def _origin(method: str, setup: Setup, facts: dict[str, Any]) -> str:
    """Say what a method's figure rests on."""
    if method == "layerskip":
        return "acceptance at this exit layer is computed from the paper's own value, and assumed to drift around it"
    if method == "draft_verify":
        one = _play(setup, "layerskip", [f"speculation.exit_layer={facts['exit_layer']}", "speculation.length=1"])
        return (
            f"one draft a round would be {tokens_per_layer(one, facts['n_layers']):.4f}, the published value of most tasks, as if its exits "
            "were never as sure as the threshold asks; the simulated confidence, which is assumed, is"
        )
    return "how acceptance grows with the layer and how it drifts is assumed, and what adapts lives on both"


def _step_costs(speculator: Speculator, kv_tokens: int, exit_layer: int, n_layers: int) -> str:
    """Say what a draft step costs that the count of layers leaves out."""
    cached = np.array([kv_tokens], dtype=np.int64)
    whole_s = speculator.price_s([NO_DRAFT], cached)
    shorter_s, longer_s = (speculator.price_s([Draft(length, exit_layer=exit_layer)], cached) for length in (5, 6))
    more = (longer_s - shorter_s) / whole_s
    return (
        f"A draft step of {exit_layer} layers takes {100 * more:.0f} % of a pass of {whole_s * 1e3:.1f} ms, its layers being "
        f"{100 * exit_layer / n_layers:.0f} %: it reads the LM head too, which the count of layers leaves out"
    )
