"""The contract of whatever turns steps of a model into phases."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from papisim.arrays import Floats
from papisim.devices.base import AttentionRun
from papisim.ops.kernel import Linear
from papisim.ops.lower import KvLengths, Prompts, StepShape
from papisim.plan.graphs import Graphs
from papisim.plan.layout import AttentionSlot, StepLayout
from papisim.plan.phase import Category, Phase, seconds


class StepWork(NamedTuple):
    """The phases of a step.

    Attributes:
        layout: phases that the step shares with other steps.
        phases: its other phases.
    """

    layout: StepLayout
    phases: list[Phase]

    @property
    def time_s(self) -> float:
        """Seconds of all phases, one after another."""
        return self.layout.time_s + seconds(self.phases)


class Planner(ABC):
    """Turns steps of a model into phases on a machine.

    Layouts are shared between runs; a planner has no state but what it remembers of them. Where ``fold`` is an argument,
    identical layers are priced once and multiplied; without folding every layer has phases of its own, in order.

    Attributes:
        graphs: the steps that the engine has captured.
        notes: kernels that the engine merges and the model's cannot be.
    """

    graphs: Graphs
    notes: tuple[str, ...]

    @abstractmethod
    def layout(self, shape: StepShape, decode: KvLengths | None = None, *, fold: bool = True) -> StepLayout:
        """Return all of a step but its attention.

        Args:
            shape: shape of the whole step.
            decode: caches of the requests that decode, by which attention is placed; at home, if None.
            fold: whether identical layers are multiplied.
        """

    @abstractmethod
    def placed_alike(self, shape: StepShape, lengths: KvLengths, n: int) -> int:
        """Return the number of the first of ``n`` decoding iterations whose operators are where those of the first are.

        Args:
            shape: shape of each iteration.
            lengths: caches of the first iteration, which grow by their new tokens from one to the next.
            n: iterations.
        """

    @abstractmethod
    def attention(self, slot: AttentionSlot, decode: KvLengths | None, prompts: KvLengths | None) -> Iterator[Phase]:
        """Yield the phases of a layout's attention slot.

        Args:
            slot: the attention kernel.
            decode: caches of the requests that decode, if any.
            prompts: caches of the prompts computed in the step, if any.
        """

    @abstractmethod
    def growing(self, layout: StepLayout, lengths: KvLengths, n: int) -> list[tuple[Phase, AttentionRun]]:
        """Return the attention of ``n`` decoding iterations, each of which lengthens every cache by its new tokens.

        Args:
            layout: layout of the iterations.
            lengths: caches of the first iteration.
            n: iterations.

        Returns:
            For each attention slot, the first iteration's phase without its cost, and the costs of all iterations.
        """

    @abstractmethod
    def place(self, kernel: Linear, rlp: int, rows: int) -> str:
        """Return the device on which the policy places an FC kernel of a decoding step."""

    def work(
        self, shape: StepShape, decode: KvLengths | None, prompts: KvLengths | None, *, fold: bool = True
    ) -> StepWork:
        """Return a step's layout and its attention.

        Args:
            shape: shape of the whole step.
            decode: caches of the requests that decode, if any.
            prompts: caches of the prompts computed in the step, if any.
            fold: whether identical layers are multiplied.
        """
        layout = self.layout(shape, decode, fold=fold)
        return StepWork(layout, [phase for slot in layout.slots for phase in self.attention(slot, decode, prompts)])

    def times_s(self, layout: StepLayout, lengths: KvLengths, n: int) -> Floats:
        """Return the seconds of ``n`` decoding iterations, shape (n,); arguments as of :meth:`growing`."""
        growing = self.growing(layout, lengths, n)
        return sum((run.time_s * phase.repeats for phase, run in growing), np.full(n, layout.time_s))

    def in_order(
        self, shape: StepShape, decode: KvLengths | None, prompts: KvLengths | None, *, fold: bool = True
    ) -> list[Phase]:
        """Return all phases of a step in the order they run; arguments as of :meth:`work`."""
        phases: list[Phase] = []
        for item in self.layout(shape, decode, fold=fold).items:
            if isinstance(item, Phase):
                phases.append(item)
            else:
                phases += self.attention(item, decode, prompts)
        return phases

    def decode(
        self, shape: StepShape, lengths: KvLengths, prompts: Prompts | None = None, *, fold: bool = True
    ) -> list[Phase]:
        """Return the phases of a decoding step.

        Args:
            shape: shape of the decoding alone.
            lengths: caches of the requests that decode.
            prompts: prompts computed in the same step, if any.
            fold: whether identical layers are multiplied.
        """
        if prompts is None:
            return self.in_order(shape, lengths, None, fold=fold)
        return self.in_order(shape.with_prompts(prompts), lengths, prompts.lengths, fold=fold)

    def prefill(self, shape: StepShape, lengths: KvLengths, *, fold: bool = True) -> list[Phase]:
        """Return the phases of a step that computes prompts and nothing else."""
        return self.in_order(shape, None, lengths, fold=fold)

    def fc_time_s(self, shape: StepShape) -> float:
        """Return the seconds of the FC kernels of a decoding step where the policy places them."""
        return sum(part.sums.time_by.get(Category.FC, 0.0) for part in self.layout(shape).parts)
