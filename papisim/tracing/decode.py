"""Run one decode iteration of a model on meta tensors and record it.

Attention, appends to caches, states and mixtures of experts run as serving engines launch them, not as transformers computes
them without a GPU: :mod:`papisim.tracing.attention`, :mod:`papisim.tracing.caches`, :mod:`papisim.tracing.states`,
:mod:`papisim.tracing.experts`. Layers that are known to equal others may be left out of a recording.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText
from transformers.utils import logging as transformers_logging

from papisim.config.yaml import load_yaml
from papisim.errors import NotModelled, PapisimError
from papisim.ops.trace import Point
from papisim.tracing.attention import IMPLEMENTATION, implementation_for, recorded_attention
from papisim.tracing.caches import RecordedCache, check_layer, probe_of
from papisim.tracing.classify import Layout
from papisim.tracing.experts import looped_experts
from papisim.tracing.heads import head_on, is_head
from papisim.tracing.record import Foreign, Recorder, Recording, RecordingMode
from papisim.tracing.routing import Routing
from papisim.tracing.states import recorded_states

#: fields that every configuration must have
_FACTS = ("num_hidden_layers", "hidden_size", "vocab_size")


@dataclass(frozen=True)
class Experts:
    """Experts of a layer and of a token; both 0 for a dense model."""

    n_experts: int
    n_per_token: int


def experts_of(config: Foreign) -> Experts:
    """Read the number of experts from a configuration, under any of the names in use."""
    names = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")
    n_experts: Foreign = next((value for name in names if (value := getattr(config, name, None))), 0)
    chosen = ("num_experts_per_tok", "moe_topk", "moe_k", "moe_top_k", "top_k")
    n_per_token: Foreign = next((value for name in chosen if (value := getattr(config, name, None))), 0)
    return Experts(int(n_experts), int(n_per_token)) if n_experts else Experts(0, 0)


def build(config: Foreign, name: str, dtype: str) -> Foreign:
    """Make the model on the meta device: modules and shapes, no weights.

    Of a model of several modalities the language model is made.

    Args:
        config: transformers' configuration object.
        name: the model's name, for messages.
        dtype: torch's name of the element type of the weights and the cache.

    Raises:
        NotModelled: transformers has no decoder of this architecture, or it cannot be built.
    """
    transformers_logging.set_verbosity_error()
    text = config.get_text_config(decoder=True)
    refused = load_yaml(Path(__file__).parent / "refused.yaml").data
    for model_type in (config.model_type, text.model_type.removesuffix("_text")):
        if model_type in refused:
            raise NotModelled(f"{name}: '{model_type}' {refused[model_type]}")
    model_class = _class_of(text) or _class_of(config)
    missing = [fact for fact in _FACTS if not isinstance(getattr(text, fact, None), int)]
    if model_class is None or text.is_encoder_decoder:
        raise NotModelled(
            f"{name}: transformers has no causal decoder of the architecture '{config.model_type}'; encoders and "
            "encoder-decoders have no decode iteration of the kind that a trace states"
        )
    if getattr(text, "is_decoder", True) is False:
        raise NotModelled(
            f"{name}: '{text.model_type}' is an encoder, which has no decode iteration; \"is_decoder\": true makes it a decoder"
        )
    if missing:
        raise NotModelled(f"{name}: the configuration of '{text.model_type}' has no {' and no '.join(missing)}")
    chosen = text if _class_of(text) is model_class else config
    text._experts_implementation = config._experts_implementation = "eager"
    with _explained(name, "cannot be built on the meta device"), torch.device("meta"):
        model = model_class._from_config(
            chosen, dtype=getattr(torch, dtype), attn_implementation=implementation_for(model_class)
        )
        if is_head(config):
            return head_on(model, chosen).eval()
    return (model if chosen is text else _LanguageModel(model)).eval()


def _class_of(config: Foreign) -> Foreign:
    """Return the class of the decoder of a configuration; None where there is none."""
    for auto in (AutoModelForCausalLM, AutoModelForImageTextToText):
        if type(config) in auto._model_mapping:
            found = auto._model_mapping[type(config)]
            return found[0] if isinstance(found, tuple) else found
    return None


class _LanguageModel(torch.nn.Module):  # type: ignore[misc] # untyped where torch is not installed
    """The language model of a model of several modalities, with its LM head."""

    def __init__(self, whole: Foreign) -> None:
        super().__init__()
        self.model, self.lm_head = whole.get_decoder(), whole.get_output_embeddings()
        self.config = self.model.config

    def forward(
        self, input_ids: torch.Tensor, position_ids: torch.Tensor, past_key_values: Foreign, use_cache: bool
    ) -> Foreign:
        output = self.model(
            input_ids=input_ids, position_ids=position_ids, past_key_values=past_key_values, use_cache=use_cache
        )
        output.logits = self.lm_head(output.last_hidden_state)
        return output

    def get_output_embeddings(self) -> Foreign:
        return self.lm_head

    def get_input_embeddings(self) -> Foreign:
        return self.model.get_input_embeddings()


def layers_path(model: Foreign, name: str) -> str:
    """Return the path of the list that holds the decoder layers.

    Raises:
        NotModelled: there is none.
    """
    n_layers = model.config.num_hidden_layers
    paths: list[str] = [
        path
        for path, module in model.named_modules()
        if isinstance(module, torch.nn.ModuleList) and len(module) == n_layers
    ]
    if not paths:
        raise NotModelled(f"{name}: no list of {n_layers} layers was found in the model")
    return min(paths, key=len)


class Decoder:
    """A model whose decode iterations are recorded.

    Args:
        model: the model, on the meta device.
        name: its name, for messages.

    Raises:
        NotModelled: it does something that a trace cannot express; found by a run of one token.
    """

    def __init__(self, model: Foreign, name: str) -> None:
        self.model, self.name = model, name
        self.layers = model.get_submodule(layers_path(model, name))
        self.experts = experts_of(model.config)
        self._probe = probe_of(model.config)
        self._returned: list[int | None] = []
        recorder = self._recorder(
            Point(rlp=1, tlp=1, kv=1), Routing(self.experts.n_experts, self.experts.n_per_token)
        )
        with torch.no_grad(), _explained(name, "does not run on meta tensors"), self._as_returned():
            self._run(recorder, self._probe, None, Point(rlp=1, tlp=1, kv=1))
        for index, layer in enumerate(self._probe.layers):
            check_layer(index, layer, self.layers[index], model.config)

    def record(self, point: Point, routing: Routing, only: Collection[int] | None = None) -> Recording:
        """Record one decode iteration at a point.

        The cache holds ``KV`` tokens of each of ``RLP`` requests; ``TLP`` new tokens of each are decoded.

        Args:
            point: the point.
            routing: the experts that tokens are sent to.
            only: the layers that run; all when None.

        Raises:
            NotModelled: the model does something that a trace cannot express; the message names it.
        """
        recorder = self._recorder(point, routing)
        skipped = [] if only is None else [i for i in range(len(self.layers)) if i not in only]
        with torch.no_grad(), _explained(self.name, f"does not run a decode iteration on meta tensors at {point}"):
            cache = RecordedCache(self._probe, self.model.config, point, recorder)
            cache.layer_of = Layout(layers_path(self.model, self.name)).layer_of
            with self._passed_over(skipped):
                logits = self._run(recorder, cache, cache, point)
        recorder.recording.outputs = recorder.storages(logits)
        self._check_products(recorder.recording, cache)
        return recorder.recording

    def _check_products(self, recording: Recording, cache: RecordedCache) -> None:
        """Refuse attention that is computed by products of the model's own."""
        own = (call for call in recording.calls if call.matmul_flop and not call.scope)
        for call in own:
            if cache.owner(frozenset(access.storage for access in call.reads)) is not None:
                raise NotModelled(
                    f"{call.module} multiplies with the cached K and V itself; attention is captured where it is called by transformers' "
                    "attention interface or by torch's scaled_dot_product_attention, as current classes do"
                )

    def _recorder(self, point: Point, routing: Routing) -> Recorder:
        return Recorder(self.model, routing, (point.rlp, point.tlp, point.kv))

    def _run(self, recorder: Recorder, cache: Foreign, recorded: RecordedCache | None, point: Point) -> torch.Tensor:
        with ExitStack() as stack:
            stack.enter_context(looped_experts(self.model, recorder))
            stack.enter_context(recorded_attention(self.model, recorder, recorded))
            stack.enter_context(recorded_states(self.model, recorder, recorded))
            stack.enter_context(recorder.modules_of(self.model))
            stack.enter_context(RecordingMode(recorder))
            if recorded is None:
                stack.enter_context(recorder.unrecorded())
            inputs = _inputs(self.model, point, cache)
            recorder.forget()
            logits: torch.Tensor = self.model(**inputs, use_cache=True).logits
        return logits

    @contextmanager
    def _as_returned(self) -> Iterator[None]:
        """Remember how many values each layer returns; None where it is no tuple."""

        def remember(*arguments: Foreign) -> None:
            output = arguments[-1]
            self._returned.append(len(output) if isinstance(output, tuple) else None)

        with _after_each(self.layers, remember):
            yield

    @contextmanager
    def _passed_over(self, layers: Collection[int]) -> Iterator[None]:
        """Make layers hand on their input, and what the last layer that ran returned beside its own."""
        last: list[Foreign] = []

        def remember(*arguments: Foreign) -> None:
            last[:] = arguments[-1][1:] if isinstance(arguments[-1], tuple) else ()

        for index in layers:
            self.layers[index].forward = _handing_on(self._returned[index], last)
        try:
            with _after_each([layer for index, layer in enumerate(self.layers) if index not in layers], remember):
                yield
        finally:
            for index in layers:
                del self.layers[index].forward


