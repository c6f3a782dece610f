"""Decoder layers as vLLM runs them: merged projections, fused norms, a paged cache, FlashAttention 3, one CUDA graph.

Each kernel's time is that which torch's profiler records in place: after the kernel that precedes it in a layer, its weight
cold, its operands where that kernel left them. ``layer`` rows have the time of a whole layer without a profiler, between
events, from which the gaps between kernels follow. A prompt is measured twice: in a burst after a pause, at the highest
clock, and after steady replays, at the clock that the board's power limit leaves.
"""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from kernels import vllm_ops
from kernels.harness import Bench, EnergyCounter
from kernels.profiler import Ran, kernels_of
from kernels.tables import Row

COLUMNS = (
    "model", "precision", "requests", "queries", "kv", "pace", "op", "k", "n", "n_kernels", "time_s", "sm_hz", "kernels",
)  # fmt: skip
_WEIGHTS, _REPLAYS, _PROFILED = 2, 8, 3
_PAUSE_S, _STEADY_S = 0.025, 0.15
#: rows up to which vLLM has a CUDA graph for a step, and beyond which the board's power limit may set the clock
GRAPH_ROWS, BURST_ROWS = 256, 256
_WEIGHT_SCALE, _COMPILED_ROWS = 0.02, 2048


@dataclass(frozen=True)
class Layer:
    """Widths of one rank's decoder layer.

    Attributes:
        hidden: width of the residual stream.
        n_heads: query heads.
        n_kv_heads: heads of the cache.
        inner: width of the gated feed-forward.
        compiled: whether small kernels are those of torch's compiler, as vLLM has them; else vLLM's own.
    """

    hidden: int
    n_heads: int
    n_kv_heads: int
    inner: int
    compiled: bool = False
    head_dim: int = 128

    @property
    def weights(self) -> dict[str, tuple[int, int]]:
        """Inputs and outputs of each product."""
        qkv = (self.n_heads + 2 * self.n_kv_heads) * self.head_dim
        return {
            "qkv": (self.hidden, qkv), "projection": (self.n_heads * self.head_dim, self.hidden),
            "gate_up": (self.hidden, 2 * self.inner), "down": (self.inner, self.hidden),
        }  # fmt: skip


#: published models, and shards of them for a number of ranks
MODELS = {
    "llama7b": Layer(4096, 32, 32, 11008, compiled=True),
    "llama3-8b": Layer(4096, 32, 8, 14336, compiled=True),
    "qwen3-14b": Layer(5120, 40, 8, 17408),
    "qwen3-32b": Layer(5120, 64, 8, 25600, compiled=True),
    "qwen3-32b/4": Layer(5120, 16, 2, 6400),
    "llama3-70b": Layer(8192, 64, 8, 28672, compiled=True),
    "llama3-70b/2": Layer(8192, 32, 4, 14336),
    "llama3-70b/4": Layer(8192, 16, 2, 7168),
    "llama3-70b/8": Layer(8192, 8, 1, 3584),
    "llama3-8b/2": Layer(4096, 16, 4, 7168),
}
DECODING = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
PROMPTS = (128, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 8192)
EIGHT_BIT_MODELS = ("llama3-8b", "qwen3-32b", "llama3-70b", "llama3-70b/4", "llama3-70b/8")


@dataclass(frozen=True)
class Point:
    """A step of one layer: decoding requests, or one prompt, whose queries see themselves and what is cached."""

    model: str
    precision: str
    requests: int
    queries: int
    kv: int

    @property
    def rows(self) -> int:
        """Token-rows."""
        return self.requests * self.queries

    @property
    def prompt(self) -> bool:
        """Whether it is a prompt, or a chunk of one."""
        return self.queries > 16  # noqa: PLR2004 - drafts are shorter


