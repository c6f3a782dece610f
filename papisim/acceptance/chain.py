"""A sequence that a survival curve and one variate a round determine.

With S_j the probability that at least j drafted tokens are right, and u uniform, ``accepted = #{j ≤ drafted : S_j > u}``.
The variate is drawn before the draft's length is known: a longer draft never has fewer accepted.

Trees need the draft's further choices, of which a log of chains says nothing. ``branches`` states them: where the first choice at a position is
wrong, the choice of rank k (from 1) is right in a share ``branches[k − 1]`` of the cases, and acceptance goes on from it as after a first
choice. Without them a tree is refused. A log of trees has levels for positions, and any tree is then taken for the logged one.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import accumulate
from typing import Annotated, ClassVar, Generic, Literal, Self, TypeVar

import numpy as np
from pydantic import Field, model_validator

from papisim.acceptance.base import AcceptanceOptions, Outcome, Proposal, Sequence, Tree
from papisim.acceptance.signals import SignalDrawer, SignalOptions
from papisim.config.base import NonNegative, Spec
from papisim.errors import InputError, NotModelled
from papisim.streams import stream

OptionsT = TypeVar("OptionsT", bound=AcceptanceOptions)


_REFUSED = (
    "a draft tree: this acceptance process was observed on chains, and knows no second choices; state them in 'acceptance.branches', or take a "
    "process of kind 'tree'"
)

#: strict: in a list nothing else would refuse ``true`` for 1
Share = Annotated[float, Field(ge=0, le=1, strict=True)]


class ChainOptions(AcceptanceOptions):
    """What a process says that counts the right tokens of a chain.

    Attributes:
        branches: shares of the first choice's misses in which the draft's second, third, … choice is right; empty where not known.
        topology: what was observed: chains, or trees, whose levels the positions are.
    """

    branches: list[Share] = Field(default_factory=list)
    topology: Literal["chain", "tree"] = "chain"

    @model_validator(mode="after")
    def _branches_add_up(self) -> Self:
        if sum(self.branches) > 1 + 1e-9:
            raise ValueError(f"found 'branches' that sum to {sum(self.branches):g}, above 1")
        if self.branches and self.topology == "tree":
            raise ValueError("found 'branches' of trees, whose levels have all choices in them already")
        return self


class Tempering(Spec):
    """How acceptance depends on the temperature of sampling.

    Attributes:
        observed_at: temperature at which the process was observed.
        log_odds: change of each position's log-odds per unit of temperature.
    """

    observed_at: NonNegative
    log_odds: Annotated[float, Field(strict=True, allow_inf_nan=False)]


class TemperedOptions(ChainOptions):
    """What a process says whose acceptance follows the temperature.

    Attributes:
        temperature: of sampling; as observed, if None.
        tempering: what another temperature does.
    """

    temperature: NonNegative | None = None
    tempering: Tempering | None = None

    @model_validator(mode="after")
    def _temperature_is_known(self) -> Self:
        if self.temperature is not None and self.tempering is None:
            raise ValueError("found 'temperature' without 'tempering', which says what it does to acceptance")
        return self

    @property
    def shift(self) -> float:
        """What the temperature adds to the log-odds of each position."""
        if self.temperature is None or self.tempering is None:
            return 0.0
        return self.tempering.log_odds * (self.temperature - self.tempering.observed_at)

    def at_temperature(self, acceptance: float) -> float:
        """Return the acceptance of a position at the temperature of sampling."""
        if not self.shift or acceptance in (0, 1):
            return acceptance
        return 1 / (1 + math.exp(-(math.log(acceptance / (1 - acceptance)) + self.shift)))


class ChainSequence(ABC):
    """Counts rounds and attaches signals; a kind says how many tokens of the coming round are right."""

    def __init__(
        self,
        signals: SignalOptions | None,
        seed: int,
        request_id: int,
        acceptance: float,
        options: ChainOptions | None = None,
    ) -> None:
        self._number, self._seed, self._request_id = 0, seed, request_id
        self._signals = SignalDrawer(signals, seed, request_id, acceptance) if signals else None
        self._of_trees = options is not None and options.topology == "tree"
        self._branches = list(accumulate(options.branches)) if options is not None else []

    @abstractmethod
    def _right(self, drafted: int) -> int:
        """Return the number of right tokens among the first ``drafted`` of the coming round; changes nothing."""

    @abstractmethod
    def _conditional(self, position: int) -> float:
        """Return the probability that the token at a position (from 1) is right, given those before it are."""

    @abstractmethod
    def _advance(self) -> None:
        """Draw the next round's variate."""

    def proposal(self, max_drafted: int, exit_layer: int | None = None) -> Proposal:
        """Show the coming round's draft up to a length; changes nothing."""
        _check(max_drafted, exit_layer)
        if self._signals is None:
            return Proposal((), ())
        entropy, confidence, _ = self._draw(self._signals, max_drafted)
        return Proposal(tuple(confidence), tuple(entropy))

    def round(self, drafted: int, exit_layer: int | None = None) -> Outcome:
        """Verify the coming round's first ``drafted`` tokens and move on."""
        _check(drafted, exit_layer)
        accepted = self._right(drafted)
        if self._signals is None:
            outcome = Outcome(drafted, accepted)
        else:
            entropy, confidence, kld = self._draw(self._signals, drafted)
            outcome = Outcome(drafted, accepted, tuple(kld), tuple(confidence), tuple(entropy))
        self._number += 1
        self._advance()
        return outcome

    def round_tree(self, tree: Tree) -> Outcome:
        """Verify a tree and move on; signals are those of the path of first choices, as deep as the tree goes.

        Raises:
            NotModelled: the tree has other than first choices, and the process does not know them.
        """
        nodes = set(tree)
        depth = max((len(path) for path in nodes), default=0)
        if self._of_trees or first_choices(tree) == len(nodes):
            return self.round(depth)
        if not self._branches:
            raise NotModelled(_REFUSED)
        right = self._right(depth)
        accepted = next(length for length, path in enumerate(self._walk(right), 1) if path not in nodes) - 1
        return replace(self.round(depth), accepted=accepted)

    def _walk(self, right: int) -> Iterator[tuple[int, ...]]:
        """Yield the right path, ever deeper: ``right`` first choices, then a further choice, and on from there."""
        rng = stream(self._seed, "acceptance", "branches", self._request_id, self._number)
        path: tuple[int, ...] = ()
        while True:
            follows = len(path) < right
            if len(path) > right:  # after a further choice, the next first choice is right or not as after any
                follows = rng.random() < self._conditional(len(path) + 1)
            path = (*path, 0 if follows else self._branch(rng))
            yield path

    def _branch(self, rng: np.random.Generator) -> int:
        """Return the rank of the choice that is right where the first is not; a rank that no tree has where none is."""
        uniform = rng.random()
        return next((rank for rank, bound in enumerate(self._branches, 1) if uniform < bound), -1)

    def _draw(self, signals: SignalDrawer, width: int) -> tuple[list[float], list[float], list[float]]:
        # one position more: whether the token after the last shown one is right must not change what is shown
        return signals.draw(self._number, self._right(width + 1), width, self._conditional)


class IndependentRounds(Generic[OptionsT]):
    """The base of the processes whose sequences follow from options, seed and request alone.

    Attributes:
        sequence: makes a sequence from those three.
    """

    sequence: ClassVar[Callable[..., Sequence]]

    def __init__(self, options: OptionsT, seed: int) -> None:
        self._options, self._seed = options, seed

    def start(self, request_id: int) -> Sequence:
        """Return a request's sequence."""
        return type(self).sequence(self._options, self._seed, request_id)


def first_choices(tree: Tree) -> int:
    """Return the depth to which a tree holds the draft's first choices."""
    nodes, depth = set(tree), 0
    while (0,) * (depth + 1) in nodes:
        depth += 1
    return depth


def _check(drafted: int, exit_layer: int | None) -> None:
    if drafted < 0:
        raise InputError(f"found {drafted} drafted tokens, expected 0 or more")
    if exit_layer is not None:
        raise NotModelled("exit layers: this acceptance process knows none; take one of kind 'early_exit'")
