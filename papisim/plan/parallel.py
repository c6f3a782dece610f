"""The parallel plan of a model on a machine: how many ranks and stages share each kind of kernel, and what is left over."""

from __future__ import annotations

from typing import NamedTuple

from papisim.ops.experts import Routed, Routing, Spread, rank_loads
from papisim.ops.kernel import Group, Linear
from papisim.ops.lower import lower
from papisim.ops.shards import head_shares, stage_layers
from papisim.ops.trace import KernelTrace
from papisim.plan.machine import Machine
from papisim.plan.sharing import SharedMachines


class ParallelPlan(NamedTuple):
    """Shares of the kernels of a model, and what sharing costs.

    Attributes:
        tensor_ranks: ranks that share each FC kernel; an all-reduce follows row-parallel ones.
        data_ranks: attention groups of these ranks, each with requests and weights of its own.
        context_ranks: ranks that share the tokens of each cache.
        expert_ranks: ranks, or groups of ranks, that experts are dealt out to.
        pipeline_stages: stages that share the layers.
        fullest_stage_layers: layers of the fullest stage.
        kv_head_copies: ranks of a group on which a KV head lies, averaged over heads; ranks that share its tokens count once.
        idle_attention_ranks: ranks of a stage without a query head.
        fc_padding_ratio: FLOP that ranks compute on padding over those of the model's FC kernels.
        kv_imbalance_ratio: bytes of KV caches on the fullest device over those on a mean one, many requests in service.
        expert_imbalance_ratio: rows of experts on the fullest rank over those on a mean one, averaged over layers.
    """

    tensor_ranks: int
    data_ranks: int
    context_ranks: int
    expert_ranks: int
    pipeline_stages: int
    fullest_stage_layers: int
    kv_head_copies: float
    idle_attention_ranks: int
    fc_padding_ratio: float
    kv_imbalance_ratio: float
    expert_imbalance_ratio: float


def parallel_plan(machine: Machine, trace: KernelTrace, routing: Routing, rows: int, copies: int = 0) -> ParallelPlan:
    """Return the parallel plan of a model on a machine.

    FC padding is that of the device on which prompts are computed.

    Args:
        machine: the hardware.
        trace: the model.
        routing: how tokens choose experts.
        rows: token-rows at which the imbalance of experts is drawn.
        copies: further copies of experts of a layer.
    """
    roles, model, shared = machine.roles, trace.model, SharedMachines(machine, copies)
    parallel, attention = machine.parallel, shared.heads.pools[roles.attention]
    fullest = stage_layers(model.n_layers, machine.stages)[0]
    head_copies, idle = 1.0, 0
    if attention.part.is_rank and model.n_heads:
        shares = head_shares(model.n_heads, model.n_kv_heads, attention.count)
        head_copies = sum(share.n_ranks * share.n_kv_heads for share in shares) / model.n_kv_heads
        idle = attention.count - sum(share.n_ranks for share in shares)
    return ParallelPlan(
        tensor_ranks=roles.tensor_parallel.ranks,
        data_ranks=parallel.data_ranks,
        context_ranks=parallel.context_ranks,
        expert_ranks=parallel.expert_ranks,
        pipeline_stages=machine.stages,
        fullest_stage_layers=fullest,
        kv_head_copies=head_copies,
        idle_attention_ranks=idle * parallel.data_ranks * parallel.context_ranks,
        fc_padding_ratio=_padding_ratio(shared, trace),
        kv_imbalance_ratio=shared.heads.pools[roles.kv].kv_imbalance(model.n_heads, model.n_kv_heads, fullest)
        if model.n_heads
        else 1.0,
        expert_imbalance_ratio=_imbalance(shared, trace, routing, rows),
    )


def _imbalance(shared: SharedMachines, trace: KernelTrace, routing: Routing, rows: int) -> float:
    """Return the rows of the fullest rank of experts over the mean, averaged over the layers that have experts."""
    model, ranks = trace.model, shared.parallel.expert_ranks
    layers = [
        layer
        for block in trace.blocks
        if any(kernel.per_expert for kernel in block.kernels)
        for layer in block.layer_indices
    ]
    if ranks == 1 or not layers:
        return 1.0
    spread = Spread(ranks, shared.expert_copies)
    fullest = 0
    for layer in layers:
        routed = Routed(layer, rows, rows, model.n_experts, model.n_experts_per_token)
        fullest += max(sum(own) for own in rank_loads(routing, routed, spread).rows)
    return fullest * ranks / (rows * model.n_experts_per_token * len(layers))


def _padding_ratio(shared: SharedMachines, trace: KernelTrace) -> float:
    needed, computed, device = 0.0, 0.0, shared.whole.roles.prefill.fc
    for kernel, repeats in trace.kernels():
        linear = lower(kernel, trace, 1, experts=(Group(1, 1),)) if kernel.fc is not None else None
        if isinstance(linear, Linear):
            pool = (shared.experts if kernel.per_expert else shared.group).pools[device]
            needed += repeats * linear.flop
            computed += repeats * pool.computed_flop(linear)
    return computed / needed - 1
