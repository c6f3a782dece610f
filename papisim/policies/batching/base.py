"""The contract of a batching policy: which requests join the batch, and what a step computes.

A policy from outside is one class that has ``Options`` and ``EXAMPLE`` inside; a policy of papisim's own is one module with
``Options``, ``EXAMPLE`` and the class, called ``Batching`` (see :mod:`papisim.kinds`).

Whenever a server is free to start a step, it shows the policy a :class:`BatchingView` and executes the :class:`StepPlan`:
the requests to admit, the prompt tokens to compute for each, and whether the requests that decode take part. A policy

- is a pure function of the view: it keeps no state and draws no random numbers;
- admits no more requests than wait, and no more than :attr:`BatchingView.fitting` allows;
- computes no more tokens of a prompt than are left, and none of a request that is not admitted;
- leaves no request behind: when requests wait, fit and no more arrive, it starts a step or names a time to wake;
- must not change the view, nor keep it.

Requests are admitted in the order of their arrival, those preempted first. Admission takes the pages of the KV cache that
a request's prompt needs (or its whole length, see ``kv.reserve``), so a policy must not admit more than
:attr:`BatchingView.fitting` says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import ClassVar, Protocol

from papisim.catalog import Shelf
from papisim.config.base import KindOptions
from papisim.kinds.family import Family


class BatchingOptions(KindOptions):
    """What every batching policy's options say."""


class Waiting(Protocol):
    """What a policy sees of a request that waits."""

    @property
    def arrival_s(self) -> float:
        """When it arrived."""

    @property
    def prompt_left(self) -> int:
        """Tokens of its prompt that are still to be computed; after a preemption those recomputed, too."""


@dataclass(frozen=True, slots=True)
class BatchingView:
    """What a policy may see when a step is about to start.

    Attributes:
        now_s: the time.
        waiting: requests that have arrived and wait, in the order in which they may be admitted.
        prefilling: tokens still to be computed of the prompt of each admitted request that has some, in that order.
        running: requests that decode (RLP).
        decode_rows: token-rows that their next iteration takes, RLP × TLP.
        more_to_come: whether requests may still arrive.
        fitting: ``fitting(limit)``: how many of the first ``limit`` waiting requests the KV cache has room for now.
        iteration_s: ``iteration_s(joining)``: by the cost model, seconds of a decoding iteration of all admitted requests and
            the first ``joining`` that wait, without speculation and with each cache at its longest.
    """

    now_s: float
    waiting: Sequence[Waiting]
    prefilling: Sequence[int]
    running: int
    decode_rows: int
    more_to_come: bool
    fitting: Callable[[int], int]
    iteration_s: Callable[[int], float]

    @property
    def admitted(self) -> int:
        """Requests that are in the batch, decoding or not yet."""
        return self.running + len(self.prefilling)

    def prompts(self, joining: int) -> list[int]:
        """Return the prompt tokens left of the admitted requests, and of the first ``joining`` that wait."""
        return [*self.prefilling, *(request.prompt_left for request in islice(self.waiting, joining))]


@dataclass(frozen=True, slots=True)
class StepPlan:
    """What a step does; without prompts and without requests to decode there is none, and the server waits.

    Attributes:
        admit: waiting requests that join, from the first.
        prefill: prompt tokens computed of each request that has some left: those of the view's ``prefilling``, then those
            admitted now.
        decode: whether the requests that decode take part.
        wake_s: when to ask again even if nothing happens until then.
    """

    admit: int = 0
    prefill: tuple[int, ...] = ()
    decode: bool = True
    wake_s: float | None = None


#: no request joins; those that decode go on
DECODE = StepPlan()


def whole_prompts(view: BatchingView, joining: int, *, decode: bool) -> StepPlan:
    """Return the plan that admits requests and computes all prompts to their ends."""
    return StepPlan(joining, tuple(view.prompts(joining)), decode=decode)


class BatchingPolicy(Protocol):
    """Decides what a step does.

    Attributes:
        joins_running: whether requests may join while others decode; if not, an arrival changes nothing for them.
        reserves_whole: whether admission takes pages for a request's whole length, unless ``kv.reserve`` says otherwise.
        must_fit: whether a batch is admitted whole or not at all, so that one that does not fit is the user's mistake.
    """

    joins_running: ClassVar[bool]
    reserves_whole: ClassVar[bool]
    must_fit: ClassVar[bool]

    def plan(self, view: BatchingView) -> StepPlan:
        """Return the plan of the step that is about to start."""


BATCHING: Family[BatchingOptions, BatchingPolicy] = Family(
    name="batching",
    noun="batching policy",
    plural="batching policies",
    package="papisim.policies.batching",
    thing="Batching",
    base=BatchingOptions,
    contract=BatchingPolicy,
    shelf=Shelf.BATCHING,
    schema="papisim/batching/1",
)
