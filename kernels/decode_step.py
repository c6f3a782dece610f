"""A whole decode iteration of a Llama decoder under a CUDA graph, FP16.

The same kernels as transformers' Llama dispatches (``traces/kernels/<model>/trace.yaml`` lists them; a test compares),
with elementwise operators unfused. In place of its growing cache, new K and V are copied into their slots of a
static one. ``kv`` tokens of each request are in the cache before the step; attention sees those and the new ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby, product

import torch
from torch.nn.functional import embedding, linear, silu

from kernels.attention import attend
from kernels.harness import Bench, Timing
from kernels.shapes import trace_of
from kernels.tables import Row
from papisim.ops.trace import ModelFacts

COLUMNS = ("model", "rlp", "tlp", "kv", "time_s", "energy_j", "n_kernels")
MODELS, HELD_OUT_MODELS = ("llama7b", "llama3-8b"), ("llama13b",)
REQUESTS, TOKENS, CACHED = (1, 2, 4, 8, 16, 32, 64), (1, 2, 4, 8), (512, 2048)
_SMOKE_FACTS = ModelFacts(
    model_type="llama", n_layers=2, hidden_size=64, n_heads=4, n_kv_heads=2, head_dim=16, vocab_size=96,
    intermediate_size=112, dtype="float16", n_parameters=1, tied_embeddings=False,
)  # fmt: skip
_ROPE_BASE, _EPSILON, _SCALE = 10000.0, 1e-5, 0.02
_CACHE_SHARE_RATIO = 0.85
_BASE_S = 2e-3  # chooses graph lengths, enters no result


@dataclass(frozen=True)
class Layer:
    """The weights of a layer, as ``linear`` takes them: outputs by inputs."""

    norm_in: torch.Tensor
    query: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor
    out: torch.Tensor
    norm_post: torch.Tensor
    gate: torch.Tensor
    up: torch.Tensor
    down: torch.Tensor


class Decoder:
    """A Llama decoder with random weights.

    Args:
        facts: its dimensions.
        device: where it lives.
    """

    def __init__(self, facts: ModelFacts, device: torch.device) -> None:
        self.facts, self.device = facts, device
        hidden, inner = facts.hidden_size, facts.intermediate_size
        q_width, kv_width = facts.n_heads * facts.head_dim, facts.n_kv_heads * facts.head_dim
        self.table = self._matrix(facts.vocab_size, hidden)
        self.layers = [
            Layer(
                self._ones(), self._matrix(q_width, hidden), self._matrix(kv_width, hidden),
                self._matrix(kv_width, hidden), self._matrix(hidden, q_width), self._ones(),
                self._matrix(inner, hidden), self._matrix(inner, hidden), self._matrix(hidden, inner),
            )
            for _ in range(facts.n_layers)
        ]  # fmt: skip
        self.norm = self._ones()
        self.lm_head = self._matrix(facts.vocab_size, hidden)
        exponents = torch.arange(0, facts.head_dim, 2, device=device).float() / facts.head_dim
        self.frequencies = 1.0 / _ROPE_BASE**exponents

    def _matrix(self, n: int, k: int) -> torch.Tensor:
        return torch.empty(n, k, dtype=torch.float16, device=self.device).normal_(0.0, _SCALE)

    def _ones(self) -> torch.Tensor:
        return torch.ones(self.facts.hidden_size, dtype=torch.float16, device=self.device)

    def step(self, tokens: torch.Tensor, positions: torch.Tensor, caches: list[torch.Tensor]) -> torch.Tensor:
        """Decode one iteration and return the logits.

        Args:
            tokens: ``(RLP, TLP)``.
            positions: ``(RLP, TLP)``.
            caches: of each layer K and V, ``(2, RLP, heads, KV + TLP, width)``; the last TLP tokens are written.
        """
        states = embedding(tokens, self.table)
        cosines, sines = self._rotations(positions)
        for layer, cache in zip(self.layers, caches, strict=True):
            states = self._layer(layer, states, cosines, sines, cache)
        return linear(normalised(states, self.norm), self.lm_head)

    def _rotations(self, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        angles = positions[..., None].float() * self.frequencies
        both = torch.cat((angles, angles), dim=-1)
        cosines, sines = both.cos() * 1.0, both.sin() * 1.0
        return cosines.to(torch.float16).unsqueeze(1), sines.to(torch.float16).unsqueeze(1)

    def _layer(
        self, layer: Layer, states: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor, cache: torch.Tensor
    ) -> torch.Tensor:
        attended = self._attention(layer, normalised(states, layer.norm_in), cosines, sines, cache)
        states = states + attended
        inner = normalised(states, layer.norm_post)
        return states + linear(silu(linear(inner, layer.gate)) * linear(inner, layer.up), layer.down)

    def _attention(
        self, layer: Layer, states: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor, cache: torch.Tensor
    ) -> torch.Tensor:
        rlp, tlp, _ = states.shape
        heads = (rlp, tlp, -1, self.facts.head_dim)
        query, key, value = (
            linear(states, weight).view(heads).transpose(1, 2) for weight in (layer.query, layer.key, layer.value)
        )
        query, key = rotated(query, cosines, sines), rotated(key, cosines, sines)
        cache[0, :, :, -tlp:].copy_(key)
        cache[1, :, :, -tlp:].copy_(value)
        context = attend(query, cache[0], cache[1]).transpose(1, 2).reshape(rlp, tlp, -1)
        return linear(context, layer.out)


def normalised(states: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """RMS-normalise in FP32, as transformers does."""
    single = states.to(torch.float32)
    scaled = single * torch.rsqrt(single.pow(2).mean(-1, keepdim=True) + _EPSILON)
    return weight * scaled.to(states.dtype)


def rotated(states: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor) -> torch.Tensor:
    """Apply the rotary embedding to heads."""
    middle = states.shape[-1] // 2
    turned = torch.cat((-states[..., middle:], states[..., :middle]), dim=-1)
    return (states * cosines) + (turned * sines)


class CachePool:
    """Memory for the K and V of all layers, cut anew for every step; layers share where it does not suffice.

    A shared cache is as cold as an own one: a layer's weights pass through the L2 cache in between.
    """

    def __init__(self, facts: ModelFacts, most_tokens: int, device: torch.device) -> None:
        self.facts = facts
        self.layer_token_elements = 2 * facts.n_kv_heads * facts.head_dim
        wanted = self.layer_token_elements * most_tokens * facts.n_layers
        if device.type == "cuda":
            free_bytes, _ = torch.cuda.mem_get_info()
            wanted = min(wanted, int(_CACHE_SHARE_RATIO * free_bytes) // 2)
        self.numbers = torch.empty(wanted, dtype=torch.float16, device=device)
        for part in self.numbers.split(1 << 30):
            part.normal_()

    def caches(self, rlp: int, tokens: int) -> list[torch.Tensor]:
        """Return K and V of each layer."""
        size = self.layer_token_elements * rlp * tokens
        room = min(self.facts.n_layers, len(self.numbers) // size)
        shape = (2, rlp, self.facts.n_kv_heads, tokens, self.facts.head_dim)
        views = [self.numbers[index * size : (index + 1) * size].view(shape) for index in range(room)]
        return [views[layer % room] for layer in range(self.facts.n_layers)]


@dataclass
class Step:
    """A decode iteration at one point, ready to run."""

    decoder: Decoder
    caches: list[torch.Tensor]
    rlp: int
    tlp: int
    kv: int

    @cached_property
    def tokens(self) -> torch.Tensor:
        """Random tokens."""
        shape = (self.rlp, self.tlp)
        return torch.randint(0, self.decoder.facts.vocab_size, shape, device=self.decoder.device)

    @cached_property
    def positions(self) -> torch.Tensor:
        """The positions after the cached tokens."""
        new = torch.arange(self.kv, self.kv + self.tlp, device=self.decoder.device)
        return new.expand(self.rlp, self.tlp).contiguous()

    def run(self) -> torch.Tensor:
        """Decode one iteration."""
        with torch.no_grad():
            return self.decoder.step(self.tokens, self.positions, self.caches)


def count_kernels(step: Step) -> int:
    """Count what one iteration launches on the GPU, copies included; 0 without one."""
    if step.decoder.device.type != "cuda":
        return 0
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA], acc_events=True) as profile:
        step.run()
        torch.cuda.synchronize()
    return sum(event.device_type == torch.autograd.DeviceType.CUDA for event in profile.events())


@dataclass(frozen=True)
class Point:
    """A model and where its step is measured."""

    model: str
    facts: ModelFacts
    rlp: int
    tlp: int
    kv: int


def points(*, smoke: bool) -> list[Point]:
    """Return every point of ``step.csv``."""
    return _points(MODELS, smoke=smoke)


def held_out_points(*, smoke: bool) -> list[Point]:
    """Return every point of ``step_heldout.csv``, which serves to judge predictions and to fit nothing."""
    return _points(HELD_OUT_MODELS, smoke=smoke)


def _points(models: tuple[str, ...], *, smoke: bool) -> list[Point]:
    if smoke:
        return [Point(models[0], _SMOKE_FACTS, 1, 1, 24), Point(models[0], _SMOKE_FACTS, 2, 3, 24)]
    facts = {model: trace_of(model).model for model in models}
    return [Point(model, facts[model], *point) for model, *point in product(models, REQUESTS, TOKENS, CACHED)]


def measure(bench: Bench, todo: Sequence[Point]) -> Iterator[Row]:
    """Yield the rows of a table of steps."""
    for model, of_model in groupby(todo, key=lambda point: point.model):
        here = list(of_model)
        decoder = Decoder(here[0].facts, bench.device)
        most_tokens = max(point.rlp * (point.kv + point.tlp) for point in here)
        pool = CachePool(here[0].facts, most_tokens, bench.device)
        for point in here:
            step = Step(decoder, pool.caches(point.rlp, point.kv + point.tlp), point.rlp, point.tlp, point.kv)
            timing = time_one(bench, step)
            yield {
                "model": model, "rlp": point.rlp, "tlp": point.tlp, "kv": point.kv, "time_s": timing.time_s,
                "energy_j": timing.energy_j, "n_kernels": count_kernels(step),
            }  # fmt: skip
        del decoder, pool, step
        if bench.device.type == "cuda":
            torch.cuda.empty_cache()


def time_one(bench: Bench, step: Step) -> Timing:
    """Time one iteration."""
    return bench.time(lambda _: step.run(), 1, _BASE_S, energy=True)
