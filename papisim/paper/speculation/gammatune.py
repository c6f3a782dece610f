"""GammaTune (arXiv:2504.00030): draft lengths that follow acceptance, against fixed ones, under the cost c + s of a round.

The papers' cost model needs no machine: a round of s drafts costs c + s draft passes, c being target over draft.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import NamedTuple

import numpy as np

from papisim.paper.claims import Setup, Study
from papisim.paper.figure import Explained, Figure, Table, View
from papisim.paper.speculation.play import mean_drafted, mean_emitted, play
from papisim.policies.speculation.base import Round
from papisim.report.print.chart import Chart

CHART = Chart(
    kind="bars",
    x=("pass_ratio",),
    y="passes_per_token",
    series="policy",
    x_label="c, passes of the target over passes of the draft model",
    y_label="draft passes per token",
)
_REQUESTS, _ROUNDS = 40, 100
_FEWER = 16  # requests, where many settings are played


class Played(NamedTuple):
    """Rounds of GammaTune, and of each fixed length."""

    adaptive: Sequence[Round]
    fixed: Mapping[int, Sequence[Round]]


def played(study: Study) -> Played:
    """Play GammaTune and fixed lengths against one constant acceptance."""
    return _played(study, "constant")


def values(view: View) -> dict[str, Explained]:
    """Return tokens per round and lengths, and costs against the best fixed length."""
    study, (adaptive, fixed) = view.study, view.once(played)
    longest = view.setting("re_implementation")["max_length"]
    reason = _reason(study, fixed)
    lengths = view.setting("measured_lengths")
    return {
        **{f"emitted_fixed_{length}": Explained(mean_emitted(fixed[length]), reason) for length in lengths},
        "mean_length": Explained(mean_drafted(adaptive), reason),
        "emitted": Explained(mean_emitted(adaptive), reason),
        "at_longest": Explained(
            fmean(each.draft.length == longest for each in adaptive),
            f"to reach {longest} from a smoothed length near 3, four rounds in a row must be accepted whole",
        ),
        **dict(_distances(study, adaptive, fixed)),
        "over_fixed": _over_fixed(study),
    }


def table(view: View) -> Table:
    """Return draft passes per token of GammaTune and of each fixed length, by c."""
    adaptive, fixed = view.once(played)
    policies = {"GammaTune": adaptive, **{f"s = {length}": rounds for length, rounds in fixed.items()}}
    return [
        {"pass_ratio": ratio, "policy": policy, "passes_per_token": cost_per_token(rounds, ratio)}
        for ratio in view.setting("pass_ratios")
        for policy, rounds in policies.items()
    ]


def cost_per_token(rounds: Sequence[Round], ratio: float) -> float:
    """Return draft passes per emitted token, where a target pass costs as much as ``ratio`` of them."""
    return (ratio + mean_drafted(rounds)) / mean_emitted(rounds)


def distance(adaptive: Sequence[Round], fixed: Mapping[int, Sequence[Round]], ratio: float) -> float:
    """Return the relative cost of adapting beyond the best fixed length."""
    return cost_per_token(adaptive, ratio) / min(cost_per_token(rounds, ratio) for rounds in fixed.values()) - 1


def _played(study: Study, setup: str) -> Played:
    where = study.setup(setup)
    fixed = {length: _fixed(where, length) for length in study.setting("fixed_lengths")}
    return Played(_adaptive(where, study.setting("re_implementation")), fixed)


def _adaptive(setup: Setup, settings: Mapping[str, float], requests: int = _REQUESTS) -> list[Round]:
    overrides = [*setup.overrides, *(f"speculation.{key}={value}" for key, value in settings.items())]
    return play("gammatune", setup.acceptance, overrides, requests=requests, rounds=_ROUNDS)


def _fixed(setup: Setup, length: int, requests: int = _REQUESTS) -> list[Round]:
    overrides = [*setup.overrides, f"speculation={{kind: fixed, tlp: {length + 1}}}"]
    return play("off", setup.acceptance, overrides, requests=requests, rounds=_ROUNDS)


def _reason(study: Study, fixed: Mapping[int, Sequence[Round]]) -> str:
    longest = max(study.setting("measured_lengths"))
    measured = study.published.claims[f"emitted_fixed_{longest}"].claimed
    return (
        f"one constant α; it emits {mean_emitted(fixed[longest]):.2f} at s = {longest} and the measured pair {measured}, so that "
        "pair's acceptance falls with the position or its answers end within drafts"
    )


def _distances(
    study: Study, adaptive: Sequence[Round], fixed: Mapping[int, Sequence[Round]]
) -> Iterator[tuple[str, Explained]]:
    """Compare with the best fixed length; beside it, on a survival curve that has the measured pair's fixed lengths."""
    there = _played(study, "measured")
    emitted = {length: mean_emitted(rounds) for length, rounds in fixed.items()}
    for ratio in study.setting("pass_ratios"):
        costs = {length: cost_per_token(rounds, ratio) for length, rounds in fixed.items()}
        best, own = min(costs, key=costs.__getitem__), cost_per_token(adaptive, ratio)
        beaten = ", ".join(str(length) for length in costs if costs[length] > own)
        yield (
            f"distance_{ratio}",
            Explained(
                distance(adaptive, fixed, ratio),
                f"best fixed length {best} at {costs[best]:.3f} draft passes per token, GammaTune {own:.3f}; it beats s = {beaten}. It "
                f"emits {_beyond_fixed(emitted, mean_drafted(adaptive), mean_emitted(adaptive)):+.2f} tokens against a fixed draft of its "
                f"mean length, the measured pair {_beyond_fixed(*_published(study)):+.2f}: with independent rounds adapting costs, with "
                f"lasting acceptance it pays. With the measured survival, and acceptance that lasts as in a log, the distance is "
                f"{100 * distance(*there, ratio):.1f} %",
            ),
        )


