"""The contract of a draft source: what drafting and verifying cost on the machine.

A source from outside is one class that has ``Options`` and ``EXAMPLE`` inside; a source of papisim's own is one module with
``Options``, ``EXAMPLE`` and the class, called ``Source`` (see :mod:`papisim.kinds`). It is built from its options and a
:class:`DraftContext`. A source

- returns phases on devices and links of the machine, or on its host, with no negative time or energy;
- drafts nothing where no request drafts, and never takes less time for longer drafts;
- is a pure function of its arguments: the same drafts and caches have the same phases, whatever was asked before;
- must not change its arguments, nor the context;
- names the memory that it needs in ``demands``, so that weights and KV caches are planned with it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from papisim.arrays import Ints
from papisim.catalog import Shelf
from papisim.config.base import Count, KindOptions, Spec
from papisim.config.engine import CAPTURED, EngineSpec
from papisim.errors import NotModelled
from papisim.kinds.family import Family
from papisim.ops.lower import Prompts, decode_shape, ragged_lengths
from papisim.ops.trace import KernelTrace
from papisim.plan.machine import Machine
from papisim.plan.memory import Demand
from papisim.plan.phase import Category, Phase
from papisim.plan.planner import Planner
from papisim.policies.placement.base import Operator, PlacementPolicy
from papisim.policies.speculation.base import Draft


class DraftingOptions(KindOptions):
    """What every draft source's options say."""

    @property
    def target_width(self) -> int | None:
        """Elements of the hidden state of the models that it drafts for; None where it drafts for any."""
        return None


class ScheduleSpec(Spec):
    """When a draft model runs (see :mod:`papisim.engine.asynchronous`).

    Attributes:
        kind: ``synchronous``: drafting and verification take turns; ``asynchronous``: the next drafts are made beside verification;
            ``pre_verification``: refused, since what is published of it does not say what becomes of a pre-verified draft.
        eager: whether requests draft on, from drafts that are not verified yet, while these are being verified.
        pool_tokens: drafts, of all requests together, from which on verification starts; it starts without them when there is
            nothing left to draft. None waits until then.
    """

    kind: Literal["synchronous", "asynchronous", "pre_verification"] = "synchronous"
    eager: bool = True
    pool_tokens: Count | None = None


class SerialOptions(DraftingOptions):
    """What the options of a source say that runs a model of its own, one step per token.

    Attributes:
        schedule: when the model runs.
    """

    schedule: ScheduleSpec = ScheduleSpec()


@dataclass(frozen=True)
class DraftContext:
    """What a draft source is built from.

    Attributes:
        machine: the hardware.
        trace: the target model.
        planner: turns steps of the target model into phases.
        seed: the run's seed.
        engine: the engine that runs draft models, too.
        placement: the placement policy of the machine, for operators of drafting that have several devices.
    """

    machine: Machine
    trace: KernelTrace
    planner: Planner
    seed: int
    engine: EngineSpec = CAPTURED
    placement: PlacementPolicy | None = None


class DraftSource(Protocol):
    """Drafts tokens for the requests of a batch."""

    @property
    def demands(self) -> tuple[Demand, ...]:
        """Memory it needs, by device; empty if it needs none."""

    def draft(self, drafts: Sequence[Draft], cached: Ints, *, fold: bool = True) -> list[Phase]:
        """Return the phases of drafting.

        Args:
            drafts: what each request drafts.
            cached: tokens in each request's cache, shape (RLP,).
            fold: whether identical layers are multiplied.
        """

    def verify(
        self, drafts: Sequence[Draft], cached: Ints, rows: Ints, prompts: Prompts | None = None, *, fold: bool = True
    ) -> list[Phase]:
        """Return the phases of verifying.

        Args:
            drafts: what each request drafted.
            cached: tokens in each request's cache, shape (RLP,).
            rows: token-rows verified for each request, padding included, shape (RLP,).
            prompts: prompts computed in the same step, if any.
            fold: whether identical layers are multiplied.
        """


