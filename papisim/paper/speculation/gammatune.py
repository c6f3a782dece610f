"""GammaTune (arXiv:2504.00030): lengths that follow acceptance, against fixed ones, under the cost c + s of a round.

The papers' cost model needs no machine: a round of s drafts costs c + s draft passes, c being target over draft.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean

import numpy as np

from papisim.paper.speculation.play import mean_drafted, mean_emitted, play
from papisim.paper.study import Setup, Study
from papisim.paper.verdict import Row
from papisim.policies.speculation.base import Round

_REQUESTS, _ROUNDS = 40, 100
_FEWER = 16  # requests, where many settings are played


def reproduce(study: Study) -> list[Row]:
    """Play GammaTune and fixed lengths against the same acceptance."""
    setup = study.setup("constant")
    settings = study.figure("re_implementation")
    adaptive = _adaptive(setup, settings)
    fixed = {length: _fixed(setup, length) for length in study.figure("fixed_lengths")}
    reason = _reason(study, fixed)
    at_longest = fmean(each.draft.length == settings["max_length"] for each in adaptive)
    return [
        *(
            study.row(f"emitted_fixed_{length}", mean_emitted(fixed[length]), reason)
            for length in study.figure("measured_lengths")
        ),
        study.row("mean_length", mean_drafted(adaptive), reason),
        study.row("emitted", mean_emitted(adaptive), reason),
        study.row(
            "at_longest",
            at_longest,
            f"to reach {settings['max_length']} from a smoothed length near 3, four rounds in a row must be accepted whole",
        ),
        *_distances(study, adaptive, fixed),
        _over_fixed(study),
    ]


def cost_per_token(rounds: Sequence[Round], ratio: float) -> float:
    """Return draft passes per emitted token, where a target pass costs as much as ``ratio`` of them."""
    return (ratio + mean_drafted(rounds)) / mean_emitted(rounds)


def _adaptive(setup: Setup, settings: dict[str, float], requests: int = _REQUESTS) -> list[Round]:
    overrides = [*setup.overrides, *(f"speculation.{key}={value}" for key, value in settings.items())]
    return play("gammatune", setup.acceptance, overrides, requests=requests, rounds=_ROUNDS)


def _fixed(setup: Setup, length: int, requests: int = _REQUESTS) -> list[Round]:
    overrides = [*setup.overrides, f"speculation={{kind: fixed, tlp: {length + 1}}}"]
    return play("off", setup.acceptance, overrides, requests=requests, rounds=_ROUNDS)


def _reason(study: Study, fixed: dict[int, list[Round]]) -> str:
    longest = max(study.figure("measured_lengths"))
    measured = study.published.claims[f"emitted_fixed_{longest}"].claimed
    return (
        f"one constant α; it emits {mean_emitted(fixed[longest]):.2f} at s = {longest} and the measured pair {measured}, so that "
        "pair's acceptance falls with the position or its answers end within drafts"
    )


def _distances(study: Study, adaptive: list[Round], fixed: dict[int, list[Round]]) -> Iterator[Row]:
    """Compare with the best fixed length; beside it, on a survival curve that has the measured pair's fixed lengths."""
    measured, settings = study.setup("measured"), study.figure("re_implementation")
    there = _adaptive(measured, settings), {length: _fixed(measured, length) for length in fixed}
    for ratio in study.figure("pass_ratios"):
        costs = {length: cost_per_token(rounds, ratio) for length, rounds in fixed.items()}
        best, own = min(costs, key=costs.__getitem__), cost_per_token(adaptive, ratio)
        beaten = ", ".join(str(length) for length in costs if costs[length] > own)
        yield study.row(
            f"distance_{ratio}",
            distance(adaptive, fixed, ratio),
            f"best fixed length {best} at {costs[best]:.3f} draft passes a token, GammaTune {own:.3f}; it beats s = {beaten}. It emits "
            f"{_beyond_fixed(_by_length(fixed), mean_drafted(adaptive), mean_emitted(adaptive)):+.2f} tokens against a fixed draft of its mean "
            f"length, the measured pair {_beyond_fixed(*_published(study)):+.2f}: independent rounds make adapting cost, lasting acceptance "
            f"makes it pay. With the measured survival, and acceptance as lasting as in a log, the distance is "
            f"{100 * distance(*there, ratio):.1f} %",
        )


def _by_length(fixed: Mapping[int, Sequence[Round]]) -> dict[int, float]:
    return {length: mean_emitted(rounds) for length, rounds in fixed.items()}


def _published(study: Study) -> tuple[dict[int, float], float, float]:
    """Return the measured tokens a round by fixed length, and mean length and tokens a round of GammaTune."""
    claimed = {name: float(claim.claimed) for name, claim in study.published.claims.items()}
    by_length = {length: claimed[f"emitted_fixed_{length}"] for length in study.figure("measured_lengths")}
    return by_length, claimed["mean_length"], claimed["emitted"]


def _beyond_fixed(emitted_by_length: Mapping[int, float], length: float, emitted: float) -> float:
    """Return the tokens a round beyond those of a fixed draft of the same mean length, interpolated."""
    return emitted - float(np.interp(length, list(emitted_by_length), list(emitted_by_length.values())))


def distance(adaptive: Sequence[Round], fixed: Mapping[int, Sequence[Round]], ratio: float) -> float:
    """Return by how much adapting costs more than the best fixed length."""
    return cost_per_token(adaptive, ratio) / min(cost_per_token(rounds, ratio) for rounds in fixed.values()) - 1


def _over_fixed(study: Study) -> Row:
    """Start GammaTune at each length that the paper tries, and compare it with that length kept."""
    setup, ratios = study.setup("spread"), study.figure("pass_ratios")
    gains: dict[int, float] = {}
    for length in study.figure("initial_lengths"):
        settings = study.figure("preset") | {"initial_length": length}
        adaptive, fixed = _adaptive(setup, settings, _FEWER), _fixed(setup, length, _FEWER)
        gains[length] = fmean(cost_per_token(fixed, c) / cost_per_token(adaptive, c) for c in ratios)
    worst, best = min(gains, key=gains.__getitem__), max(gains, key=gains.__getitem__)
    return study.row(
        "over_fixed",
        fmean(gains.values()),
        f"mean over the initial lengths {', '.join(map(str, gains))} on {setup.acceptance} and c = "
        f"{', '.join(map(str, ratios))}: from {gains[worst]:.2f}× (fixed {worst}) to {gains[best]:.2f}× (fixed {best}). "
        f"Up to 8 alone it is {fmean(gain for length, gain in gains.items() if length <= study.figure('usual_length')):.2f}×. Which fixed "
        "length the paper compares with is not known, and the mean hangs on it",
    )
