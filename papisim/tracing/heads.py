"""Draft heads on a target model, as modules of our own around one decoder layer of a family.

Their checkpoints are no models of transformers; their configurations are known by their ``architectures``:

- ``…Eagle3`` (EAGLE-3, Li et al., 2025, Section 3.1): hidden states of three layers of the target, side by side, are fused to one; Q, K and V
  are products of the token's embedding and that state, side by side; the LM head has ``draft_vocab_size`` rows.
- ``…MTP`` (multi-token prediction, DeepSeek-V3, 2024, Section 2.2, equations 21 to 23): the norms of embedding and hidden state, side by
  side, are projected to one state, which a layer as the target's last one and the target's LM head take on.

A configuration has the target's fields, an EAGLE-3 head those of its own layer. The features of the target are an input of every
recorded step.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Final

import torch
from torch.nn import Linear, Module, ModuleList

from papisim.ops.trace_kernels import FEATURES
from papisim.tracing.record import Foreign

#: hidden states of the target that EAGLE-3 fuses: of an early, a middle and a late layer
_FUSED: Final = 3


def is_head(config: Foreign) -> bool:
    """Whether a configuration is of a draft head."""
    return _kind(config) is not None


def single_layer(config: Foreign) -> Foreign:
    """Return the configuration with the last of its layers alone."""
    single = copy.deepcopy(config)
    single.num_hidden_layers = 1
    if getattr(config, "layer_types", None):
        single.layer_types = config.layer_types[-1:]
    return single


def head_on(base: Foreign, config: Foreign) -> Foreign:
    """Make the draft head that a configuration describes.

    Args:
        base: a causal decoder of its family, on the meta device.
        config: the configuration.
    """
    with torch.device("meta"):
        return _HEADS[str(_kind(config))](base, config).to(base.dtype)


class _Head(Module):  # type: ignore[misc] # untyped where torch is not installed
    """A decoder with the last layer alone, of which the token's embedding and features of the target are the input.

    Attributes:
        features: width of the features.
    """

    features: int

    def __init__(self, base: Foreign, config: Foreign, vocabulary: int) -> None:
        super().__init__()
        self.model, self.config = base.model, single_layer(config)
        self.model.config = self.config
        self.model.layers = ModuleList(self.model.layers[-1:])
        for module in self.model.layers.modules():
            if hasattr(module, "layer_idx"):
                module.layer_idx = 0
        self.lm_head = Linear(config.hidden_size, vocabulary, bias=False)

    def get_output_embeddings(self) -> Foreign:
        return self.lm_head

    def get_input_embeddings(self) -> Foreign:
        return self.model.embed_tokens

    def _logits(self, state: torch.Tensor, options: Mapping[str, Foreign]) -> Foreign:
        output = self.model(inputs_embeds=state, **options)
        output.logits = self.lm_head(output.last_hidden_state)
        return output


class Eagle3(_Head):
    """EAGLE-3's head; the fusion runs on features of the target alone, later steps take the head's own state."""

    def __init__(self, base: Foreign, config: Foreign) -> None:
        super().__init__(base, config, config.draft_vocab_size)
        self.features = _FUSED * config.hidden_size
        layer = _Beside(self.model.layers[0], config)
        self.model.layers = ModuleList([layer])
        setattr(self, FEATURES, Linear(self.features, config.hidden_size, bias=False))

    def forward(self, input_ids: torch.Tensor, features: torch.Tensor, **options: Foreign) -> Foreign:
        """Return the logits of drafted tokens, shape (requests, tokens, draft vocabulary)."""
        self.model.layers[0].embedded = self.model.embed_tokens(input_ids)
        return self._logits(getattr(self, FEATURES)(features), options)


class _Beside(Module):  # type: ignore[misc] # untyped where torch is not installed
    """A decoder layer whose attention reads the token's embedding beside the hidden state."""

    embedded: torch.Tensor

    def __init__(self, layer: Foreign, config: Foreign) -> None:
        super().__init__()
        self.input_layernorm, self.hidden_norm = layer.input_layernorm, copy.deepcopy(layer.input_layernorm)
        self.self_attn, self.mlp = layer.self_attn, layer.mlp
        self.post_attention_layernorm = layer.post_attention_layernorm
        for name in ("q_proj", "k_proj", "v_proj"):
            former = getattr(self.self_attn, name)
            wider = Linear(2 * config.hidden_size, former.out_features, bias=former.bias is not None)
            setattr(self.self_attn, name, wider)

    def forward(self, hidden_states: torch.Tensor, **options: Foreign) -> torch.Tensor:
        beside = torch.cat([self.input_layernorm(self.embedded), self.hidden_norm(hidden_states)], dim=-1)
        hidden_states = hidden_states + self.self_attn(hidden_states=beside, **options)[0]
        return hidden_states + self.mlp(self.post_attention_layernorm(hidden_states))


class Mtp(_Head):
    """One module of multi-token prediction."""

    def __init__(self, base: Foreign, config: Foreign) -> None:
        super().__init__(base, config, config.vocab_size)
        self.features = config.hidden_size
        self.enorm, self.hnorm = copy.deepcopy(self.model.norm), copy.deepcopy(self.model.norm)
        self.eh_proj = Linear(2 * config.hidden_size, config.hidden_size, bias=False)

    def forward(self, input_ids: torch.Tensor, features: torch.Tensor, **options: Foreign) -> Foreign:
        """Return the logits of drafted tokens, shape (requests, tokens, vocabulary)."""
        beside = torch.cat([self.enorm(self.model.embed_tokens(input_ids)), self.hnorm(features)], dim=-1)
        return self._logits(self.eh_proj(beside), options)


_HEADS: Final = {"Eagle3": Eagle3, "MTP": Mtp}


def _kind(config: Foreign) -> str | None:
    (architecture,) = (getattr(config, "architectures", None) or [""])[:1]
    return next((kind for kind in _HEADS if kind in architecture), None)
