"""The attention that models run while they are recorded: ours, under a name of its own, one fused kernel per call.

transformers looks attention up by name, so that a function of ours serves every model that asks for one, with whatever the
model hands over: K and V of other widths, sinks, soft caps, windows. Models that call torch's
``scaled_dot_product_attention`` themselves (Falcon) reach the same function. Masks never enter a trace: which tokens a query
sees is stated by the cache of the layer (:mod:`papisim.tracing.caches`).

**Multi-head latent attention** (DeepSeek-V2, 2024, Section 2.1.2) caches one vector per token, from which transformers expands
K and V of every head in every step. Serving engines absorb the two expansions into the query and the context instead, and
attend to the latent vectors themselves: that is what is recorded, as products of one weight per head.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Final

import torch
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from papisim.errors import NotModelled
from papisim.ops.kernel import Attention
from papisim.ops.trace_kernels import AttentionShape, PromptHeads
from papisim.tracing.caches import RecordedCache
from papisim.tracing.record import ATTENTION, Foreign, Fused, Recorder

#: name under which transformers finds our attention
IMPLEMENTATION: Final = "papisim"
_SDPA: Final = "sdpa"
Operands = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
#: divide, hyperbolic tangent and multiply of each score
SOFT_CAP_FLOP: Final = 3


def implementation_for(model_class: Foreign) -> str:
    """Return the name of the attention to build a model with: ours, or torch's where the model calls that itself."""
    looks_up = "ALL_ATTENTION_FUNCTIONS" in vars(sys.modules[model_class.__module__])
    return _SDPA if model_class._supports_sdpa and not looks_up else IMPLEMENTATION


@contextmanager
def recorded_attention(model: Foreign, recorder: Recorder, cache: RecordedCache | None) -> Iterator[None]:
    """Make each attention of the model one fused kernel that reads the cache of its layer."""
    attend = _Attention(recorder, cache)
    original = torch.nn.functional.scaled_dot_product_attention
    latent = [module for module in model.modules() if _is_latent(module)]
    ALL_ATTENTION_FUNCTIONS[IMPLEMENTATION] = ALL_ATTENTION_FUNCTIONS[_SDPA] = attend
    torch.nn.functional.scaled_dot_product_attention = attend.direct
    for module in latent:
        module.expand_kv = lambda compressed, rotary: (compressed, rotary)
    try:
        with _unrepeated_heads(model, recorder):
            yield
    finally:
        torch.nn.functional.scaled_dot_product_attention = original
        del ALL_ATTENTION_FUNCTIONS[_SDPA]
        for module in latent:
            del module.expand_kv


@contextmanager
def _unrepeated_heads(model: Foreign, recorder: Recorder) -> Iterator[None]:
    """Keep K and V of Falcon's grouped queries as they are cached; transformers repeats them for each query head before."""
    repeating = [module for module in model.modules() if getattr(module, "new_decoder_architecture", False)]
    splitting = [module for module in repeating if hasattr(module, "_split_heads")]
    for module in splitting:
        module.new_decoder_architecture = False
        module._split_heads = partial(_split_heads, module, recorder)
    try:
        yield
    finally:
        for module in splitting:
            module.new_decoder_architecture = True
            del module._split_heads


def _split_heads(module: Foreign, recorder: Recorder, fused: torch.Tensor) -> Operands:
    requests, tokens, _ = fused.shape
    grouped = fused.view(requests, tokens, module.num_kv_heads, -1, module.head_dim)
    with recorder.unrecorded():
        query = grouped[..., :-2, :].flatten(2, 3)
        recorder.alias(query, fused)
    return query, grouped[..., -2, :], grouped[..., -1, :]


def _is_latent(module: Foreign) -> bool:
    return hasattr(module, "expand_kv") and hasattr(module, "kv_b_proj")


def _not_recorded(*_: Foreign, **__: Foreign) -> Foreign:
    raise NotModelled("attention ran outside a recording")


ALL_ATTENTION_FUNCTIONS.register(IMPLEMENTATION, _not_recorded)


