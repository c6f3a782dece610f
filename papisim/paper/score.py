"""How far simulated values are from published ones, all together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from papisim.paper.outcomes import Value
from papisim.paper.study import Study
from papisim.paper.verdict import Verdict, judge

#: figures whose numbers a reading is scored by
SCORED = ("fig7", "fig8", "fig9", "fig10a", "fig10b", "fig11", "fig12")
#: figures whose orders and crossovers a reading must keep
ORDERED = ("fig2", "fig4", "fig10a")


def numbers(studies: Mapping[str, Study], *, read_off: bool = False) -> dict[tuple[str, str], float]:
    """Return the published numbers that count, by figure and claim.

    Args:
        studies: the paper's figures.
        read_off: also those that others read off a figure.
    """
    kinds = ("text", "figure") if read_off else ("text",)
    return {
        (name, claim): entry.claimed
        for name, study in studies.items()
        if name in SCORED
        for claim, entry in study.published.claims.items()
        if not isinstance(entry.claimed, str) and entry.reliability in kinds
    }


def score(published: Mapping[tuple[str, str], float], simulated: Mapping[tuple[str, str], Value]) -> Value:
    """Return the mean of ``|ln(simulated / published)|``; not a number where something could not be simulated."""
    return sum(np.abs(np.log(simulated[key] / value)) for key, value in published.items()) / len(published)


def orders_kept(studies: Mapping[str, Study], simulated: Mapping[str, Mapping[str, float]]) -> dict[str, bool]:
    """Tell for each figure whose orders and crossovers count whether all of them are as claimed."""
    return {
        name: _all_hold(studies[name], simulated[name]) for name in ORDERED if name in simulated and name in studies
    }


def _all_hold(study: Study, values: Mapping[str, float]) -> bool:
    verdicts: Iterable[Verdict] = (judge(entry, values[claim])[1] for claim, entry in study.published.claims.items())
    return all(verdict is not Verdict.OFF for verdict in verdicts)
