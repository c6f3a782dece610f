"""Time and energy of one kernel launch, measured so that the numbers mean something.

- Launches are captured into one CUDA graph of some milliseconds, so that neither Python nor the launch path counts, and
  the graph is replayed; a time is the median over the replays, divided by the launches of a graph.
- A launch works on the next of several operand sets, which together exceed :data:`COLD` times the L2 cache, so that
  weights and KV caches come from memory, as in a decode iteration.
- Energy is the driver's total-energy counter over a window of steady replays between two of its ticks.
- Operands are random: zeros let a GPU run cooler and faster than it would.
"""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch

#: operand sets together are at least this many times the L2 cache
COLD = 2.5
#: each operand set starts at a multiple of this number of bytes
_ALIGNMENT_BYTES = 512
_L2_WITHOUT_GPU_BYTES, _POOL_WITHOUT_GPU_BYTES = 1 << 20, 1 << 20
#: replays are queued for the energy counter in chunks of about this long
_CHUNK_S = 0.03

Launch = Callable[[int], object]


@dataclass(frozen=True)
class Settings:
    """Durations and repetitions of a measurement.

    Attributes:
        graph_s: target duration of one graph.
        max_launches: maximum number of launches in a graph.
        n_warm_up: replays before the timed ones.
        n_repeats: timed replays; the median counts.
        energy_s: window of the energy counter; 0 measures none.
        energy_settle_s: steady replays before that window.
    """

    graph_s: float = 2e-3
    max_launches: int = 400
    n_warm_up: int = 3
    n_repeats: int = 9
    energy_s: float = 0.5
    energy_settle_s: float = 0.15


SMOKE = Settings(graph_s=1e-4, max_launches=2, n_warm_up=1, n_repeats=3, energy_s=0.0)


@dataclass(frozen=True)
class Timing:
    """Time, and energy where it was measured, of one launch."""

    time_s: float
    energy_j: float | None = None


@dataclass
class Bench:
    """A device to measure on."""

    device: torch.device
    settings: Settings = field(default_factory=Settings)
    counter: EnergyCounter | None = None

    @cached_property
    def stream(self) -> Any:
        """The stream that graphs are captured on; one for all, as cuBLAS keeps a workspace for each."""
        return torch.cuda.Stream(self.device)

    @property
    def l2_bytes(self) -> int:
        """Bytes of the device's L2 cache."""
        if self.device.type != "cuda":
            return _L2_WITHOUT_GPU_BYTES
        return int(torch.cuda.get_device_properties(self.device).L2_cache_size)

    def sets(self, set_bytes: int) -> int:
        """Return the number of operand sets of this size that keeps the L2 cache cold, at least 2."""
        return max(2, math.ceil(COLD * self.l2_bytes / set_bytes))

    def time(self, launch: Launch, n_sets: int, floor_s: float, *, energy: bool = False) -> Timing:
        """Measure one launch.

        Args:
            launch: launches the kernel on the operand set of the given index.
            n_sets: number of operand sets.
            floor_s: lower bound of the kernel's time, from which the number of launches in a graph follows.
            energy: whether to measure energy as well.
        """
        n_launches = min(self.settings.max_launches, math.ceil(self.settings.graph_s / floor_s))
        n_launches = max(n_sets, n_launches)
        if self.device.type != "cuda":
            return _host_time(launch, n_sets, self.settings)
        return self._graph_time(launch, n_sets, n_launches, energy=energy)

    def replay_s(self, graph: Any) -> float:
        """Return the median seconds of replays of a graph, after a few that warm up."""
        for _ in range(self.settings.n_warm_up):
            graph.replay()
        events = [(_event(), _event()) for _ in range(self.settings.n_repeats)]
        for start, end in events:
            start.record()
            graph.replay()
            end.record()
        torch.cuda.synchronize()
        return statistics.median(start.elapsed_time(end) * 1e-3 for start, end in events)

    def _graph_time(self, launch: Launch, n_sets: int, n_launches: int, *, energy: bool) -> Timing:
        graph = captured(launch, n_sets, n_launches, self.stream)
        graph_s = self.replay_s(graph)
        joules = None
        if energy and self.counter is not None and self.settings.energy_s:
            joules = _energy(graph.replay, graph_s, self.counter, self.settings)
        graph.reset()
        torch.cuda.empty_cache()  # else the memory of every past graph is kept
        return Timing(graph_s / n_launches, None if joules is None else joules / n_launches)


def open_bench(device: str, *, smoke: bool) -> Bench:
    """Return a bench on ``cuda`` or ``cpu``, with an energy counter where the driver has one."""
    target = torch.device(device)
    gc.disable()  # a collection in the middle of a capture costs more than the kernels
    counter = EnergyCounter.open() if target.type == "cuda" else None
    torch.manual_seed(0)
    return Bench(target, SMOKE if smoke else Settings(), counter)


# ---- operands