DRAFTING: Family[DraftingOptions, DraftSource] = Family(
    name="drafting",
    noun="draft source",
    plural="draft sources",
    package="papisim.engine.drafting",
    thing="Source",
    base=DraftingOptions,
    contract=DraftSource,
    arguments=("options", "context"),
    shelf=Shelf.DRAFTING,
    schema="papisim/drafting/1",
)


class WholeVerification:
    """A source whose drafts the target model verifies from its first layer; needs no memory of its own."""

    demands: tuple[Demand, ...] = ()

    def __init__(self, context: DraftContext) -> None:
        self._context = context

    def verify(
        self, drafts: Sequence[Draft], cached: Ints, rows: Ints, prompts: Prompts | None = None, *, fold: bool = True
    ) -> list[Phase]:
        """Return the phases of one step of the whole target model over all rows.

        Raises:
            NotModelled: drafts are trees, and the model keeps states.
        """
        if any(draft.tree for draft in drafts):
            refuse_states(self._context.trace, "trees of drafts, whose branches need states of their own")
        shape = decode_shape(len(rows), int(rows.sum()))
        return self._context.planner.decode(shape, ragged_lengths(cached, rows), prompts, fold=fold)


class SerialDrafting(WholeVerification, ABC):
    """A source that runs a model of its own, one step per token of the longest draft.

    Attributes:
        resources: devices and links that its steps may need.
    """

    resources: frozenset[str]

    @abstractmethod
    def step(self, cached: Ints, rows: Ints, *, first: bool, fold: bool = True) -> list[Phase]:
        """Return the phases of one draft step.

        Args:
            cached: tokens in the cache of each request that drafts, shape (n,).
            rows: drafts of each, shape (n,).
            first: whether the step is the first after a verification.
            fold: whether identical layers are multiplied.
        """

    def draft(self, drafts: Sequence[Draft], cached: Ints, *, fold: bool = True) -> list[Phase]:
        """Return the phases of the serial draft steps."""
        phases: list[Phase] = []
        for index, (caches, rows) in enumerate(serial_steps(drafts, cached)):
            phases += self.step(caches, rows, first=index == 0, fold=fold)
        return phases


def refuse_states(trace: KernelTrace, what: str) -> None:
    """Refuse drafting that the states of a model do not follow.

    Raises:
        NotModelled: some layers keep states.
    """
    if trace.has_states:
        raise NotModelled(
            f"{what}, on {trace.name}: some of its layers keep a state, which follows one chain; draft chains with all layers"
        )


def serial_steps(drafts: Sequence[Draft], cached: Ints) -> list[tuple[Ints, Ints]]:
    """Return, for each serial draft step, the caches and the rows of the requests that still draft.

    Step j extends every chain of at least j tokens by one, and every tree of at least depth j by its nodes there; the
    longest draft sets the number of steps, and shorter ones wait for it. What a step caches, the next one sees.
    """
    lengths = np.array([draft.length for draft in drafts], dtype=np.int64)
    widths = [draft.tree or (1,) * draft.length for draft in drafts]
    steps: list[tuple[Ints, Ints]] = []
    drafted = np.zeros(len(drafts), dtype=np.int64)
    for depth in range(int(lengths.max(initial=0))):
        still = lengths > depth
        rows = np.array([width[depth] for width in widths if len(width) > depth], dtype=np.int64)
        steps.append(((cached + drafted)[still], rows))
        drafted[still] += rows
    return steps


_OF_DRAFT = {operator: operator.of_draft for operator in Operator}


def as_drafting(phases: Sequence[Phase]) -> list[Phase]:
    """Return phases reported as drafting, and as operators of a draft model."""
    return [
        phase._replace(category=Category.DRAFT, operator=phase.operator and _OF_DRAFT[phase.operator])
        for phase in phases
    ]
