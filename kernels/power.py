"""What a board at its power limit does: how fast its clock falls, over how long it averages, and what several loads share.

A pattern is a load, or loads and pauses in turn, each for some milliseconds, that begins on a board at rest. Each row has the
median time of a launch of one load in one span of time since the beginning, the share of the span that the load ran for, and the
clock and the power meanwhile.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
from torch.nn.functional import linear

from kernels import vllm_ops
from kernels.harness import Bench, Ticks, captured, open_pool
from kernels.tables import Row

COLUMNS = ("pattern", "load", "from_s", "to_s", "busy_ratio", "launch_s", "sm_hz", "power_w")
#: ends of the spans of time since the beginning of a pattern, in seconds
SPANS = (0.0, 0.002, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28)
_REST_S, _GRAPH_S, _AHEAD, _POOL_BYTES = 0.6, 2e-3, 6, 4 << 30
#: inputs and outputs of every product
_K, _N = 4096, 12288
_HEADS, _WIDTH = 32, 128
#: chooses graph lengths, enters no result
_FASTEST_FLOP_PER_S, _FASTEST_BYTES_PER_S, _TINY_S = 1e15, 4e12, 3e-6

PRODUCTS, EIGHT_BIT = (1, 16, 64, 128, 256, 512, 1024, 2048, 8192), (16, 512, 4096)
DUTY = ((5, 5), (20, 20), (80, 80), (160, 160), (20, 60), (60, 20), (20, 5))
SHARED = ((5, 5), (20, 20), (80, 80), (10, 30), (30, 10))


@dataclass(frozen=True)
class Part:
    """A load for some time, or, without a load, a pause."""

    load: str | None
    seconds: float


@dataclass(frozen=True)
class Pattern:
    """Parts that follow one another, again and again."""

    parts: tuple[Part, ...]

    @property
    def name(self) -> str:
        """The loads and their milliseconds."""
        return "+".join(f"{part.load or 'pause'}:{part.seconds * 1e3:g}" for part in self.parts)


def points(*, smoke: bool) -> list[Pattern]:
    """Return every pattern: each load alone, loads with pauses, and loads in turn."""
    if smoke:
        return [_pattern(("product_2", 1), (None, 1)), _pattern(("stream", 1))]
    alone = [f"product_{rows}" for rows in PRODUCTS] + [f"product8_{rows}" for rows in EIGHT_BIT]
    alone += ["prompt_2048", "decode_64", "stream", "tiny"]
    found = [_pattern((load, 20)) for load in alone] + [_pattern(("tiny", 2), (None, 10))]
    found += [_pattern(("product_2048", busy), (None, idle)) for busy, idle in DUTY]
    found += [_pattern(("product_2048", first), ("product_16", second)) for first, second in SHARED]
    return [*found, _pattern(("product_512", 20), ("decode_64", 20)), _pattern(("product_64", 6), (None, 2))]


def _pattern(*parts: tuple[str | None, float]) -> Pattern:
    return Pattern(tuple(Part(load, milliseconds * 1e-3) for load, milliseconds in parts))


@dataclass(frozen=True)
class _Load:
    """A graph of some launches, or, without a GPU, one launch."""

    replay: Callable[[], object]
    n_launches: int
    seconds: float


def measure(bench: Bench, todo: Sequence[Pattern]) -> Iterator[Row]:
    """Yield the rows of ``power.csv``; loads that need vLLM's kernels are left out without them."""
    on_gpu = bench.device.type == "cuda"
    has_vllm = on_gpu and vllm_ops.load()
    loads: dict[str, _Load] = {}
    for pattern in todo:
        names = [part.load for part in pattern.parts if part.load is not None]
        if not has_vllm and any(name.startswith(("product8", "prompt", "decode")) for name in names):
            continue
        for name in names:
            if name not in loads:
                loads[name] = _load(bench, name)
        yield from _run(bench, pattern, loads, seconds=SPANS[-1] if on_gpu else 0.01)


def _load(bench: Bench, name: str) -> _Load:
    kind, _, size = name.partition("_")
    launch, n_sets, floor_s = _KINDS[kind](bench, int(size or 1))
    if bench.device.type != "cuda":
        return _Load(lambda: launch(0), 1, 1e-3)
    n_launches = max(n_sets, math.ceil(_GRAPH_S / floor_s))
    graph = captured(launch, n_sets, n_launches, bench.stream)
    return _Load(graph.replay, n_launches, bench.replay_s(graph))


_Made = tuple[Callable[[int], object], int, float]


def _product(bench: Bench, rows: int) -> _Made:
    k, n = (_K, _N) if bench.device.type == "cuda" else (16, 16)
    pool, n_sets = open_pool(bench, _POOL_BYTES, 0.1), bench.sets(2 * k * (rows + n))
    inputs, weights = pool.sets((rows, k), n_sets), pool.sets((n, k), n_sets)
    floor_s = max(2 * rows * n * k / _FASTEST_FLOP_PER_S, 2 * n * k / _FASTEST_BYTES_PER_S)
    return lambda index: linear(inputs[index], weights[index]), n_sets, floor_s


def _product8(bench: Bench, rows: int) -> _Made:
    n_sets = bench.sets(_K * (rows + _N))
    states = [torch.randn(rows, _K, device=bench.device).to(torch.float16) for _ in range(n_sets)]
    weights = [torch.randn(_N, _K, device=bench.device).to(vllm_ops.FP8) for _ in range(n_sets)]
    scales, out = (
        torch.ones(_N, 1, device=bench.device),
        torch.empty(rows, _N, dtype=torch.float16, device=bench.device),
    )
    floor_s = max(rows * _N * _K / _FASTEST_FLOP_PER_S, _N * _K / _FASTEST_BYTES_PER_S)
    return lambda index: vllm_ops.scaled_product(out, states[index], weights[index], scales), n_sets, floor_s


