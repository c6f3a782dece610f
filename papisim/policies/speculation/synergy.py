"""Synergy: one draft length for each batch size, found offline (Su et al., arXiv:2310.18813).

A round of s drafts for b requests takes t(b, s) and emits 1 + l(s) tokens a request, l growing slower than s. The time per
emitted token t / (1 + l) is least at a length s*(b) that falls as b rises, because the target pass grows faster with s
the larger b is. The paper profiles the real system for some batches and lengths, keeps s*, and online looks up the batch
it has, or the next profiled one. Nothing is learned online. ``papisim calibrate speculation`` profiles the simulated
machine with :func:`optimal_table`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

from papisim.kinds import Example
from papisim.policies.speculation.batch_table import LengthByBatch, LengthOptions, LengthRow


class Options(LengthOptions):
    """The table; ``up_to_batch`` is a profiled batch, ``length`` its s*."""

    kind: Literal["synergy"]


EXAMPLE = Example("synergy")


class Speculation(LengthByBatch):
    """The length of the next profiled batch; of the largest, for batches beyond."""


def optimal_table(
    profile: Callable[[int, int], float], batches: Iterable[int], lengths: Iterable[int]
) -> list[LengthRow]:
    """Return the table of the lengths with the least time per emitted token; the shorter one of equals.

    Args:
        profile: ``profile(batch, length)``, seconds per emitted token of one request.
        batches: batch sizes to profile.
        lengths: draft lengths to try for each; 0 is no speculation.
    """
    tried = sorted(set(lengths))
    return [
        LengthRow(up_to_batch=batch, length=min(tried, key=lambda length: profile(batch, length)))
        for batch in sorted(set(batches))
    ]
