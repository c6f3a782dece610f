"""Run one decode iteration of a model on meta tensors and record it.

Two things that torch does here are artefacts of running it off-GPU or of transformers' default cache, and must not
enter a trace. Both are recorded as one fused kernel whose traffic is that of the operands handed over:

- **KV append.** ``DynamicCache`` concatenates the whole cache with the new tokens in every step, so it would move
  every cached byte. A serving engine writes the new tokens' K and V into their slots: that is what is recorded.
- **Attention.** Without a fused kernel torch repeats K and V for each query head, casts them up and stores the scores.
  Recorded are reads of Q and of K and V at the heads of the cache, and a write of the context. Its matrix FLOPs are
  those of the matrix products torch really dispatched; softmax counts 5 FLOP for each score.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoModelForCausalLM, DynamicCache
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.utils import logging as transformers_logging

from papisim.errors import NotModelled, PapisimError
from papisim.ops.trace import Point
from papisim.tracing.record import Recorder, Recording, RecordingMode

ATTENTION = "attention"
KV_APPEND = "kv_append"
_IMPLEMENTATION = "sdpa"
#: fields that every configuration must have
_FACTS = ("num_hidden_layers", "hidden_size", "vocab_size")


@dataclass(frozen=True)
class Experts:
    """Experts of a layer and of a token; both 0 for a dense model."""

    n_experts: int
    n_per_token: int


def experts_of(config: Any) -> Experts:
    """Read the number of experts from a configuration, under any of the names in use."""
    names = ("num_local_experts", "num_experts", "n_routed_experts")
    n_experts: Any = next((value for name in names if (value := getattr(config, name, None))), 0)
    n_per_token: Any = getattr(config, "num_experts_per_tok", None) or getattr(config, "top_k", 0)
    return Experts(int(n_experts), int(n_per_token)) if n_experts else Experts(0, 0)


def build(config: Any, name: str, dtype: str) -> Any:
    """Make the model on the meta device: modules and shapes, no weights.

    Args:
        config: transformers' configuration object.
        name: the model's name, for messages.
        dtype: torch's name of the element type of the weights and the cache.

    Raises:
        NotModelled: transformers has no decoder of this architecture, or it cannot be built.
    """
    transformers_logging.set_verbosity_error()
    if type(config) not in AutoModelForCausalLM._model_mapping:
        raise NotModelled(f"{name}: transformers has no causal decoder of the architecture '{config.model_type}'")
    missing = [fact for fact in _FACTS if not isinstance(getattr(config, fact, None), int)]
    if missing:
        raise NotModelled(f"{name}: the configuration of '{config.model_type}' has no {' and no '.join(missing)}")
    config._experts_implementation = "eager"
    with _explained(name, "cannot be built on the meta device"), torch.device("meta"):
        model = AutoModelForCausalLM.from_config(
            config, dtype=getattr(torch, dtype), attn_implementation=_IMPLEMENTATION
        )
    return model.eval()


def record_decode(model: Any, point: Point, seed: int, name: str) -> Recording:
    """Record one decode iteration at a point.

    The cache holds ``KV`` tokens of each of ``RLP`` requests; ``TLP`` new tokens of each are decoded. The causal mask is
    handed over ready-made, so that the kernels are the same for one new token and for several.

    Raises:
        NotModelled: the model does something that a trace cannot express; the message names it.
    """
    experts = experts_of(model.config)
    recorder = Recorder(model, experts.n_experts, experts.n_per_token, (seed, point.rlp, point.tlp, point.kv))
    with torch.no_grad(), _explained(name, f"does not run a decode iteration on meta tensors at {point}"):
        cache = _filled_cache(model, point, recorder)
        inputs = _inputs(model, point)
        with recorder.modules_of(model), _recorded_attention(recorder), RecordingMode(recorder):
            logits = model(**inputs, past_key_values=cache, use_cache=True).logits
    recorder.recording.outputs = recorder.storages(logits)
    _check_scopes(recorder.recording, model, name)
    return recorder.recording


def _inputs(model: Any, point: Point) -> dict[str, Any]:
    tokens = torch.empty(point.rlp, point.tlp, dtype=torch.int64, device="meta")
    mask = torch.empty(point.rlp, 1, point.tlp, point.kv + point.tlp, dtype=torch.bool, device="meta")
    inputs = {"input_ids": tokens, "attention_mask": mask}
    if "position_ids" in inspect.signature(model.forward).parameters:
        inputs["position_ids"] = torch.empty_like(tokens)
    return inputs


class _RecordedCache(DynamicCache):  # type: ignore[misc] # Any where transformers is not installed
    """A cache whose update is one fused KV append."""

    recorder: Recorder | None = None

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> Any:
        """Append K and V of the new tokens; record what a serving engine would move."""
        if self.recorder is None:
            return super().update(key_states, value_states, layer_idx, *args, **kwargs)
        writes: list[torch.Tensor] = []
        with self.recorder.scope(KV_APPEND, [key_states, value_states], writes):
            keys, values = super().update(key_states, value_states, layer_idx, *args, **kwargs)
            writes += [(keys, key_states), (values, value_states)]
        return keys, values


def _filled_cache(model: Any, point: Point, recorder: Recorder) -> Any:
    """Return a cache with ``KV`` tokens in every layer, of the shapes that a one-token run shows."""
    probe = DynamicCache(config=model.config)
    tokens = torch.zeros(1, 1, dtype=torch.int64, device="meta")
    with _unrecorded_routing(recorder):
        model(input_ids=tokens, past_key_values=probe, use_cache=True)
    cache = _RecordedCache(config=model.config)
    for index, layer in enumerate(probe.layers):
        if getattr(layer, "is_sliding", False):
            raise NotModelled(
                f"layer {index} keeps a sliding window of the cache: it attends to min(KV, window) tokens, which is no "
                'polynomial in KV; set "sliding_window": null in its config.json to capture it with full attention'
            )
        if not getattr(layer, "is_initialized", False) or not hasattr(layer, "keys"):
            raise NotModelled(f"layer {index} keeps no K and V in the cache ({type(layer).__name__})")
        keys, values = (_of_tokens(tensor, point) for tensor in (layer.keys, layer.values))
        cache.update(keys, values, index)
    cache.recorder = recorder
    return cache


def _of_tokens(tensor: torch.Tensor, point: Point) -> Any:
    _, heads, _, head_dim = tensor.shape
    return torch.empty(point.rlp, heads, point.kv, head_dim, dtype=tensor.dtype, device="meta")


@contextmanager
def _unrecorded_routing(recorder: Recorder) -> Iterator[None]:
    """Route the probe's token too, and forget what it dispatched."""
    with RecordingMode(recorder):
        yield
    recorder.forget()


