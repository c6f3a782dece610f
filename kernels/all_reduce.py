"""All-reduce of FP16 messages over all GPUs of a host: by NCCL, and by vLLM's own kernel where its libraries are."""

from __future__ import annotations

import math
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import repeat
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from kernels import vllm_ops
from kernels.harness import Bench, EnergyCounter, Ticks
from kernels.tables import Row

COLUMNS = ("ranks", "message_bytes", "time_s", "energy_j", "library")
MESSAGE_BYTES = tuple(
    sorted({*(1 << power for power in range(10, 29)), *(3 << power for power in range(11, 26))})
)  # fmt: skip
_SMOKE_BYTES = (256, 4096)
#: vLLM's own kernel takes messages below this
_OWN_BYTES = 8 << 20
#: messages whose energy is measured, too, over about so long
_ENERGY_BYTES = frozenset(1 << power for power in (13, 16, 18, 20, 22, 24, 26, 28))
_ENERGY_S, _ENERGY_CHUNK = 1.2, 8
_N_REPEATS, _N_WARM_UP, _N_LEAD_IN, _N_LAUNCHES = 15, 2000, 5, 40
_SPACER_SIZE, _LONGEST_S = 2048, 4e-3
#: products that draw little: at the power limit they would run slower without all-reduces between them
_LIGHT_SPACER_SIZE = 256
_FASTEST_BYTES_PER_S = 4e11  # chooses graph lengths, enters no result


def points(*, smoke: bool) -> list[int]:
    """Return the bytes of every message."""
    return list(_SMOKE_BYTES if smoke else MESSAGE_BYTES)


def own_points(*, smoke: bool) -> list[int]:
    """Return the bytes of the messages that vLLM's own kernel takes."""
    return [size for size in points(smoke=smoke) if size < _OWN_BYTES]


def measure(bench: Bench, todo: Sequence[int]) -> Iterator[Row]:
    """Yield the rows of ``all_reduce.csv``: none on a single GPU."""
    yield from _measured(bench, todo, "nccl")


def measure_own(bench: Bench, todo: Sequence[int]) -> Iterator[Row]:
    """Yield the rows of ``all_reduce_vllm.csv``: none on a single GPU or without vLLM's libraries."""
    if bench.device.type != "cuda" or vllm_ops.load():
        yield from _measured(bench, todo, "vllm_one_shot")


def _measured(bench: Bench, todo: Sequence[int], library: str) -> Iterator[Row]:
    on_gpu = bench.device.type == "cuda"
    ranks = torch.cuda.device_count() if on_gpu else 2
    if ranks < 2:  # noqa: PLR2004 - one rank reduces nothing
        return
    with tempfile.TemporaryDirectory() as folder:
        sizes = tuple(todo)
        mp.spawn(_rank, args=(ranks, library if on_gpu else "gloo", sizes, folder), nprocs=ranks)
        lines = (Path(folder) / "measured").read_text(encoding="utf-8").splitlines()
    for message_bytes, line in zip(sizes, lines, strict=True):
        time_s, energy_j = map(float, line.split())
        yield {
            "ranks": ranks, "message_bytes": message_bytes, "time_s": time_s,
            "energy_j": None if math.isnan(energy_j) else energy_j, "library": library if on_gpu else "gloo",
        }  # fmt: skip


class _Nccl:
    """All-reduce of torch's process group."""

    def __call__(self, message: torch.Tensor) -> None:
        """Sum a message over the ranks."""
        dist.all_reduce(message)

    def registered(self) -> None:
        """Do what is needed after a capture: nothing."""


