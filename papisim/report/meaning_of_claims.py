"""What a reproduction means, in a sentence: how many values of a paper are met, and which is farthest off."""

from __future__ import annotations

import math
from collections.abc import Iterable

from papisim.report.claims import VERDICTS, ClaimRow
from papisim.report.figures import count


def meaning_of_claims(rows: Iterable[ClaimRow]) -> list[str]:
    """Return the sentences on claims with verdicts; none if there are no claims."""
    claims = list(rows)
    if not claims:
        return []
    verdicts = [row["verdict"] for row in claims]
    counts = ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in VERDICTS if verdict in verdicts)
    sentences = [f"Of {count(len(claims), 'value')} of the literature: {counts}."]
    numbers = [row for row in claims if _distance(row) is not None]
    if numbers:
        farthest = max(numbers, key=lambda row: _distance(row) or 0.0)
        found = f"published {_number(farthest['claimed'])}, simulated {_number(farthest['simulated'])}"
        sentences.append(f"Farthest from its number is {farthest['system']}, {farthest['claim']}: {found}.")
    return sentences


def _distance(row: ClaimRow) -> float | None:
    """Return the distance of a simulated value from a published number, as a logarithm; None without such a number."""
    claimed, simulated = row["claimed"], row["simulated"]
    if isinstance(claimed, str) or simulated is None or not claimed * simulated > 0:
        return None
    return abs(math.log(simulated / claimed))


def _number(value: float | str | None) -> str:
    return f"{value:.3g}" if isinstance(value, float | int) else str(value)