def _attention(bench: Bench, batch: vllm_ops.Batch) -> _Made:
    attention = vllm_ops.PagedAttention(batch, _HEADS, _HEADS, _WIDTH, bench.device, eight_bit=False)
    size = math.prod(attention.cache_shape)
    n_sets = bench.sets(2 * size)
    caches = [
        torch.randn(size, device=bench.device).to(torch.float16).view(attention.cache_shape) for _ in range(n_sets)
    ]
    queries = torch.randn(batch.rows, _HEADS, _WIDTH, device=bench.device).to(torch.float16)
    out = torch.empty_like(queries)
    pairs = batch.rows * (batch.kv - batch.queries / 2)
    floor_s = max(4 * pairs * _HEADS * _WIDTH / _FASTEST_FLOP_PER_S, 2 * size / _FASTEST_BYTES_PER_S)
    return lambda index: attention.attend(queries, caches[index], out), n_sets, floor_s


def _stream(bench: Bench, size: int) -> _Made:
    numbers = open_pool(bench, _POOL_BYTES).numbers
    source, target = numbers.chunk(2)
    return lambda index: target.copy_(source) if index >= 0 else size, 1, 4 * source.numel() / _FASTEST_BYTES_PER_S


def _tiny(bench: Bench, size: int) -> _Made:
    numbers = torch.zeros(size, device=bench.device)
    return numbers.add_, 1, _TINY_S


_KINDS: Mapping[str, Callable[[Bench, int], _Made]] = {
    "product": _product,
    "product8": _product8,
    "prompt": lambda bench, rows: _attention(bench, vllm_ops.Batch(1, rows, rows, graph=False)),
    "decode": lambda bench, requests: _attention(bench, vllm_ops.Batch(requests, 1, 1024, graph=True)),
    "stream": _stream,
    "tiny": _tiny,
}


@dataclass
class _Seen:
    """What was seen of a pattern: when each launch ended, and the clocks between."""

    ends: list[tuple[str, float, float, int]] = field(default_factory=list)
    clocks: list[tuple[float, float]] = field(default_factory=list)
    ticks: Ticks | None = None
    start_s: float = 0.0

    def rows(self, pattern: Pattern) -> Iterator[Row]:
        """Yield a row of each load and span in which it ran."""
        for load in dict.fromkeys(part.load for part in pattern.parts if part.load):
            for from_s, to_s in pairwise(SPANS):
                ran = [each for each in self.ends if each[0] == load and from_s < each[1] <= to_s]
                times, spent = [each[2] for each in ran], [each[2] * each[3] for each in ran]
                if times:
                    clocks = [
                        hertz for at_s, hertz in self.clocks if hertz and from_s < at_s <= to_s
                    ]  # 0 is no reading
                    watts = self.ticks and self.ticks.watts_between(self.start_s + from_s, self.start_s + to_s)
                    yield {
                        "pattern": pattern.name, "load": load, "from_s": from_s, "to_s": to_s, "busy_ratio": sum(spent) / (to_s - from_s),
                        "launch_s": statistics.median(times), "sm_hz": statistics.fmean(clocks) if clocks else None,
                        "power_w": watts,
                    }  # fmt: skip


def _run(bench: Bench, pattern: Pattern, loads: Mapping[str, _Load], seconds: float) -> Iterator[Row]:
    seen = _Seen()
    if bench.device.type != "cuda":
        seen.start_s = time.perf_counter()
        while time.perf_counter() - seen.start_s < seconds:
            for load in (part.load for part in pattern.parts if part.load is not None):
                began_s = time.perf_counter()
                loads[load].replay()
                end_s = time.perf_counter()
                seen.ends.append((load, end_s - seen.start_s, end_s - began_s, 1))
        yield from seen.rows(pattern)
        return
    torch.cuda.synchronize()
    time.sleep(_REST_S)
    seen.ticks = None if bench.counter is None else Ticks(bench.counter)
    first, marks = _mark(), list[tuple[str, int, Any, Any]]()
    seen.start_s = time.perf_counter()
    while time.perf_counter() - seen.start_s < seconds:
        for part in pattern.parts:
            _play(part, loads, marks)
            _wait(bench, marks, seen, to_end=part.load is None)
            if part.load is None:
                _pause(part.seconds)
    torch.cuda.synchronize()
    for name, n_launches, start, end in marks:
        launch_s = start.elapsed_time(end) * 1e-3 / n_launches
        seen.ends.append((name, first.elapsed_time(end) * 1e-3, launch_s, n_launches))
    yield from seen.rows(pattern)


def _play(part: Part, loads: Mapping[str, _Load], marks: list[tuple[str, int, Any, Any]]) -> None:
    """Queue the graphs of a part, between events."""
    if part.load is None:
        return
    load, start = loads[part.load], _mark()
    for _ in range(max(1, round(part.seconds / load.seconds))):
        load.replay()
        end = _mark()
        marks.append((part.load, load.n_launches, start, end))
        start = end


def _wait(bench: Bench, marks: Sequence[tuple[str, int, Any, Any]], seen: _Seen, *, to_end: bool) -> None:
    """Read clock and counter until little is queued, or nothing."""
    while len(marks) > _AHEAD and not marks[-1 if to_end else -_AHEAD][-1].query():
        if bench.counter is not None and seen.ticks is not None:
            seen.clocks.append((time.perf_counter() - seen.start_s, bench.counter.sm_hz()))
            seen.ticks.poll()
        time.sleep(2e-4)


def _pause(seconds: float) -> None:
    torch.cuda.synchronize()
    time.sleep(seconds)


def _mark() -> Any:
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event