class _Attention:
    """The attention function, for one recording; without a cache shapes alone are computed."""

    def __init__(self, recorder: Recorder, cache: RecordedCache | None) -> None:
        self._recorder, self._cache = recorder, cache

    def __call__(
        self,
        module: Foreign,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        mask: torch.Tensor | None = None,
        *_: Foreign,
        **options: Foreign,
    ) -> Foreign:
        if self._cache is not None and mask is not None and mask is not self._cache.mask:
            raise NotModelled(
                f"{self._recorder.module} hides cached tokens, or biases their scores, by a mask of its own (sparse or block "
                "attention, relative positions), of which a trace cannot say what is read"
            )
        if _is_latent(module):
            return self._latent(module, query, key, value), None
        return self._attend((query, key, value), options.get("s_aux"), options.get("softcap")), None

    def direct(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *_: Foreign, **__: Foreign
    ) -> torch.Tensor:
        """Replace torch's function, which has the heads before the tokens in its result, too."""
        return self._attend((query, key, value)).transpose(1, 2)

    def _attend(self, operands: Operands, sinks: Foreign = None, soft_cap: float | None = None) -> torch.Tensor:
        query, key, value = operands
        requests, heads, tokens, width = query.shape
        shape = AttentionShape(
            n_heads=heads, n_kv_heads=key.shape[1], head_dim=width, value_dim=_if_other(value.shape[3], width),
            **self._seen(key, value),
        )  # fmt: skip
        softmax = (
            requests * heads * tokens * key.shape[2] * (Attention.SOFTMAX_FLOP + (SOFT_CAP_FLOP if soft_cap else 0))
        )
        softmax += 0 if sinks is None else requests * heads * tokens * Attention.SOFTMAX_FLOP
        reads = operands if sinks is None else (*operands, sinks)
        return self._fused(reads, Fused(attention=shape, elementwise_flop=softmax), operands)

    def _fused(self, reads: Sequence[torch.Tensor], facts: Fused, operands: Operands) -> torch.Tensor:
        writes: list[tuple[torch.Tensor, torch.Tensor]] = []
        with self._recorder.scope(ATTENTION, reads, writes, facts):
            context = _products(*operands)
            writes.append((context, context))
        return context

    def _seen(self, key: torch.Tensor, value: torch.Tensor) -> dict[str, Foreign]:
        if self._cache is None:
            return {}
        owners = {self._cache.owner(self._recorder.storages(tensor)) for tensor in (key, value)}
        (owner,) = owners if len(owners) == 1 else (None,)
        if owner is None:
            where = self._recorder.module
            raise NotModelled(f"{where} attends to something other than the cached K and V of one layer")
        return {"cache": self._cache.spec(owner)}

    def _latent(
        self, module: Foreign, query: torch.Tensor, latent: torch.Tensor, rotary: torch.Tensor
    ) -> torch.Tensor:
        """Absorbed attention; ``latent`` and ``rotary`` are what the cache holds of each token."""
        requests, heads, tokens, _ = query.shape
        plain, rank, width = module.qk_nope_head_dim, module.kv_lora_rank, module.v_head_dim
        weight = module.kv_b_proj.weight.view(heads, plain + width, rank)
        recorder = self._recorder
        with self._addressed(query) as reordered:
            by_head = reordered(query[..., :plain].permute(1, 0, 2, 3).reshape(heads, requests * tokens, plain))
        with recorder.labelled("q_absorb"):
            absorbed = torch.bmm(by_head, weight[:, :plain])
        shape = AttentionShape(
            n_heads=heads, n_kv_heads=1, head_dim=rank + rotary.shape[3], value_dim=rank,
            prompt=PromptHeads(n_kv_heads=heads, head_dim=query.shape[3], value_dim=width),
            **self._seen(latent, rotary),
        )  # fmt: skip
        if shape.cache.sees == "selected":  # each token of a prompt has a choice of its own, too
            shape = shape.model_copy(update={"prompt": None})
        shape = shape.model_copy(update={"cache": shape.cache.model_copy(update={"latent": True})})
        facts = Fused(
            attention=shape, elementwise_flop=requests * heads * tokens * latent.shape[2] * Attention.SOFTMAX_FLOP
        )
        with recorder.unrecorded():
            keys = torch.cat([latent, rotary], dim=-1)
            queries = torch.cat(
                [absorbed.view(heads, requests, tokens, rank).transpose(0, 1), query[..., plain:]], dim=-1
            )
        context = self._fused([absorbed, query[..., plain:], latent, rotary], facts, (queries, keys, latent))
        with recorder.labelled("v_up"):
            values = torch.bmm(
                context.view(requests * tokens, heads, rank).transpose(0, 1), weight[:, plain:].transpose(1, 2)
            )
        with self._addressed(values) as reordered:
            return reordered(values.transpose(0, 1).reshape(requests, tokens, heads, width).contiguous())

    @contextmanager
    def _addressed(self, source: torch.Tensor) -> Iterator[Callable[[torch.Tensor], torch.Tensor]]:
        """Reorder elements that an engine's kernel reads, or writes, where they belong."""

        def reordered(tensor: torch.Tensor) -> torch.Tensor:
            self._recorder.alias(tensor, source)
            return tensor

        with self._recorder.unrecorded():
            yield reordered


def _if_other(value: int, than: int) -> int | None:
    return value if value != than else None


def _products(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Dispatch the two matrix products and return the context, shape (requests, tokens, heads, width)."""
    requests, heads, tokens, width = query.shape
    kv_heads, rows = key.shape[1], heads // key.shape[1] * tokens
    scores = torch.matmul(query.reshape(requests, kv_heads, rows, width), key.transpose(2, 3))
    context = torch.matmul(scores, value).reshape(requests, heads, tokens, value.shape[3])
    return context.transpose(1, 2).contiguous()