class Pool:
    """Random FP16 numbers from which operands are cut, drawn once for all operands.

    Args:
        n_bytes: size of the pool; operand sets wrap around beyond it.
        device: device of the pool.
        scale: standard deviation of the numbers.
    """

    def __init__(self, n_bytes: int, device: torch.device, scale: float = 1.0) -> None:
        self.numbers = torch.empty(n_bytes // 2, dtype=torch.float16, device=device).normal_(0.0, scale)

    def sets(self, shape: tuple[int, ...], n_sets: int) -> list[torch.Tensor]:
        """Cut operands of one shape, next to each other.

        Raises:
            ValueError: the pool is smaller than one operand.
        """
        size = math.prod(shape)
        stride = math.ceil(size * 2 / _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES // 2
        room = len(self.numbers) // stride
        if not room:
            raise ValueError(f"an operand of {2 * size} bytes does not fit into the pool")
        starts = [(index % room) * stride for index in range(n_sets)]
        return [self.numbers[start : start + size].view(shape) for start in starts]


def open_pool(bench: Bench, n_bytes: int, scale: float = 1.0) -> Pool:
    """Return a pool for a bench; a small pool without a GPU, where only tiny shapes run."""
    return Pool(
        n_bytes if bench.device.type == "cuda" else min(n_bytes, _POOL_WITHOUT_GPU_BYTES), bench.device, scale
    )


# ---- graphs


def captured(launch: Launch, n_sets: int, n_launches: int, stream: Any) -> Any:
    """Capture launches into a graph, each on the next operand set; run some before, so that all kernels are loaded."""
    stream.wait_stream(torch.cuda.current_stream())
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.stream(stream), torch.no_grad():
        for index in range(min(2, n_sets)):
            launch(index)
        torch.cuda.synchronize()
        graph.capture_begin()
        try:
            for index in range(n_launches):
                launch(index % n_sets)
        finally:
            graph.capture_end()
    torch.cuda.current_stream().wait_stream(stream)
    return graph


def _event() -> Any:
    return torch.cuda.Event(enable_timing=True)


def _host_time(launch: Launch, n_sets: int, settings: Settings) -> Timing:
    times = []
    with torch.no_grad():
        for index in range(settings.n_repeats):
            start = time.perf_counter()
            launch(index % n_sets)
            times.append(time.perf_counter() - start)
    return Timing(statistics.median(times))


# ---- energy


class EnergyCounter:
    """The driver's counter of the energy that the board has drawn, which ticks some ten times a second."""

    def __init__(self, nvml: Any, handle: Any) -> None:
        self._nvml, self._handle = nvml, handle

    @classmethod
    def open(cls, index: int = 0) -> EnergyCounter | None:
        """Return the counter of a GPU; None where there is no NVML or the board does not count."""
        try:
            import pynvml  # noqa: PLC0415 - optional
        except ImportError:
            return None
        with suppress(pynvml.NVMLError):
            pynvml.nvmlInit()
            counter = cls(pynvml, pynvml.nvmlDeviceGetHandleByIndex(index))
            counter.joules()
            return counter
        return None

    def joules(self) -> float:
        """Joules since the driver was loaded."""
        return float(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)) * 1e-3

    def sm_hz(self) -> float:
        """Clock of the multiprocessors at this moment."""
        return float(self._nvml.nvmlDeviceGetClockInfo(self._handle, self._nvml.NVML_CLOCK_SM)) * 1e6


class Ticks:
    """The moments at which the energy counter moved, seen by polling."""

    def __init__(self, counter: EnergyCounter) -> None:
        self._counter, self._last = counter, counter.joules()
        self.seen: list[tuple[float, float]] = []

    def poll(self) -> None:
        """Read the counter once, and record (seconds, joules) if it moved."""
        joules = self._counter.joules()
        if joules != self._last:
            self._last = joules
            self.seen.append((time.perf_counter(), joules))

    def watts_after(self, moment_s: float) -> float | None:
        """Return the mean power between the first and the last tick after a moment; None with fewer than two ticks."""
        return self.watts_between(moment_s, math.inf)

    def watts_between(self, from_s: float, to_s: float) -> float | None:
        """Return the mean power between the first and the last tick in a span of time; None with fewer than two ticks."""
        within = [tick for tick in self.seen if from_s <= tick[0] <= to_s]
        if len(within) < 2:  # noqa: PLR2004 - an interval has two ends
            return None
        (first_s, first_j), (last_s, last_j) = within[0], within[-1]
        return (last_j - first_j) / (last_s - first_s)


def _energy(replay: Callable[[], None], graph_s: float, counter: EnergyCounter, settings: Settings) -> float | None:
    """Return the joules of one replay: mean watts between two ticks, times the mean time of the same replays.

    Replays are queued in chunks, one ahead of the one that runs, so that the GPU never waits.
    """
    n_chunk = math.ceil(_CHUNK_S / graph_s)
    ticks, ends = Ticks(counter), []
    start_s = time.perf_counter()
    settled_s = start_s + settings.energy_settle_s
    while time.perf_counter() < settled_s + settings.energy_s or len(ends) < 3:  # noqa: PLR2004 - two intervals
        for _ in range(n_chunk):
            replay()  # a look at the counter in between takes longer than a short graph
        ends.append(_event())
        ends[-1].record()
        while len(ends) > 1 and not ends[-2].query():
            ticks.poll()
            time.sleep(1e-3)
    torch.cuda.synchronize()
    watts = ticks.watts_after(settled_s)
    sustained_s = ends[0].elapsed_time(ends[-1]) * 1e-3 / (n_chunk * (len(ends) - 1))
    return None if watts is None else watts * sustained_s