@contextmanager
def _after_each(layers: Iterable[Foreign], hook: Callable[..., None]) -> Iterator[None]:
    handles = [layer.register_forward_hook(hook) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _handing_on(returned: int | None, last: Sequence[Foreign]) -> Foreign:
    def forward(hidden_states: torch.Tensor, *_: Foreign, **__: Foreign) -> Foreign:
        if returned is None:
            return hidden_states
        return (hidden_states, *(last or [None] * returned))[:returned]

    return forward


def _inputs(model: Foreign, point: Point, cache: Foreign) -> dict[str, Foreign]:
    tokens = torch.zeros(point.rlp, point.tlp, dtype=torch.int64, device="meta")
    takes = inspect.signature(model.forward).parameters
    positions = {"position_ids": torch.empty_like(tokens)} if {"position_ids", "features"} & set(takes) else {}
    inputs = {
        "input_ids": tokens,
        "cache_params" if "cache_params" in takes else "past_key_values": cache,
    } | positions
    if (features := getattr(model, "features", None)) is not None:
        inputs["features"] = torch.empty(
            point.rlp, point.tlp, features, dtype=model.lm_head.weight.dtype, device="meta"
        )
    if model.config._attn_implementation != IMPLEMENTATION or getattr(model.config, "index_topk", None):
        # masks of models that make one for torch's attention: handed over ready-made, which launches nothing
        cached = point.kv if isinstance(cache, RecordedCache) else 0
        shape = (point.rlp, 1, point.tlp, cached + point.tlp)
        inputs["attention_mask"] = cache.mask = torch.empty(shape, dtype=torch.bool, device="meta")
    return inputs


@contextmanager
def _explained(name: str, failure: str) -> Iterator[None]:
    """Turn any error that torch or transformers raise into one message."""
    try:
        yield
    except PapisimError:
        raise
    except NotImplementedError as error:
        if "nonzero" not in str(error):
            raise NotModelled(f"{name} {failure}: {_reason(error)}") from error
        raise NotModelled(
            f"{name} looks for tokens by values other than the experts that topk has chosen (torch.nonzero), which meta tensors do not "
            "have; routers of experts are captured where they call topk over all experts"
        ) from error
    except KeyError as error:
        if error.args != (IMPLEMENTATION,):
            raise NotModelled(f"{name} {failure}: {_reason(error)}") from error
        raise NotModelled(
            f"{name} has a class of attention for each implementation, none of which is captured; newer classes of transformers call "
            "attention by its interface"
        ) from error
    except Exception as error:  # any exception of theirs means that this model cannot be captured
        raise NotModelled(f"{name} {failure}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
