"""The ranking of a paper's interpretations as plain values, which the console and the written page show."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, TypedDict

#: the interpretations that are shown, by their key in a summary
BEST: dict[Literal["best", "best_with_orders"], str] = {
    "best": "Best interpretation",
    "best_with_orders": "Best interpretation that keeps every order and crossover",
}


class Best(TypedDict):
    """An interpretation and its score."""

    score: float
    read_off: float
    interpretation: dict[str, str]
    values: dict[str, float]
    orders: bool


class Range(TypedDict):
    """The values of a published number over all interpretations."""

    figure: str
    claim: str
    published: float
    smallest: float
    largest: float
    reached: bool


class Effect(TypedDict):
    """The effect of an alternative on a number, over that of the physical alternative."""

    choice: str
    alternative: str
    figure: str
    claim: str
    ratio: float


class Summary(TypedDict):
    """What a ranking says in short."""

    schema: str
    n_interpretations: int
    n_runs: int
    n_too_large: int
    score_quantiles: dict[str, float]
    best: Best
    best_with_orders: Best | None
    unreached: list[Range]


def by_alternative(effects: Iterable[Effect]) -> dict[tuple[str, str], dict[tuple[str, str], float]]:
    """Return ratios by figure and claim, for each choice and alternative."""
    found: dict[tuple[str, str], dict[tuple[str, str], float]] = {}
    for each in effects:
        pair = found.setdefault((each["choice"], each["alternative"]), {})
        pair[each["figure"], each["claim"]] = each["ratio"]
    return found
