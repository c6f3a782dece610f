"""GammaTune (arXiv:2504.00030): draft lengths that follow acceptance, against fixed ones, under the cost c + s of a round.

The papers' cost model needs no machine: a round of s drafts costs c + s draft passes, c being target over draft.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from statistics import fmean, pstdev
from typing import NamedTuple

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
_REQUESTS, _ROUNDS = 80, 100
_FEWER, _SHORTER = 8, 50  # requests and rounds, where many settings are played
#: policies, with the claims of their gains
_VARIANTS = {"gammatune": "over_fixed", "gammatune_plus": "plus_over_fixed"}


#: gain by variant and initial length
Gains = Mapping[str, Mapping[int, float]]


class Played(NamedTuple):
    """Rounds of GammaTune, and of each fixed length."""

    adaptive: Sequence[Round]
    fixed: Mapping[int, Sequence[Round]]


def played(study: Study) -> Played:
    """Play GammaTune and fixed lengths against acceptance with the measured tokens per round at fixed lengths."""
    where = study.setup("measured")
    fixed = {length: _fixed(where, length) for length in study.setting("fixed_lengths")}
    return Played(_adaptive(where, study.setting("re_implementation")), fixed)


def values(view: View) -> dict[str, Explained]:
    """Return tokens per round and lengths, costs against the best fixed length, and gains over fixed lengths by task."""
    study, (adaptive, fixed) = view.study, view.once(played)
    longest = view.setting("re_implementation")["max_length"]
    lengths = view.setting("measured_lengths")
    reason = "survival by position follows from the measured fixed lengths, the lasting share of the state from the measured mean length"
    return {
        **{f"emitted_fixed_{length}": Explained(mean_emitted(fixed[length]), reason) for length in lengths},
        "mean_length": Explained(mean_drafted(adaptive), reason),
        "emitted": Explained(mean_emitted(adaptive), reason),
        "at_longest": Explained(
            fmean(each.draft.length == longest for each in adaptive),
            f"to reach {longest} from a smoothed length near 3, four rounds in a row must be accepted whole",
            _at_most_longest(study, fixed),
        ),
        **dict(_distances(study, adaptive, fixed)),
        **_over_fixed(study),
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


def _adaptive(setup: Setup, settings: Mapping[str, float]) -> list[Round]:
    overrides = [*setup.overrides, *(f"speculation.{key}={value}" for key, value in settings.items())]
    return play("gammatune", setup.acceptance, overrides, requests=_REQUESTS, rounds=_ROUNDS)


def _fixed(setup: Setup, length: int) -> list[Round]:
    overrides = [*setup.overrides, f"speculation={{kind: fixed, tlp: {length + 1}}}"]
    return play("off", setup.acceptance, overrides, requests=_REQUESTS, rounds=_ROUNDS)


def _at_most_longest(study: Study, fixed: Mapping[int, Sequence[Round]]) -> str:
    """Return the share of rounds at the longest length if nothing lasted from one round to the next, in words."""
    settings = study.setting("re_implementation")
    whole = fmean(each.accepted == each.draft.length for each in fixed[max(fixed)])
    steps = -(-(settings["max_length"] - settings["initial_length"]) // settings["probe"])
    return f"rounds that are accepted whole at s = {max(fixed)} are {100 * whole:.0f} %; {steps} in a row are {100 * whole**steps:.1f} % if they are independent"


def _distances(
    study: Study, adaptive: Sequence[Round], fixed: Mapping[int, Sequence[Round]]
) -> Iterator[tuple[str, Explained]]:
    """Compare with the best fixed length."""
    for ratio in study.setting("pass_ratios"):
        costs = {length: cost_per_token(rounds, ratio) for length, rounds in fixed.items()}
        best, own = min(costs, key=costs.__getitem__), cost_per_token(adaptive, ratio)
        beaten = ", ".join(str(length) for length in costs if costs[length] > own)
        yield (
            f"distance_{ratio}",
            Explained(
                distance(adaptive, fixed, ratio),
                f"best fixed length {best} at {costs[best]:.3f} draft passes per token, GammaTune {own:.3f}; it beats s = {beaten}",
                f"{100 * _published_distance(study, ratio):.1f} % follow from the five published means alone",
            ),
        )


def _published_distance(study: Study, ratio: float) -> float:
    """Return the distance that follows from the published tokens per round and mean length."""
    claimed = {
        name: float(claim.claimed)
        for name, claim in study.published.claims.items()
        if not isinstance(claim.claimed, str)
    }
    lengths: list[int] = study.setting("measured_lengths")
    best = min((ratio + length) / claimed[f"emitted_fixed_{length}"] for length in lengths)
    return (ratio + claimed["mean_length"]) / claimed["emitted"] / best - 1


def _over_fixed(study: Study) -> dict[str, Explained]:
    """Start both variants at each length that the paper tries, and compare them with that fixed length: by task, and by pair of models."""
    gains = {
        task: _gains(study, study.setup(task).acceptance, study.setup(task).overrides)
        for task in study.setting("tasks")
    }
    by_pair = [_gains(study, pair, ()) for pair in study.setting("pairs")]
    found = {claim: _mean_gain(study, policy, gains) for policy, claim in _VARIANTS.items()}
    every, usual = study.setting("initial_lengths"), study.setting("usual_length")
    (plain, plus), shorter = (_spreads(by_pair, longest) for longest in (max(every), usual))
    found["plus_steadier"] = Explained(
        plus / plain,
        f"standard deviation over pairs {plain:.3f} and {plus:.3f}",
        f"over fixed lengths to {usual} it is {shorter[0]:.3f} and {shorter[1]:.3f}; signals as weakly tied to acceptance as DSDE measured leave "
        "GammaTune+ little to stop by, and its threshold is not published",
    )
    return found


def _spreads(by_pair: Sequence[Gains], longest: int) -> list[float]:
    """Return the standard deviation over pairs of each variant's mean gain over fixed lengths up to the longest."""
    return [
        pstdev(fmean(gain for length, gain in each[policy].items() if length <= longest) for each in by_pair)
        for policy in _VARIANTS
    ]


