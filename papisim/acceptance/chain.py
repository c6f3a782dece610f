"""A sequence that a survival curve and one variate a round determine.

With S_j the probability that at least j drafted tokens are right, and u uniform, ``accepted = #{j ≤ drafted : S_j > u}``.
The variate is drawn before the draft's length is known: a longer draft never has fewer accepted.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, Generic, TypeVar

from papisim.acceptance.base import AcceptanceOptions, Outcome, Proposal, Sequence, Tree
from papisim.acceptance.signals import SignalDrawer, SignalOptions
from papisim.errors import InputError, NotModelled

OptionsT = TypeVar("OptionsT", bound=AcceptanceOptions)


class ChainSequence(ABC):
    """Counts rounds and attaches signals; a kind says how many tokens of the coming round are right."""

    def __init__(self, signals: SignalOptions | None, seed: int, request_id: int, acceptance: float) -> None:
        self._number = 0
        self._signals = SignalDrawer(signals, seed, request_id, acceptance) if signals else None

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
        """Verify the path of first choices of a tree; the process knows no others, so they are never right."""
        return self.round(first_choices(tree))

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