def points(*, smoke: bool) -> list[Point]:
    """Return every step, model by model."""
    if smoke:
        return [Point("smoke", "float16", 3, 1, 20), Point("smoke", "float16", 1, 24, 40)]
    found = []
    for model in MODELS:
        found += [Point(model, "float16", requests, 1, 512) for requests in DECODING]
        found += [Point(model, "float16", requests, 1, 2048) for requests in (8, 64)]
        found += [Point(model, "float16", 1, rows, rows) for rows in PROMPTS]
        found += [Point(model, "float16", 1, 512, 4096)]
        if model in EIGHT_BIT_MODELS:
            found += [Point(model, "float8", requests, 1, 512) for requests in DECODING]
            found += [Point(model, "float8", 1, rows, rows) for rows in PROMPTS[3:]]
    return found


_SMOKE_LAYER = Layer(64, 4, 2, 96, head_dim=16)


def measure(bench: Bench, todo: Sequence[Point]) -> Iterator[Row]:
    """Yield the rows of ``engine_layer.csv``, model by model."""
    on_gpu = bench.device.type == "cuda"
    if on_gpu and not vllm_ops.load():
        return
    for (model, precision), steps in _grouped(todo).items():
        stack = _Stack(bench, MODELS.get(model, _SMOKE_LAYER), max(map(_cache_elements, steps)), precision)
        runs = [_prepared(stack, step) for step in steps]
        if on_gpu:
            yield from _on_gpu(bench, stack, steps, runs)
        for step, run in zip(steps, runs, strict=True):
            if not on_gpu:
                run()
                yield _row(step, "host", "layer", (0, 0), n_kernels=0, time_s=0.0)
        del stack, runs
        if on_gpu:
            torch.cuda.empty_cache()


def _grouped(todo: Sequence[Point]) -> dict[tuple[str, str], list[Point]]:
    groups: dict[tuple[str, str], list[Point]] = {}
    for point in todo:
        groups.setdefault((point.model, point.precision), []).append(point)
    return groups


