"""The ranks that share each kind of kernel, as machines of their own.

Of N ranks of a stage, D attention groups (``data_ranks``) have ``N / D`` each. A group's FC kernels but the experts' are cut over its
ranks, and so are the heads of attention, or over ``N / (D·C)`` if each cache is split over C ranks (``context_ranks``). Experts are dealt
out to E ranks (``expert_ranks``), each of which is ``N / E`` ranks that cut every expert. What follows the experts:

- one attention group: all ranks have all rows, compute their own experts' part, and add up with an all-reduce;
- several groups, experts on all N ranks: rows are dispatched to the ranks of their experts, results are combined where they came from;
- several groups, experts cut over all ranks: an all-gather of the rows before, a reduce-scatter of the results after.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from papisim.config.parallel import Parallel, Wire
from papisim.errors import InputError, NotModelled
from papisim.ops.experts import RankLoads, Spread
from papisim.ops.formats import Packed
from papisim.ops.trace import KernelTrace
from papisim.plan.collectives import exchange, to_experts
from papisim.plan.machine import Machine
from papisim.plan.phase import Exchange, Phase


@dataclass(frozen=True)
class SharedMachines:
    """The machine as kernels of each kind see it.

    Attributes:
        whole: the machine; in a pipeline, one stage.
        expert_copies: further copies of experts of a layer.
    """

    whole: Machine
    expert_copies: int = 0

    @property
    def parallel(self) -> Parallel:
        """How the ranks share a model."""
        return self.whole.parallel

    @cached_property
    def ranks(self) -> int:
        """Ranks of the machine, where it has any."""
        return self.whole.pools[self.whole.roles.attention].count

    @property
    def context_ranks(self) -> int:
        """Ranks over which each cache is split."""
        return self.parallel.context_ranks

    @cached_property
    def group(self) -> Machine:
        """One attention group."""
        data = self.parallel.data_ranks
        return self.whole if data == 1 else self.whole.of_ranks(self.ranks // data)

    @cached_property
    def heads(self) -> Machine:
        """The ranks of a group that share the heads of decoding attention, each with a part of the tokens."""
        context = self.parallel.context_ranks
        return self.group if context == 1 else self.whole.of_ranks(self.ranks // self.parallel.data_ranks // context)

    @cached_property
    def experts(self) -> Machine:
        """The ranks that cut each expert."""
        parallel = self.parallel
        if parallel.data_ranks == parallel.expert_ranks == 1:
            return self.whole
        return self.whole.of_ranks(self.ranks // parallel.expert_ranks)

    @property
    def senders(self) -> int:
        """Ranks that each have some of the rows before experts; 1 if all ranks have all rows."""
        return self.ranks if self.parallel.data_ranks > 1 and self.parallel.expert_ranks > 1 else 1

    @property
    def sums_experts(self) -> bool:
        """Whether the results of experts are added up by an all-reduce."""
        return self.parallel.data_ranks == 1

    def spread(self, groups: Iterable[tuple[int, int]]) -> Spread:
        """Return the ranks of experts, and the rows that each has before, from the rows of attention groups and their numbers."""
        expert_ranks, nodes = self.parallel.expert_ranks, self.parallel.nodes
        if self.senders == 1:
            return Spread(expert_ranks, self.expert_copies)
        tensor = self.ranks // self.parallel.data_ranks
        own = [rows for group_rows, n in groups for rows in [*_evenly(group_rows, tensor)] * n]
        idle = [0] * (self.ranks - len(own))
        return Spread(
            expert_ranks, self.expert_copies, (*own, *idle), 0 if nodes is None else min(nodes.ranks, self.ranks)
        )

    def to_experts(self, loads: RankLoads, rows: int, hidden: int, what: Exchange) -> Iterator[Phase]:
        """Yield the phases in which the rows of all attention groups reach experts, or their results return.

        Args:
            loads: rows of the experts of each rank, and what is sent.
            rows: token-rows of all groups.
            hidden: elements of a row.
            what: dispatch or combine.
        """
        if self.parallel.data_ranks == 1:
            return
        is_dispatch = what is Exchange.DISPATCH
        row_bytes = _row_bytes(self.parallel.dispatch if is_dispatch else self.parallel.combine, hidden)
        if self.senders > 1:
            yield to_experts(self.whole, loads, row_bytes, what)
            return
        collective = Exchange.ALL_GATHER if is_dispatch else Exchange.REDUCE_SCATTER
        yield from exchange(self.whole, rows * row_bytes, self.ranks, collective)


def refuse_shares(machine: Machine, what: str) -> None:
    """Refuse what is priced for kernels that all ranks share.

    Raises:
        NotModelled: attention or experts are shared in another way.
    """
    shares = machine.parallel.shares
    if shares:
        fields = ", ".join(f"parallel.{field} {value}" for field, value in shares.items())
        raise NotModelled(f"{what} on ranks that share attention or experts ({fields}) is not modelled")


def check_model(machine: Machine, trace: KernelTrace, expert_copies: int = 0) -> None:
    """Refuse shares that a model does not have.

    Raises:
        InputError: experts are dealt out that the model does not have, or copied where each rank has a part of all.
        NotModelled: states would be split by tokens.
    """
    parallel, n_experts = machine.parallel, trace.model.n_experts
    if parallel.expert_ranks > 1 and parallel.expert_ranks > (n_experts if trace.has_experts else 0):
        there = f"the {n_experts} experts" if trace.has_experts else "1, since there are no experts in the layers"
        raise InputError(
            f"found {parallel.expert_ranks}, expected at most {there} of {trace.name}", field="parallel.expert_ranks"
        )
    if expert_copies and parallel.expert_ranks == 1:
        raise InputError(
            f"found {expert_copies}, but every rank has a part of every expert; copies need parallel.expert_ranks",
            field="experts.copies",
        )
    if parallel.context_ranks > 1 and trace.has_states:
        raise NotModelled(f"parallel.context_ranks {parallel.context_ranks} of layers with states ({trace.name})")


def _evenly(rows: int, ranks: int) -> Sequence[int]:
    return [rows // ranks + (rank < rows % ranks) for rank in range(ranks)]


def _row_bytes(wire: Wire, hidden: int) -> int:
    return Packed(wire.bits, wire.group, wire.scale_bits).n_bytes(1, hidden)
