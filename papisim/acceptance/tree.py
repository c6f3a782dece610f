"""Static draft trees: at each depth the target's token is one of the draft's first choices, with a probability by rank.

A round settles, for every depth, which of the draft's choices after the right path is right (none, beyond the ranks
known). A tree accepts as far as it contains that path, so a larger tree never has fewer accepted; a chain is the tree of
first choices. This is how Medusa chooses its trees, from the accuracy of each head's k-th choice (arXiv 2401.10774,
Section 2.3.3): ranks at different depths count as independent.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import accumulate
from typing import Annotated, Literal

from pydantic import Field, model_validator

from papisim.acceptance.base import AcceptanceOptions, Outcome, Tree
from papisim.acceptance.chain import ChainSequence, IndependentRounds
from papisim.acceptance.draws import uniforms
from papisim.errors import InputError
from papisim.kinds import Example

_WRONG = -1

#: strict: in a list nothing else would refuse ``true`` for 1
Probability = Annotated[float, Field(ge=0, le=1, strict=True)]


class Options(AcceptanceOptions):
    """Hit probabilities.

    Attributes:
        hit: ``hit[d][k]`` is the probability that the draft's choice of rank k (from 0) at depth d + 1 is right, given that the
            path to it is; the last depth stands for all deeper ones.
    """

    kind: Literal["tree"]
    hit: Annotated[list[Annotated[list[Probability], Field(min_length=1)]], Field(min_length=1)]

    @model_validator(mode="after")
    def _adds_up(self) -> Options:
        for depth, ranks in enumerate(self.hit):
            if sum(ranks) > 1 + 1e-9:
                raise ValueError(f"found hit probabilities at depth {depth + 1} that sum to {sum(ranks):g}, above 1")
        return self

    def path_probability(self, path: tuple[int, ...]) -> float:
        """Return the probability that a node's path is right; summed over a tree, its mean accepted."""
        product = 1.0
        for depth, rank in enumerate(path):
            ranks = self.hit[min(depth, len(self.hit) - 1)]
            product *= ranks[rank] if rank < len(ranks) else 0.0
        return product

    @property
    def known_positions(self) -> int:
        """Depths of the table."""
        return len(self.hit)


EXAMPLE = Example({"hit": [[0.6, 0.2, 0.1], [0.5, 0.3]]})


class _Sequence(ChainSequence):
    """One variate a round says which path is right: within the interval of a rank it is uniform again for the next depth."""

    def __init__(self, options: Options, seed: int, request_id: int) -> None:
        super().__init__(options.signals, seed, request_id, options.hit[0][0])
        self._hit, self._upper = options.hit, [list(accumulate(ranks)) for ranks in options.hit]
        self._uniforms = uniforms(seed, request_id)
        self._advance()

    def round_tree(self, tree: Tree) -> Outcome:
        """Verify a tree; signals are those of the path of first choices, as deep as the tree goes."""
        nodes = _checked(tree)
        accepted = next(depth for depth, path in enumerate(self._paths()) if path not in nodes) - 1
        depth = max((len(path) for path in nodes), default=0)
        return replace(self.round(depth), accepted=accepted)

    def _paths(self) -> Iterator[tuple[int, ...]]:
        """Yield the right path, ever deeper, from the root ``()``; where none of the ranks is right, its end is negative."""
        uniform = self._variate
        path: tuple[int, ...] = ()
        yield path
        while True:
            upper = self._upper[min(len(path), len(self._upper) - 1)]
            rank = next((rank for rank, bound in enumerate(upper) if uniform < bound), _WRONG)
            path = (*path, rank)
            yield path
            if rank != _WRONG:
                lower = upper[rank - 1] if rank else 0.0
                uniform = (uniform - lower) / (upper[rank] - lower)

    def _right(self, drafted: int) -> int:
        for depth, path in enumerate(self._paths()):
            if depth > drafted or (path and path[-1] != 0):
                return depth - 1
        raise AssertionError("the right path never ends")

    def _conditional(self, position: int) -> float:
        return self._hit[min(position, len(self._hit)) - 1][0]

    def _advance(self) -> None:
        self._variate = next(self._uniforms)


class Acceptance(IndependentRounds[Options]):
    """Independent rounds."""

    sequence = _Sequence


def _checked(tree: Tree) -> frozenset[tuple[int, ...]]:
    """Return a tree's nodes and its root."""
    nodes = frozenset(tree)
    for path in nodes:
        if not path or min(path) < 0:
            raise InputError(f"found the node {path} in a draft tree, expected ranks from 0, at least one")
        if len(path) > 1 and path[:-1] not in nodes:
            raise InputError(f"found the node {path} in a draft tree without its parent {path[:-1]}")
    return nodes | {()}