def _cache_elements(step: Point) -> int:
    layer = MODELS.get(step.model, _SMOKE_LAYER)
    pages = step.requests * -(-step.kv // vllm_ops.PAGE_TOKENS)
    return 2 * pages * vllm_ops.PAGE_TOKENS * layer.n_kv_heads * layer.head_dim


class _Stack:
    """The weights of a few equal layers, and room for a cache of each.

    Args:
        bench: where they run.
        layer: their widths.
        cache_elements: elements of the largest cache of one layer.
        precision: of the products: float16 or float8.
    """

    def __init__(self, bench: Bench, layer: Layer, cache_elements: int, precision: str) -> None:
        self.layer, self.device, self.precision = layer, bench.device, precision
        self.weights = [{name: self._weight(n, k) for name, (k, n) in layer.weights.items()} for _ in range(_WEIGHTS)]
        self.scales = {n: torch.ones(n, 1, device=self.device) for _, n in layer.weights.values()}
        self.caches = torch.empty(_WEIGHTS, cache_elements, dtype=torch.float16, device=self.device).normal_()
        self.norm = torch.ones(layer.hidden, dtype=torch.float16, device=self.device)
        self.table = torch.randn(1 << 15, layer.head_dim, device=self.device).to(torch.float16)
        functions = vllm_ops.add_norm, vllm_ops.silu_mul, vllm_ops.rotate
        on_gpu = bench.device.type == "cuda"
        self.add_norm, self.silu_mul, self.rotate = (
            tuple(map(torch.compile, functions)) if layer.compiled and on_gpu else functions
        )
        self.own_ops = on_gpu and not layer.compiled
        if layer.compiled and on_gpu:
            self._compile()

    def _compile(self) -> None:
        """Compile for many rows, to which torch's compiler fits the blocks of its kernels: as the engine does first."""
        torch._dynamo.reset()  # a second model's widths would be compiled as variables
        layer = self.layer
        widths = layer.hidden, layer.hidden, 2 * layer.inner, (layer.n_heads + 2 * layer.n_kv_heads) * layer.head_dim
        states, residual, gate_up, qkv = (
            torch.randn(_COMPILED_ROWS, width, device=self.device).to(torch.float16) for width in widths
        )
        positions = torch.arange(_COMPILED_ROWS, device=self.device)
        for each in (states, residual, gate_up, qkv, positions):
            torch._dynamo.maybe_mark_dynamic(each, 0)
        with torch.no_grad():
            self.normed(states, residual)
            self.activated(gate_up)
            self.rotated(qkv, positions)

    def _weight(self, n: int, k: int) -> torch.Tensor:
        weight = torch.empty(n, k, dtype=torch.float16, device=self.device).normal_(0.0, _WEIGHT_SCALE)
        return weight if self.precision == "float16" else weight.to(vllm_ops.FP8)

    def product(self, states: torch.Tensor, name: str, index: int, rows: int) -> torch.Tensor:
        """Return states times a weight, with room for more rows; eight-bit products quantise their inputs first."""
        weight = self.weights[index % _WEIGHTS][name]
        out = torch.empty(max(rows, len(states)), len(weight), dtype=torch.float16, device=self.device)
        torch._dynamo.maybe_mark_dynamic(out, 0)
        if self.precision == "float16":
            torch.mm(states, weight.t(), out=out[: len(states)])
        else:
            vllm_ops.scaled_product(out[: len(states)], states, weight, self.scales[len(weight)])
        return out

    def normed(self, states: torch.Tensor, residual: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the normalised sum and the sum."""
        if not self.own_ops:
            found: tuple[torch.Tensor, torch.Tensor] = self.add_norm(states, residual, self.norm)
            return found
        torch.ops._C.fused_add_rms_norm(states, residual, self.norm, 1e-6)
        return states, residual

    def activated(self, gate_up: torch.Tensor) -> torch.Tensor:
        """Return the gated activation."""
        if not self.own_ops:
            found: torch.Tensor = self.silu_mul(gate_up)
            return found
        out = torch.empty(len(gate_up), gate_up.shape[1] // 2, dtype=gate_up.dtype, device=self.device)
        torch.ops._C.silu_and_mul(out, gate_up)
        return out

    def rotated(self, qkv: torch.Tensor, positions: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return queries, keys and values, ``(rows, heads, width)`` each."""
        layer = self.layer
        if not self.own_ops:
            found: tuple[torch.Tensor, ...] = self.rotate(
                qkv, positions, self.table, (layer.n_heads, layer.n_kv_heads, layer.head_dim)
            )
            return found
        widths = [heads * layer.head_dim for heads in (layer.n_heads, layer.n_kv_heads, layer.n_kv_heads)]
        q, k, v = qkv.split(widths, dim=-1)
        torch.ops._C.rotary_embedding(positions, q, k, layer.head_dim, self.table, True)
        return tuple(each.unflatten(-1, (-1, layer.head_dim)) for each in (q, k, v))


def _layers(step: Point) -> int:
    """Return how many layers a graph holds: enough that its own launch counts for little."""
    return 8 if step.rows <= GRAPH_ROWS else 2


def _prepared(stack: _Stack, step: Point) -> Callable[[], object]:
    layer, device, rows = stack.layer, stack.device, step.rows
    batch = vllm_ops.Batch(step.requests, step.queries, step.kv, graph=rows <= GRAPH_ROWS)
    attention = vllm_ops.PagedAttention(
        batch, layer.n_heads, layer.n_kv_heads, layer.head_dim, device, eight_bit=False
    )
    size = _cache_elements(step)
    caches = [cache[:size].view(attention.cache_shape) for cache in stack.caches]
    room = max(2, rows)  # torch's compiler makes one row a special case, and vLLM does not
    positions = torch.arange(room, device=device)
    states, residual = (torch.randn(room, layer.hidden, device=device).to(torch.float16) for _ in range(2))
    out = torch.empty(rows, layer.n_heads, layer.head_dim, dtype=torch.float16, device=device)
    for each in (positions, states, residual):
        torch._dynamo.maybe_mark_dynamic(each, 0)

    def run() -> torch.Tensor:
        hidden, carried = states, residual
        if stack.own_ops:  # which add in place
            hidden, carried = states.clone(), residual.clone()
        for index in range(_layers(step)):
            q, k, v = (
                each[:rows] for each in stack.rotated(stack.product(hidden[:rows], "qkv", index, room), positions)
            )
            attention.append(k, v, caches[index % _WEIGHTS])
            attention.attend(q, caches[index % _WEIGHTS], out)
            hidden = stack.product(out.view(rows, -1), "projection", index, room)
            hidden, carried = stack.normed(hidden, carried)
            inner = stack.activated(stack.product(hidden[:rows], "gate_up", index, room))
            hidden = stack.product(inner[:rows], "down", index, room)
            hidden, carried = stack.normed(hidden, carried)
        return hidden

    return run


def _on_gpu(
    bench: Bench, stack: _Stack, steps: Sequence[Point], runs: Sequence[Callable[[], object]]
) -> Iterator[Row]:
    """Yield every operation of every step, then the layers; one profile for all steps of a model."""
    pool = torch.cuda.graph_pool_handle()
    graphs = [_captured(run, bench, pool) for run in runs]
    todo = [(step, graph, pace) for step, graph in zip(steps, graphs, strict=True) for pace in _paces(step)]
    whole = [(_replayed(graph, pace), _clock(graph, step, pace, bench.counter)) for step, graph, pace in todo]
    launches: list[Callable[[], object]] = []
    for step, graph, pace in todo:
        launches.append(partial(_steadied, graph, step, pace))
        launches += [partial(_once, graph, pace)] * _PROFILED
    found = kernels_of(launches, bench.device)
    for index, ((step, _, pace), (layer_s, sm_hz)) in enumerate(zip(todo, whole, strict=True)):
        n_layers = _layers(step)
        ran = found[index * (_PROFILED + 1) + 1 : (index + 1) * (_PROFILED + 1)]
        yield from _operations(step, pace, stack.layer, [_by_operation(each, n_layers) for each in ran])
        n_kernels = round(statistics.median(map(len, ran)) / n_layers)
        row = _row(step, pace, "layer", (0, 0), n_kernels=n_kernels, time_s=layer_s / n_layers)
        yield row | {"sm_hz": sm_hz}
    for graph in graphs:
        graph.reset()


def _paces(step: Point) -> tuple[str, ...]:
    return ("burst", "steady") if step.rows > BURST_ROWS else ("steady",)


def _operations(step: Point, pace: str, layer: Layer, replays: Sequence[dict[str, list[Ran]]]) -> Iterator[Row]:
    n_layers = _layers(step)
    sizes = {**layer.weights, **dict.fromkeys(_SMALL, (layer.hidden, layer.inner))}
    for op, (k, n) in sizes.items():
        each = [replay[op] for replay in replays if op in replay]
        if each:
            seconds = statistics.median(sum(ran.time_s for ran in kernels) / n_layers for kernels in each)
            names = " ".join(dict.fromkeys(_short(ran.name) for ran in each[0]))
            count = round(len(each[0]) / n_layers)
            yield _row(step, pace, op, (k, n), n_kernels=count, time_s=seconds) | {"kernels": names}


def _captured(run: Callable[[], object], bench: Bench, pool: Any) -> Any:
    with torch.cuda.stream(bench.stream), torch.no_grad():
        for _ in range(2):
            run()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        graph.capture_begin(pool=pool)
        try:
            run()
        finally:
            graph.capture_end()
    torch.cuda.current_stream().wait_stream(bench.stream)
    return graph


def _replayed(graph: Any, pace: str) -> float:
    """Return the median seconds of a replay."""
    times = []
    for _ in range(_REPLAYS):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        _pause(pace)
        if pace == "steady":
            graph.replay()  # the host is ahead of the GPU
        start.record()
        graph.replay()
        end.record()
        torch.cuda.synchronize()
        times.append(float(start.elapsed_time(end)) * 1e-3)
    return statistics.median(times)


def _pause(pace: str) -> None:
    if pace == "burst":
        torch.cuda.synchronize()
        time.sleep(_PAUSE_S)


def _once(graph: Any, pace: str) -> None:
    _pause(pace)
    graph.replay()


def _steadied(graph: Any, step: Point, pace: str) -> None:
    """Replay until the board has its steady clock, where a prompt is measured so."""
    ends: deque[Any] = deque(maxlen=3)
    stop_s = time.perf_counter() + (_STEADY_S if pace == "steady" and step.prompt else 0.0)
    while time.perf_counter() < stop_s:
        graph.replay()
        if len(ends) == ends.maxlen:
            ends[0].synchronize()  # the host is not to run far ahead
        ends.append(torch.cuda.Event())
        ends[-1].record()


def _clock(graph: Any, step: Point, pace: str, counter: EnergyCounter | None) -> float | None:
    """Return the multiprocessors' clock in steady replays of a prompt; None without a counter."""
    if counter is None or pace != "steady" or not step.prompt:
        return None
    _steadied(graph, step, pace)
    hertz = counter.sm_hz()
    torch.cuda.synchronize()
    return hertz


_SMALL = ("rotary", "kv_append", "attention", "add_norm", "activation", "quantise")
_PRODUCTS = ("qkv", "projection", "gate_up", "down")
#: what follows so many products of a layer
_AFTER = ("add_norm", "rotary", "add_norm", "activation")


def _by_operation(ran: Sequence[Ran], layers: int) -> dict[str, list[Ran]]:
    """Sort the kernels of a replay by operation: products by their order, and what follows a product by that."""
    found: dict[str, list[Ran]] = {}
    products = 0
    for kernel in ran:
        op = _operation(kernel.name, products)
        products += _is_product(kernel.name)
        found.setdefault(op, []).append(kernel)
    if products != len(_PRODUCTS) * layers:
        raise ValueError(f"found {products} products in {layers} layers: {sorted({kernel.name for kernel in ran})}")
    return found


def _operation(name: str, products: int) -> str:
    """Return the operation of a kernel that follows a number of products."""
    of_layer = products % len(_PRODUCTS)
    for words, op in _NAMED.items():
        if any(word in name for word in words):
            return op
    if "splitKreduce" in name:
        return _PRODUCTS[of_layer - 1]
    if _is_product(name):
        return _PRODUCTS[of_layer]
    if "emcpy" in name:
        return "input"
    if "emset" in name or "FillFunctor" in name:
        return "attention" if of_layer == 1 else _PRODUCTS[of_layer]
    return _AFTER[of_layer]


_NAMED = {("reshape_and_cache",): "kv_append", ("flash",): "attention", ("scaled_fp8_quant",): "quantise"}


def _is_product(name: str) -> bool:
    return any(word in name for word in ("nvjet", "gemm", "Gemm", "gemv")) and "flash" not in name


def _short(name: str) -> str:
    return name.removeprefix("void ").partition("(")[0].partition("<")[0].replace(" ", "")


def _row(step: Point, pace: str, op: str, sizes: tuple[int, int], *, n_kernels: int, time_s: float) -> Row:
    return {
        "model": step.model, "precision": step.precision, "requests": step.requests, "queries": step.queries,
        "kv": step.kv, "pace": pace, "op": op, "k": sizes[0], "n": sizes[1], "n_kernels": n_kernels,
        "time_s": time_s, "sm_hz": None, "kernels": "",
    }  # fmt: skip