class _OneShot:
    """vLLM's kernel, in which every rank reads the message of every other; addresses in a graph are exchanged once."""

    def __init__(self, rank: int, ranks: int, device: torch.device) -> None:
        vllm_ops.load()
        self._ops, self._ranks = torch.ops._C_custom_ar, ranks
        self._group = dist.new_group(backend="gloo")
        metas, buffers = (self._shared(rank, size) for size in (self._ops.meta_size() + _OWN_BYTES, _OWN_BYTES))
        self._room = torch.empty(8 << 20, dtype=torch.uint8, device=device)
        self._pointer = self._ops.init_custom_ar(metas, self._room, rank, True)
        self._buffer = buffers[rank]
        self._ops.register_buffer(self._pointer, buffers)

    def _shared(self, rank: int, n_bytes: int) -> list[int]:
        own, handle = self._ops.allocate_shared_buffer_and_handle(n_bytes)
        return [
            own if at == rank else self._ops.open_mem_handle(each) for at, each in enumerate(self._gathered(handle))
        ]

    def _gathered(self, mine: Any) -> list[Any]:
        found: list[Any] = [None] * self._ranks
        dist.all_gather_object(found, mine, group=self._group)
        return found

    def __call__(self, message: torch.Tensor) -> None:
        """Sum a message over the ranks, into memory of its own."""
        buffer = (0, 0) if torch.cuda.is_current_stream_capturing() else (self._buffer, _OWN_BYTES)
        self._ops.all_reduce(self._pointer, message, torch.empty_like(message), *buffer)

    def registered(self) -> None:
        """Exchange the addresses of the last graph."""
        handles, offsets = zip(*self._gathered(self._ops.get_graph_buffer_ipc_meta(self._pointer)), strict=True)
        self._ops.register_graph_buffers(self._pointer, list(handles), list(offsets))


