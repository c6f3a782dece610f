"""How the ranks of a machine share a model: the ``parallel:`` section of a system."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from papisim.config.base import Count, Spec


class Wire(Spec):
    """Format of a token-row that is sent to experts, or back from them.

    Attributes:
        bits: bits of an element.
        group: elements that share a scale.
        scale_bits: bits of a scale; 0 without scales.
    """

    bits: Literal[16, 8] = 16
    group: Count = 128
    scale_bits: Annotated[int, Field(ge=0)] = 0


class Nodes(Spec):
    """Groups of ranks that the links of tensor parallelism join; ranks of different nodes reach each other over a network.

    Attributes:
        ranks: ranks of a node.
        link: the network, one link per rank.
    """

    ranks: Count
    link: str


class Parallel(Spec):
    """The numbers of ranks that share attention and experts; each is 1 unless given, and all FC kernels are then cut over all ranks.

    Ranks are numbered so that those of an attention group follow one another, and so that nodes are runs of ranks, too.

    Attributes:
        data_ranks: attention groups. Each group holds all weights but the experts', cut over its own ranks, and the caches of its
            own requests; the ranks of tensor parallelism are those of one group.
        context_ranks: ranks of a group over which each cache is split by tokens; heads are shared among the others.
        expert_ranks: ranks, or groups of ranks, that experts are dealt out to; each expert is cut over the ranks of a group.
        nodes: nodes of the ranks; None if one set of links joins all.
        dispatch: format of the rows on their way to the experts.
        combine: format of the rows on their way back.
    """

    data_ranks: Count = 1
    context_ranks: Count = 1
    expert_ranks: Count = 1
    nodes: Nodes | None = None
    dispatch: Wire = Wire()
    combine: Wire = Wire()

    @property
    def shares(self) -> dict[str, int]:
        """The numbers of ranks that are not 1, by field."""
        fields = ("data_ranks", "context_ranks", "expert_ranks")
        return {field: getattr(self, field) for field in fields if getattr(self, field) != 1}

    def contradictions(self, ranks: int) -> Iterator[tuple[str, str]]:
        """Yield the fields that contradict the number of ranks of a stage, or are not implemented together, each with the reason."""
        group = ranks // self.data_ranks
        if ranks % self.data_ranks:
            yield "data_ranks", f"found {self.data_ranks}, expected a divisor of the {ranks} ranks of a stage"
        elif group % self.context_ranks:
            yield (
                "context_ranks",
                f"found {self.context_ranks}, expected a divisor of the {group} ranks of an attention group",
            )
        if ranks % self.expert_ranks:
            yield "expert_ranks", f"found {self.expert_ranks}, expected a divisor of the {ranks} ranks of a stage"
        elif self.data_ranks > 1 and self.expert_ranks not in (1, ranks):
            yield (
                "expert_ranks",
                f"found {self.expert_ranks}: with attention groups (data_ranks {self.data_ranks}), experts dealt out to groups of "
                f"ranks are not implemented; expected 1, all experts cut over all ranks, or {ranks}",
            )
        yield from self._uneven_nodes(ranks)

    def _uneven_nodes(self, ranks: int) -> Iterator[tuple[str, str]]:
        if self.nodes is None or self.nodes.ranks >= ranks:
            return
        own, sizes = (
            self.nodes.ranks,
            {ranks, ranks // self.data_ranks, self.context_ranks, ranks // self.expert_ranks},
        )
        uneven = sorted(size for size in sizes if size % own and own % size)
        if uneven:
            yield (
                "nodes.ranks",
                f"found {own}: collectives of {uneven[0]} ranks over nodes that they fill unevenly are not implemented; expected a "
                f"divisor or a multiple of {uneven[0]}",
            )


#: one attention group, no split of caches, and every expert cut over all ranks
TENSOR_ONLY = Parallel()
