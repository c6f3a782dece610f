"""Synergy: one draft length for each batch size, found offline (Su et al., arXiv:2310.18813).

A round of s drafts for b requests takes t(b, s) and emits 1 + l(s) tokens per request, l growing slower than s. The time per
emitted token t / (1 + l) is least at a length s*(b) that falls as b rises, because the target pass grows faster with s
the larger b is. The paper profiles the real system for some batches and lengths, keeps s*, and online looks up the batch
it has, or the next profiled one. Nothing is learned online. Loading an experiment profiles the simulated machine, model, draft source and
acceptance process with :func:`optimal_table` unless a table is given, as ``papisim calibrate speculation`` does
(:func:`papisim.calibration.speculation.tune_synergy`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from papisim.kinds import Example
from papisim.policies.speculation.base import TunedOptions
from papisim.policies.speculation.batch_table import LengthByBatch, LengthOptions, LengthRow, ascending


class Options(TunedOptions):
    """Options of Synergy.

    Attributes:
        table: ``auto``, profiled on the machine; or as given: ``up_to_batch`` is a profiled batch, ``length`` its s*.
    """

    tuner: ClassVar[str | None] = "papisim.calibration.speculation:tune_synergy"
    tuned_field = "table"

    kind: Literal["synergy"]
    table: Annotated[list[LengthRow], Field(min_length=1), AfterValidator(ascending)] | None = None

    @property
    def longest(self) -> int | None:
        """The longest draft, in tokens; None before the table is known."""
        return None if self.table is None else max(row.length for row in self.table)


EXAMPLE = Example({"table": [{"up_to_batch": 2, "length": 5}, {"up_to_batch": 8, "length": 1}]})


class Speculation(LengthByBatch):
    """The length of the next profiled batch; of the largest, for batches beyond."""

    def __init__(self, options: Options) -> None:
        super().__init__(LengthOptions(kind=options.kind, table=options.measured()))


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
