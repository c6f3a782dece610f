"""Messages among the ranks of a stage, in one node or in several.

Links of tensor parallelism join the ranks of a node, a network joins nodes (:class:`papisim.config.parallel.Nodes`). A collective of N
ranks that fill n nodes of g ranks each has two levels, of which each moves the least bytes there (NCCL and MPI libraries do so; Thakur,
Rabenseifner and Gropp, IJHPCA 2005). A tensor of B bytes takes

- summed on all: a reduce-scatter in each node, an all-reduce of ``B / g`` between ranks of equal place, an all-gather in each node;
- summed, each rank with its share: a reduce-scatter of B in each node, one of ``B / g`` between nodes;
- gathered: the same in the other order.

Token-rows on their way to experts go straight to their ranks: in the node over its links, to others over the network, both at once, so
that the slower of both sets the time.
"""

from __future__ import annotations

from collections.abc import Iterator

from papisim.devices.link import Rows
from papisim.ops.experts import RankLoads
from papisim.plan.machine import Machine
from papisim.plan.phase import Exchange, Message, Phase


def all_reduce(machine: Machine, payload_bytes: float, ranks: int) -> Iterator[Phase]:
    """Yield the phases in which a tensor is summed over ranks, all of which get the sum."""
    link, nodes = machine.roles.tensor_parallel.link, machine.parallel.nodes
    if nodes is None or ranks <= nodes.ranks:
        yield machine.exchanged(link, Message(payload_bytes, ranks, Exchange.ALL_REDUCE))
        return
    n = ranks // nodes.ranks
    halves = (
        Message(payload_bytes, nodes.ranks, Exchange.REDUCE_SCATTER),
        Message(payload_bytes, nodes.ranks, Exchange.ALL_GATHER),
    )
    between = Message(payload_bytes / nodes.ranks, n, Exchange.ALL_REDUCE)
    if nodes.ranks > 1:
        yield machine.exchanged(link, halves[0], n)
    yield machine.exchanged(nodes.link, between, nodes.ranks)
    if nodes.ranks > 1:
        yield machine.exchanged(link, halves[1], n)


def exchange(machine: Machine, payload_bytes: float, ranks: int, what: Exchange) -> Iterator[Phase]:
    """Yield the phases of a reduce-scatter or an all-gather of a tensor over ranks."""
    link, nodes = machine.roles.tensor_parallel.link, machine.parallel.nodes
    if nodes is None or ranks <= nodes.ranks:
        yield machine.exchanged(link, Message(payload_bytes, ranks, what))
        return
    inner = machine.exchanged(link, Message(payload_bytes, nodes.ranks, what), ranks // nodes.ranks)
    outer = machine.exchanged(
        nodes.link, Message(payload_bytes / nodes.ranks, ranks // nodes.ranks, what), nodes.ranks
    )
    phases = (inner, outer) if what is Exchange.REDUCE_SCATTER else (outer, inner)
    yield from (phase for phase in phases if phase.time_s)


def to_experts(machine: Machine, loads: RankLoads, row_bytes: int, what: Exchange) -> Phase:
    """Return the phase in which token-rows go to the ranks of their experts, or results back; busy is the slower level alone."""
    assert loads.once_per_expert is not None, "of rows that are sent"
    assert loads.once_per_rank is not None, "of rows that are sent"
    each, once = loads.once_per_expert, loads.once_per_rank
    nodes, ranks = machine.parallel.nodes, len(loads.rows)
    inner = Rows(each.inner, once.inner, each.inner_total, once.inner_total)
    levels = {machine.roles.tensor_parallel.link: inner}
    if nodes is not None and nodes.ranks < ranks:
        levels[nodes.link] = Rows(each.outer, once.outer, each.outer_total, once.outer_total)
    phases = []
    for link, rows in levels.items():
        sent = Rows(*(row_bytes * value for value in rows))
        phases.append(machine.exchanged(link, Message(sent.per_expert, ranks, what, sent)))
    slower = max(phases, key=lambda phase: phase.time_s)
    others = (phase.energy for phase in phases if phase is not slower)
    return slower._replace(energy=sum(others, slower.energy))
