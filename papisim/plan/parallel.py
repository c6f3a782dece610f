"""The parallel plan of a model on a machine: how many ranks and stages share each kind of kernel, and what is left over."""

from __future__ import annotations

from typing import NamedTuple

from papisim.ops.kernel import Group, Linear
from papisim.ops.lower import lower
from papisim.ops.shards import head_shares, stage_layers
from papisim.ops.trace import KernelTrace
from papisim.plan.machine import Machine


class ParallelPlan(NamedTuple):
    """Shares of the kernels of a model, and what sharing costs.

    Attributes:
        tensor_ranks: ranks that share each FC kernel and each expert; an all-reduce follows row-parallel ones.
        pipeline_stages: stages that share the layers.
        fullest_stage_layers: layers of the fullest stage.
        kv_head_copies: ranks on which a KV head lies, averaged over heads.
        idle_attention_ranks: ranks of a stage without a query head.
        fc_padding_ratio: FLOP that ranks compute on padding over those of the model's FC kernels.
        kv_imbalance_ratio: bytes of KV caches on the fullest device over those on a mean one, many requests in service.
    """

    tensor_ranks: int
    pipeline_stages: int
    fullest_stage_layers: int
    kv_head_copies: float
    idle_attention_ranks: int
    fc_padding_ratio: float
    kv_imbalance_ratio: float


def parallel_plan(machine: Machine, trace: KernelTrace) -> ParallelPlan:
    """Return the parallel plan of a model on a machine; FC padding is that of the device on which prompts are computed."""
    roles, model = machine.roles, trace.model
    attention, fullest = machine.pools[roles.attention], stage_layers(model.n_layers, machine.stages)[0]
    copies, idle = 1.0, 0
    if attention.part.is_rank and model.n_heads:
        shares = head_shares(model.n_heads, model.n_kv_heads, attention.count)
        copies = sum(share.n_ranks * share.n_kv_heads for share in shares) / model.n_kv_heads
        idle = attention.count - sum(share.n_ranks for share in shares)
    return ParallelPlan(
        tensor_ranks=roles.tensor_parallel.ranks,
        pipeline_stages=machine.stages,
        fullest_stage_layers=fullest,
        kv_head_copies=copies,
        idle_attention_ranks=idle,
        fc_padding_ratio=_padding_ratio(machine, trace),
        kv_imbalance_ratio=machine.pools[roles.kv].kv_imbalance(model.n_heads, model.n_kv_heads, fullest)
        if model.n_heads
        else 1.0,
    )


def _padding_ratio(machine: Machine, trace: KernelTrace) -> float:
    pool, needed, computed = machine.pools[machine.roles.prefill.fc], 0.0, 0.0
    for kernel, repeats in trace.kernels():
        linear = lower(kernel, trace, 1, experts=(Group(1, 1),)) if kernel.fc is not None else None
        if isinstance(linear, Linear):
            needed += repeats * linear.flop
            computed += repeats * pool.computed_flop(linear)
    return computed / needed - 1