@contextmanager
def _recorded_attention(recorder: Recorder) -> Iterator[None]:
    """Make the attention that every model of transformers calls one fused kernel."""
    original = ALL_ATTENTION_FUNCTIONS[_IMPLEMENTATION]
    ALL_ATTENTION_FUNCTIONS[_IMPLEMENTATION] = _fused(original, recorder)
    try:
        yield
    finally:
        del ALL_ATTENTION_FUNCTIONS[_IMPLEMENTATION]


def _fused(original: Callable[..., Any], recorder: Recorder) -> Callable[..., Any]:
    def attention(
        module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *args: Any, **kwargs: Any
    ) -> Any:
        writes: list[torch.Tensor] = []
        with recorder.scope(ATTENTION, [query, key, value], writes):
            output = original(module, query, key, value, *args, **kwargs)
            writes.append((output[0], output[0]))
        return output

    return attention


def _check_scopes(recording: Recording, model: Any, name: str) -> None:
    """Refuse models whose attention or cache update went past what is recorded as one kernel."""
    n_layers = model.config.num_hidden_layers
    for scope in (ATTENTION, KV_APPEND):
        found = sum(call.scope == scope for call in recording.calls)
        if found != n_layers:
            raise NotModelled(
                f"{name}: {found} {scope} kernels were seen in {n_layers} layers; this model does not go through "
                "transformers' attention interface and cache in every layer"
            )
    appended = {access.storage for call in recording.calls if call.scope == KV_APPEND for access in call.writes}
    for call in recording.calls:
        if call.scope == ATTENTION and not {access.storage for access in call.reads[1:]} <= appended:
            raise NotModelled(f"{name}: {call.module} attends to something other than the cached K and V")


@contextmanager
def _explained(name: str, failure: str) -> Iterator[None]:
    """Turn any error that torch or transformers raise into one message."""
    try:
        yield
    except PapisimError:
        raise
    except Exception as error:  # any exception of theirs means that this model cannot be captured
        reason = " ".join(str(error).split())[:300]
        raise NotModelled(f"{name} {failure}: {type(error).__name__}: {reason}") from error
