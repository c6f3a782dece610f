"""Kernels of launches as torch's profiler records them: names, grids and seconds, cut at markers.

Each launch is followed by a marker, a kernel that no library has, so that the kernels of one launch are those between two
markers.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.profiler import ProfilerActivity, profile

#: name of the marker's kernel, in part
MARKER = "sigmoid_kernel"
_MICRO = 1e-6


class Ran(NamedTuple):
    """One kernel that ran: name, grid, and seconds on the GPU."""

    name: str
    grid: str
    time_s: float


def kernels_of(launches: Sequence[Callable[[], object]], device: torch.device) -> list[list[Ran]]:
    """Return the kernels of each launch in the order in which they began; copies and fills of memory are kernels, too."""
    marker = torch.zeros(1, device=device)

    def run() -> None:
        torch.sigmoid(marker)
        for launch in launches:
            launch()
            torch.sigmoid(marker)

    on_gpu = [event for event in events_of(run) if event.get("cat") in ("kernel", "gpu_memcpy", "gpu_memset")]
    found: list[list[Ran]] = []
    for event in sorted(on_gpu, key=lambda event: event["ts"]):
        if MARKER in event["name"]:
            found.append([])
        elif found:
            grid = "x".join(str(size) for size in event["args"].get("grid", ()))
            found[-1].append(Ran(event["name"], grid, event["dur"] * _MICRO))
    return found[:-1]


def events_of(run: Callable[[], None]) -> list[dict[str, Any]]:
    """Return the events that torch's profiler records of the GPU, in no order."""
    with torch.no_grad(), profile(activities=[ProfilerActivity.CUDA]) as profiler:
        run()
        torch.cuda.synchronize()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(path))
        events: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
    return events
