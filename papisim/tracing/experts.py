"""Mixtures of experts that transformers computes densely, run expert by expert as all others.

Llama 4's module multiplies every token with every expert and masks the result. Engines send each token to its experts alone,
scaled before the expert by its score: that is what runs here, with the module's own weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import MethodType

import torch
from torch.nn import functional

from papisim.tracing.record import Foreign


@contextmanager
def looped_experts(model: Foreign) -> Iterator[None]:
    """Make mixtures of experts that are computed densely send tokens to their experts."""
    dense = [module for module in model.modules() if type(module).__name__ == "Llama4TextMoe"]
    for module in dense:
        module.forward = MethodType(_sparse, module)
    try:
        yield
    finally:
        for module in dense:
            del module.forward


def _sparse(moe: Foreign, hidden_states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    rows = hidden_states.reshape(-1, moe.hidden_dim)
    logits = functional.linear(rows, moe.router.weight)
    best, chosen = torch.topk(logits, moe.top_k, dim=1)
    scores = torch.sigmoid(best.float()).to(rows.dtype)
    out = moe.shared_expert(rows)
    mask = functional.one_hot(chosen, num_classes=moe.num_experts).permute(2, 1, 0)
    for expert in torch.greater(mask.sum(dim=(-1, -2)), 0).nonzero():
        position, token = torch.where(mask[expert[0]])
        routed = rows[token] * scores[token, position, None]
        gate, up = (routed @ moe.experts.gate_up_proj[expert[0]]).chunk(2, dim=-1)
        down = (up * moe.experts.act_fn(gate)) @ moe.experts.down_proj[expert[0]]
        out.index_add_(0, token, down)
    return out, logits
