"""All-reduce of FP16 messages over all GPUs of a host, by NCCL."""

from __future__ import annotations

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

from kernels.harness import Bench
from kernels.tables import Row

COLUMNS = ("ranks", "message_bytes", "time_s", "library")
MESSAGE_BYTES = tuple(
    sorted({*(1 << power for power in range(10, 29)), *(3 << power for power in range(11, 26))})
)  # fmt: skip
_SMOKE_BYTES = (256, 4096)
_N_REPEATS, _N_WARM_UP, _N_LEAD_IN, _N_LAUNCHES = 15, 2000, 5, 40
_SPACER_SIZE, _LONGEST_S = 2048, 4e-3
_FASTEST_BYTES_PER_S = 4e11  # chooses graph lengths, enters no result


def points(*, smoke: bool) -> list[int]:
    """Return the bytes of every message."""
    return list(_SMOKE_BYTES if smoke else MESSAGE_BYTES)


def measure(bench: Bench, todo: Sequence[int]) -> Iterator[Row]:
    """Yield the rows of ``all_reduce.csv``: none on a single GPU."""
    on_gpu = bench.device.type == "cuda"
    ranks = torch.cuda.device_count() if on_gpu else 2
    if ranks < 2:  # noqa: PLR2004 - one rank reduces nothing
        return
    with tempfile.TemporaryDirectory() as folder:
        sizes = tuple(todo)
        mp.spawn(_rank, args=(ranks, "nccl" if on_gpu else "gloo", sizes, folder), nprocs=ranks)
        lines = (Path(folder) / "times").read_text(encoding="utf-8").splitlines()
    for message_bytes, time_s in zip(sizes, map(float, lines), strict=True):
        library = "nccl" if on_gpu else "gloo"
        yield {"ranks": ranks, "message_bytes": message_bytes, "time_s": time_s, "library": library}


def _rank(rank: int, ranks: int, backend: str, sizes: tuple[int, ...], folder: str) -> None:
    """Run as one rank: time every size; the first rank writes the slowest rank's times."""
    os.environ.setdefault("MASTER_ADDR", "localhost")
    device = torch.device("cuda", rank) if backend == "nccl" else torch.device("cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group(backend, init_method=f"file://{folder}/meeting", rank=rank, world_size=ranks)
    _raise_clocks(device)
    times = torch.tensor([_time(size, device) for size in sizes], dtype=torch.float32, device=device)
    dist.all_reduce(times, op=dist.ReduceOp.MAX)
    if rank == 0:
        (Path(folder) / "times").write_text("\n".join(map(str, times.tolist())), encoding="utf-8")
    dist.destroy_process_group()


def _raise_clocks(device: torch.device) -> None:
    """Work for a while: messages alone are too little to leave the idle clocks."""
    if device.type == "cuda":
        matrix = torch.randn(4096, 4096, dtype=torch.float16, device=device)
        for _ in repeat(None, _N_WARM_UP):
            torch.mm(matrix, matrix)
        torch.cuda.synchronize()


def _time(message_bytes: int, device: torch.device) -> float:
    message = torch.randn(message_bytes // 2, dtype=torch.float32).to(device, torch.float16)
    if device.type != "cuda":
        return _host_time(lambda: dist.all_reduce(message))
    return _graph_time(message, message_bytes)


def _host_time(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def _graph_time(message: torch.Tensor, message_bytes: int) -> float:
    """Time all-reduces between matrix products, as in a decode iteration, less the products alone.

    A graph of nothing but all-reduces would measure something else: the arguments of NCCL's kernels are kilobytes, and
    after some dozens in a row the GPU waits for them, 20 µs each. The events are nodes of the graph, so that the host's
    own time to launch it does not count either.
    """
    n_launches = max(4, min(_N_LAUNCHES, int(_LONGEST_S * _FASTEST_BYTES_PER_S / message_bytes)))
    matrix = torch.randn(_SPACER_SIZE, _SPACER_SIZE, dtype=torch.float16, device=message.device)

    def spaced() -> None:
        torch.mm(matrix, matrix)
        dist.all_reduce(message)

    with_s = _spaced_time(spaced, n_launches)
    return (with_s - _spaced_time(lambda: torch.mm(matrix, matrix), n_launches)) / n_launches


def _spaced_time(run: Callable[[], object], n_launches: int) -> float:
    """Capture launches, the first few before the clock starts, and return the median time of the others together."""
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
    return statistics.median(_replay(graph, start, end) for _ in range(_N_REPEATS))


def _replay(graph: Any, start: Any, end: Any) -> float:
    dist.barrier()
    torch.cuda.synchronize()
    graph.replay()
    torch.cuda.synchronize()
    return float(start.elapsed_time(end)) * 1e-3
