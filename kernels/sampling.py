"""Drawing tokens as vLLM does: logits to single precision, Gumbel noise and a maximum over the vocabulary.

``kernel_s`` is the seconds of the kernels alone as torch's profiler records them.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import torch

from kernels import vllm_ops
from kernels.harness import Bench, captured
from kernels.profiler import kernels_of
from kernels.tables import Row

COLUMNS = ("drawn_rows", "vocabulary", "time_s", "kernel_s", "n_kernels")
ROWS, VOCABULARIES = (1, 2, 4, 8, 16, 32, 64, 128, 256), (32000, 128256, 151936)
_LAUNCHES = 40


@dataclass(frozen=True)
class Point:
    """Tokens drawn, each from a vocabulary."""

    rows: int
    vocabulary: int


def points(*, smoke: bool) -> list[Point]:
    """Return every point."""
    return [Point(2, 64)] if smoke else [Point(*each) for each in product(ROWS, VOCABULARIES)]


def measure(bench: Bench, todo: Sequence[Point]) -> Iterator[Row]:
    """Yield the rows of ``sampling.csv``."""
    on_gpu = bench.device.type == "cuda"
    if on_gpu and not vllm_ops.load():
        return
    launches = [_prepared(bench, point) for point in todo]
    if not on_gpu:
        for point, launch in zip(todo, launches, strict=True):
            yield _row(point, bench.time(launch, 1, 1e-6).time_s, 0.0, 0)
        return
    graphs = [captured(launch, 1, _LAUNCHES, bench.stream) for launch in launches]
    times = [bench.replay_s(graph) / _LAUNCHES for graph in graphs]
    runs = kernels_of([graph.replay for graph in graphs], bench.device)
    for point, time_s, ran in zip(todo, times, runs, strict=True):
        yield _row(point, time_s, sum(kernel.time_s for kernel in ran) / _LAUNCHES, round(len(ran) / _LAUNCHES))


def _prepared(bench: Bench, point: Point) -> Callable[[int], object]:
    device = bench.device
    logits = torch.randn(point.rows, point.vocabulary, device=device).to(torch.float16)
    if device.type != "cuda":
        return lambda _: logits.float().argmax(dim=-1)
    draw = importlib.import_module("vllm.v1.worker.gpu.sample.gumbel").gumbel_sample
    requests = torch.arange(point.rows, device=device)
    temperature = torch.ones(point.rows, device=device)
    return lambda _: draw(logits.float(), requests, temperature, requests, requests, apply_temperature=False)


def _row(point: Point, time_s: float, kernel_s: float, n_kernels: int) -> Row:
    return {
        "drawn_rows": point.rows, "vocabulary": point.vocabulary, "time_s": time_s, "kernel_s": kernel_s,
        "n_kernels": n_kernels,
    }  # fmt: skip
