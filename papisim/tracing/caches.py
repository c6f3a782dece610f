"""The memory of the past that a recorded iteration reads: caches filled with tokens, and states of constant size.

What torch moves here is an artefact of transformers' caches and must not enter a trace. A ``DynamicCache`` concatenates the
whole cache with the new tokens in every step; a serving engine writes the new tokens' K and V into their slots. That is what
is recorded, as one fused kernel. Caches of windows and chunks are filled like all others, so that dimensions stay polynomials
in KV; the layer's :class:`~papisim.ops.trace_kernels.CacheSpec` says which of the tokens a query sees.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

import torch
from transformers import DynamicCache
from transformers.cache_utils import Cache

from papisim.errors import NotModelled
from papisim.ops.trace import Point
from papisim.ops.trace_kernels import AttentionShape, CacheSpec
from papisim.tracing.record import KV_APPEND, Call, Foreign, Fused, Recorder

#: transformers' name of a layer whose queries see their own chunk
_CHUNKED: Final = "chunked_attention"
#: scaling, ReLU, weight and sum of each score of an indexer's head
INDEXER_FLOP: Final = 4


class RecordedCache(Cache):  # type: ignore[misc] # untyped where transformers is not installed
    """Caches and states of ``RLP`` requests with ``KV`` tokens each.

    Args:
        probe: the cache after a run of one token, which shows the shapes.
        config: the configuration of the decoder.
        point: requests and cached tokens.
        recorder: told of every append.

    Raises:
        NotModelled: a layer remembers the past in a way that a trace cannot express.
    """

    def __init__(self, probe: Foreign, config: Foreign, point: Point, recorder: Recorder) -> None:
        super().__init__(layers=list(probe.layers))
        self.point, self._recorder = point, recorder
        types = getattr(config, "layer_types", None) or [""] * len(probe.layers)
        selected = getattr(config, "index_topk", None)
        self._specs = [_seen(layer, kind, selected) for layer, kind in zip(probe.layers, types, strict=False)]
        self._owners: dict[int, int] = {}
        self._appended: dict[int, Call] = {}
        #: mask handed to the model; None without
        self.mask: torch.Tensor | None = None
        #: input of a convolution with its history, by its storage → the new tokens of it and the state
        self.histories: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        #: index of the layer of a module's path
        self.layer_of: Callable[[str], int | None] = lambda _: None
        self.asked = 0

    # ---- keys and values

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *_: Foreign, **__: Foreign
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append K and V of the new tokens; record what a serving engine would move."""
        layer = self.layers[layer_idx]
        writes: list[tuple[torch.Tensor, torch.Tensor]] = []
        with self._recorder.unrecorded():
            cached = [self._of_tokens(tensor) for tensor in (layer.keys, layer.values)]
        with self._recorder.scope(KV_APPEND, [key_states, value_states], writes):
            keys, values = (torch.cat(pair, dim=-2) for pair in zip(cached, (key_states, value_states), strict=True))
            writes += [(keys, key_states), (values, value_states)]
        self._owners |= dict.fromkeys(self._recorder.storages(keys, values), layer_idx)
        self._appended[layer_idx] = self._recorder.recording.calls[-1]
        return keys, values

    def update_indexer(self, indexer_key_states: torch.Tensor, layer_idx: int, **_: Foreign) -> torch.Tensor:
        """Append the keys of an indexer, in the launch that appends the layer's K and V; its scores and choice are one kernel."""
        width = indexer_key_states.shape[-1]
        writes: list[tuple[torch.Tensor, torch.Tensor]] = []
        with self._recorder.unrecorded():
            cached = indexer_key_states.new_empty(self.point.rlp, self.point.kv, width)
        with self._recorder.scope(KV_APPEND, [indexer_key_states], writes):
            keys = torch.cat([cached, indexer_key_states], dim=1)
            writes.append((keys, indexer_key_states))
        if layer_idx not in self._appended:
            raise NotModelled(f"{self._recorder.module} appends to its cache before its layer does")
        self._recorder.join(self._appended[layer_idx])
        self._recorder.follow(keys, [self.mask] if self.mask is not None else [], partial(_indexer, width))
        return keys

    def owner(self, storages: frozenset[int]) -> int | None:
        """Return the layer whose cache lives in a storage; None where it is no cache."""
        return next((self._owners[storage] for storage in storages if storage in self._owners), None)

    def spec(self, owner: int) -> CacheSpec:
        """State the part that the layer that is running reads of a layer's cache."""
        reader = self.layer_of(self._recorder.module)
        return self._specs[owner].model_copy(update={"of_layer": None if owner == reader else owner})

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Return the cached tokens of each request."""
        return self.point.kv

    def _of_tokens(self, tensor: torch.Tensor) -> torch.Tensor:
        _, heads, _, head_dim = tensor.shape
        return tensor.new_empty(self.point.rlp, heads, self.point.kv, head_dim)

    # ---- states

    def is_recording_past(self, layer_idx: int) -> bool:
        """Tell a layer to take the way of several tokens, whose kernels are the same for one."""
        return True

    def get_conv_state(self, layer_idx: int, state_idx: int = 0) -> None:
        """Return no state of a convolution, so that the layer takes the way of several tokens."""

    def get_recurrent_state(self, layer_idx: int, state_idx: int = 0) -> None:
        """Return no state, so that the layer takes the way of several tokens; remember which layer asked."""
        self.asked = layer_idx

    def recurrent_state(self) -> torch.Tensor:
        """Return the state of the layer that asked last, of all requests."""
        return self._of_requests(self.layers[self.asked].recurrent_states[0])

    def update_conv_state(
        self, conv_states: torch.Tensor, layer_idx: int, *_: Foreign, **__: Foreign
    ) -> torch.Tensor:
        """Return the new inputs of a convolution with those before them; nothing is recorded until it runs."""
        state = self._of_requests(self.layers[layer_idx].conv_states[0])
        with self._recorder.unrecorded():
            joined = torch.cat([state, conv_states], dim=-1)
        (storage,) = self._recorder.storages(joined)
        self.histories[storage] = (conv_states, state[..., 1:])
        return joined

    def update_recurrent_state(
        self, recurrent_states: torch.Tensor, layer_idx: int, *_: Foreign, **__: Foreign
    ) -> Foreign:
        """Do nothing: the kernel that computed the state has written it."""
        return recurrent_states

    def _of_requests(self, state: torch.Tensor) -> torch.Tensor:
        with self._recorder.unrecorded():
            return state.new_empty(self.point.rlp, *state.shape[1:])


def probe_of(config: Foreign) -> Foreign:
    """Return an empty cache as transformers makes one for a configuration."""
    return DynamicCache(config=config)


def _indexer(width: int, reads: list[torch.Tensor]) -> Fused:
    """State the kernel that scores every cached token with a few heads and chooses the best (DeepSeek-V3.2, 2025, equation 1)."""
    keys, query = reads[0], next(tensor for tensor in reads if tensor.shape[-1] == width and tensor is not reads[0])
    heads = query.shape[-2]
    flop = INDEXER_FLOP * keys.shape[1] * query.numel() // width
    return Fused("scores", flop, AttentionShape(n_heads=heads, n_kv_heads=1, head_dim=width, value_dim=0))


def _seen(layer: Foreign, kind: str, selected: int | None) -> CacheSpec:
    if selected and hasattr(layer, "update_indexer"):
        return CacheSpec(sees="selected", tokens=selected)
    window = getattr(layer, "sliding_window", None) if getattr(layer, "is_sliding", False) else None
    if window is None:
        return CacheSpec()
    return CacheSpec(sees="chunk" if kind == _CHUNKED else "window", tokens=int(window))


def check_layer(index: int, layer: Foreign, module: Foreign, config: Foreign) -> None:
    """Refuse a layer whose memory of the past a trace cannot express.

    Args:
        index: index of the layer.
        layer: its cache after a run of one token.
        module: the layer itself.
        config: the configuration of the decoder.

    Raises:
        NotModelled: the message names the layer and what it caches.
    """
    keys, heads = getattr(layer, "keys", None), _kv_heads(config)
    if keys is None or not heads or keys.shape[1] <= max(heads):
        return
    products = {part.out_features for name, part in module.named_modules() if name.endswith("k_proj")}
    if keys.shape[1] * keys.shape[-1] not in products:
        raise NotModelled(
            f"layer {index} repeats K and V before it caches them: {keys.shape[1]} heads, where the configuration has {max(heads)}; "
            "serving engines cache those, which transformers' class does not do"
        )


def _kv_heads(config: Foreign) -> list[int]:
    """Numbers of heads of K and V that a configuration names."""
    named = (value for name, value in config.to_dict().items() if name.endswith(("key_value_heads", "kv_heads")))
    return [value for value in named if isinstance(value, int)]