def _published(study: Study) -> tuple[dict[int, float], float, float]:
    """Return the measured tokens per round by fixed length, and mean length and tokens per round of GammaTune."""
    claimed = {name: float(claim.claimed) for name, claim in study.published.claims.items()}
    by_length = {length: claimed[f"emitted_fixed_{length}"] for length in study.setting("measured_lengths")}
    return by_length, claimed["mean_length"], claimed["emitted"]


def _beyond_fixed(emitted_by_length: Mapping[int, float], length: float, emitted: float) -> float:
    """Return the tokens per round beyond those of a fixed draft of the same mean length, interpolated."""
    return emitted - float(np.interp(length, list(emitted_by_length), list(emitted_by_length.values())))


def _over_fixed(study: Study) -> Explained:
    """Start GammaTune at each length that the paper tries, and compare it with that fixed length."""
    setup, ratios = study.setup("spread"), study.setting("pass_ratios")
    gains: dict[int, float] = {}
    for length in study.setting("initial_lengths"):
        settings = study.setting("preset") | {"initial_length": length}
        adaptive, fixed = _adaptive(setup, settings, _FEWER), _fixed(setup, length, _FEWER)
        gains[length] = fmean(cost_per_token(fixed, c) / cost_per_token(adaptive, c) for c in ratios)
    worst, best = min(gains, key=gains.__getitem__), max(gains, key=gains.__getitem__)
    usual = study.setting("usual_length")
    return Explained(
        fmean(gains.values()),
        f"mean over the initial lengths {', '.join(map(str, gains))} on {setup.acceptance} and c = "
        f"{', '.join(map(str, ratios))}: from {gains[worst]:.2f}× (fixed {worst}) to {gains[best]:.2f}× (fixed {best}). "
        f"Up to {usual} alone it is {fmean(gain for length, gain in gains.items() if length <= usual):.2f}×. The fixed length that the "
        "paper compares with is not known, and the mean depends on it",
    )


FIGURE = Figure(values=values, table=table, drawing=CHART)
