"""Mixtures of experts as engines run them: each token goes to its experts alone, whichever way a router chooses them.

Routers that do not call ``topk`` over all experts (look-ups of the token, sparse mixers) choose with values that meta tensors
do not have; the module of the experts is handed a seeded draw instead.

Llama 4's module multiplies every token with every expert and masks the result. Engines send each token to its experts alone,
scaled before the expert by its score: that is what runs here, with the module's own weights.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from types import MethodType
from typing import Final

import torch
from torch.nn import functional

from papisim.tracing.record import Foreign, Recorder

#: argument by which a module of experts is told those of each token
_CHOICE: Final = "top_k_index"


@contextmanager
def looped_experts(model: Foreign, recorder: Recorder) -> Iterator[None]:
    """Make every mixture of experts send tokens to the experts that are drawn for them, one expert after another."""
    dense = [module for module in model.modules() if type(module).__name__ == "Llama4TextMoe"]
    for module in dense:
        module.forward = MethodType(_sparse, module)
    chosen = [
        module.register_forward_pre_hook(partial(_drawn, recorder), with_kwargs=True)
        for module in model.modules() if _CHOICE in inspect.signature(module.forward).parameters
    ]  # fmt: skip
    try:
        yield
    finally:
        for hook in chosen:
            hook.remove()
        for module in dense:
            del module.forward


def _drawn(recorder: Recorder, experts: Foreign, args: tuple[Foreign, ...], kwargs: dict[str, Foreign]) -> Foreign:
    """Replace a choice of experts without values among the arguments of their module."""
    given = inspect.signature(experts.forward).bind(*args, **kwargs)
    if given.arguments[_CHOICE].is_meta:
        given.arguments[_CHOICE] = recorder.draw_experts(given.arguments[_CHOICE])
    return given.args, given.kwargs


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