def _mean_gain(study: Study, policy: str, gains: Mapping[str, Gains]) -> Explained:
    """Return a variant's mean gain over tasks and over the lengths it starts from."""
    by_task = {task: fmean(each[policy].values()) for task, each in gains.items()}
    lengths, usual = study.setting("initial_lengths"), study.setting("usual_length")
    by_length = {length: fmean(each[policy][length] for each in gains.values()) for length in lengths}
    worst, best = min(by_length, key=by_length.__getitem__), max(by_length, key=by_length.__getitem__)
    return Explained(
        fmean(by_task.values()),
        f"by task {', '.join(f'{task} {gain:.2f}' for task, gain in by_task.items())}, over initial lengths {', '.join(map(str, lengths))}; up to "
        f"{usual} alone {fmean(gain for length, gain in by_length.items() if length <= usual):.2f}×",
        f"the fixed length that the paper compares with is not known: {by_length[worst]:.2f}× over {worst}, {by_length[best]:.2f}× over {best}",
    )


def _gains(study: Study, acceptance: str, overrides: Sequence[str]) -> Gains:
    """Return each variant's mean gain over each fixed length, starting from that length."""
    lengths, ratios = study.setting("initial_lengths"), study.setting("pass_ratios")
    longest = _rounds("off", acceptance, [*overrides, f"speculation={{kind: fixed, tlp: {max(lengths) + 1}}}"])
    emitted = {length: 1 + fmean(min(each.accepted, length) for each in longest) for length in lengths}
    found: dict[str, dict[int, float]] = {policy: {} for policy in _VARIANTS}
    for policy, length in product(_VARIANTS, lengths):
        settings = study.setting("preset") | {"initial_length": length}
        adaptive = _rounds(
            policy, acceptance, [*overrides, *(f"speculation.{key}={value}" for key, value in settings.items())]
        )
        found[policy][length] = fmean((c + length) / emitted[length] / cost_per_token(adaptive, c) for c in ratios)
    return found


def _rounds(policy: str, acceptance: str, overrides: Sequence[str]) -> list[Round]:
    return play(policy, acceptance, overrides, requests=_FEWER, rounds=_SHORTER)


FIGURE = Figure(values=values, table=table, drawing=CHART)