def _rank(rank: int, ranks: int, library: str, sizes: tuple[int, ...], folder: str) -> None:
    """Run as one rank: time every size; the first rank writes the slowest rank's times and the boards' joules together."""
    os.environ.setdefault("MASTER_ADDR", "localhost")
    backend = "gloo" if library == "gloo" else "nccl"
    device = torch.device("cuda", rank) if backend == "nccl" else torch.device("cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group(backend, init_method=f"file://{folder}/meeting", rank=rank, world_size=ranks)
    _raise_clocks(device)
    reduce = _OneShot(rank, ranks, device) if library == "vllm_one_shot" else _Nccl()
    times = torch.tensor([_time(reduce, size, device) for size in sizes], dtype=torch.float64, device=device)
    dist.all_reduce(times, op=dist.ReduceOp.MAX)
    joules = torch.tensor([_energy(reduce, size, device) for size in sizes], dtype=torch.float64, device=device)
    dist.all_reduce(joules)
    if rank == 0:
        lines = [f"{time_s} {joule}" for time_s, joule in zip(times.tolist(), joules.tolist(), strict=True)]
        (Path(folder) / "measured").write_text("\n".join(lines), encoding="utf-8")
    dist.destroy_process_group()


def _raise_clocks(device: torch.device) -> None:
    """Work for a while: messages alone are too little to leave the idle clocks."""
    if device.type == "cuda":
        matrix = torch.randn(4096, 4096, dtype=torch.float16, device=device)
        for _ in repeat(None, _N_WARM_UP):
            torch.mm(matrix, matrix)
        torch.cuda.synchronize()


def _time(reduce: _Nccl | _OneShot, message_bytes: int, device: torch.device) -> float:
    message = torch.randn(message_bytes // 2, dtype=torch.float32).to(device, torch.float16)
    if device.type != "cuda":
        return _host_time(lambda: reduce(message))
    return _graph_time(reduce, message)


def _host_time(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def _graph_time(reduce: _Nccl | _OneShot, message: torch.Tensor) -> float:
    """Time all-reduces between matrix products, as in a decode iteration, less the products alone.

    A graph of nothing but all-reduces would measure something else: the arguments of NCCL's kernels are kilobytes, and
    after some dozens in a row the GPU waits for them, 20 µs each. The events are nodes of the graph, so that the host's
    own time to launch it does not count either.
    """
    n_launches = _launches(message.nbytes)
    graphs = [_captured(reduce, run, n_launches) for run in _with_and_without(reduce, message, _SPACER_SIZE)]
    with_s, without_s = (statistics.median(_replay(*each) for _ in range(_N_REPEATS)) for each in graphs)
    return (with_s - without_s) / n_launches


def _launches(message_bytes: int) -> int:
    return max(4, min(_N_LAUNCHES, int(_LONGEST_S * _FASTEST_BYTES_PER_S / message_bytes)))


def _with_and_without(
    reduce: _Nccl | _OneShot, message: torch.Tensor, size: int
) -> tuple[Callable[[], object], Callable[[], object]]:
    """Return a matrix product followed by an all-reduce, and the product alone."""
    matrix = torch.randn(size, size, dtype=torch.float16, device=message.device)

    def spaced() -> None:
        torch.mm(matrix, matrix)
        reduce(message)

    return spaced, lambda: torch.mm(matrix, matrix)


def _captured(reduce: _Nccl | _OneShot, run: Callable[[], object], n_launches: int) -> tuple[Any, Any, Any]:
    """Capture launches, the first few before the clock starts; return the graph and the events at its two ends."""
    for _ in repeat(None, _N_LEAD_IN):
        run()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    start, end = (torch.cuda.Event(enable_timing=True, external=True) for _ in range(2))
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # NCCL's watchdog makes calls of its own
        for _ in repeat(None, _N_LEAD_IN):  # the ranks meet: they leave within one all-reduce of each other
            run()
        start.record()
        for _ in repeat(None, n_launches):
            run()
        end.record()
    reduce.registered()
    return graph, start, end


def _replay(graph: Any, start: Any, end: Any) -> float:
    dist.barrier()
    torch.cuda.synchronize()
    graph.replay()
    torch.cuda.synchronize()
    return float(start.elapsed_time(end)) * 1e-3


def _energy(reduce: _Nccl | _OneShot, message_bytes: int, device: torch.device) -> float:
    """Return this rank's joules of one all-reduce: of products with all-reduces, less those of the products alone."""
    counter = EnergyCounter.open(device.index) if device.type == "cuda" else None
    if counter is None or message_bytes not in _ENERGY_BYTES:
        return math.nan
    message = torch.randn(message_bytes // 2, dtype=torch.float32).to(device, torch.float16)
    n_launches = _launches(message_bytes)
    captured = [
        _captured(reduce, run, n_launches) for run in _with_and_without(reduce, message, _LIGHT_SPACER_SIZE)
    ]  # holds the events of the graphs, too
    with_j, without_j = (_sustained_j(graph, counter, device) for graph, _, _ in captured)
    return (with_j - without_j) / (n_launches + _N_LEAD_IN)


def _sustained_j(graph: Any, counter: EnergyCounter, device: torch.device) -> float:
    """Return the joules of one replay: every rank replays as often, a few ahead of the one that runs."""
    start_s = time.perf_counter()
    for _ in repeat(None, _ENERGY_CHUNK):
        graph.replay()
    torch.cuda.synchronize()
    chunk_s = torch.tensor([time.perf_counter() - start_s], dtype=torch.float64, device=device)
    dist.all_reduce(chunk_s, op=dist.ReduceOp.MAX)
    ticks, ends = Ticks(counter), []
    begin_s = time.perf_counter()
    for _ in range(max(3, math.ceil(_ENERGY_S / chunk_s.item()))):
        for _ in repeat(None, _ENERGY_CHUNK):
            graph.replay()
        ends.append(torch.cuda.Event(enable_timing=True))
        ends[-1].record()
        while len(ends) > 1 and not ends[-2].query():
            ticks.poll()
            time.sleep(5e-4)
    torch.cuda.synchronize()
    watts = ticks.watts_after(begin_s + 0.2 * _ENERGY_S)
    replay_s = ends[0].elapsed_time(ends[-1]) * 1e-3 / (_ENERGY_CHUNK * (len(ends) - 1))
    return math.nan if watts is None else watts * replay_s
