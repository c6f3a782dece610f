"""The machine card of a table: the GPU, its software, its clocks, and its measured ceilings."""

from __future__ import annotations

import datetime
import os
import re
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml

from kernels.harness import Bench, Settings

_COPY_BYTES, _GEMM_SIZE, _SUSTAINED_S = 4 << 30, 8192, 2.0
_FASTEST_BYTES_PER_S, _FASTEST_FLOP_PER_S = 5e12, 1e15  # choose graph lengths, enter no result

#: environment variables that choose NCCL's algorithm, noted where they are set (NVLS: reduction in the NVLink switch)
_NCCL_CHOICES = ("NCCL_NVLS_ENABLE", "NCCL_ALGO", "NCCL_PROTO", "NCCL_P2P_DISABLE")

#: words of a GPU's name that distinguish no parts here: its maker, its memory, the usual socket
_SAYS_LITTLE = re.compile(r"nvidia|geforce|tesla|graphics|\d+gb|hbm\w+|sxm\d*")

Card = dict[str, Any]


def write_card(path: Path, bench: Bench, *, smoke: bool) -> None:
    """Measure and write the card."""
    card = {
        "schema": "papisim/machine-card/1",
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        **_gpu(bench.device),
        **_driver(),
        "software": _software(),
        "method": _method(bench.settings),
        "ceilings": _ceilings(bench, smoke=smoke),
        "clocks_after_ceilings": _clocks(),
    }
    path.write_text(yaml.safe_dump(card, sort_keys=False, allow_unicode=True), encoding="utf-8")


def gpu_name(device: torch.device) -> str:
    """Return a short name for the folder of tables, ``h100`` for an NVIDIA H100 80GB HBM3."""
    if device.type != "cuda":
        return "cpu"
    name = torch.cuda.get_device_name(device).lower()
    words = [word for word in name.replace("-", " ").split() if not _SAYS_LITTLE.fullmatch(word)]
    return "-".join(words) or "gpu"


def _gpu(device: torch.device) -> Card:
    if device.type != "cuda":
        return {"gpu": "none"}
    found = torch.cuda.get_device_properties(device)
    return {
        "gpu": found.name,
        "n_gpus": torch.cuda.device_count(),
        "compute_capability": f"{found.major}.{found.minor}",
        "n_multiprocessors": found.multi_processor_count,
        "l2_bytes": int(found.L2_cache_size),
        "memory_bytes": int(found.total_memory),
    }


def _software() -> Card:
    card: Card = {"torch": str(torch.__version__), "cuda": str(torch.version.cuda)}
    if torch.cuda.is_available():
        card["nccl"] = ".".join(map(str, torch.cuda.nccl.version()))
        card["nccl_environment"] = {name: value for name, value in os.environ.items() if name in _NCCL_CHOICES}
        card["cudnn"] = torch.backends.cudnn.version()
        card["preferred_blas"] = str(torch.backends.cuda.preferred_blas_library()).rpartition(".")[2]
        with suppress(ImportError):
            from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415 - only here

            with suppress(PackageNotFoundError):
                card["cublas"] = version("nvidia-cublas")
    return card


def _driver() -> Card:
    card: Card = {}
    with suppress(Exception):  # no NVML, or a driver that does not report all of these
        import pynvml  # noqa: PLC0415 - optional

        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByIndex(0)
        card["driver"] = pynvml.nvmlSystemGetDriverVersion()
        card["power_limit_w"] = pynvml.nvmlDeviceGetPowerManagementLimit(handle) / 1000
        card["max_clock_hz"] = {
            "sm": pynvml.nvmlDeviceGetMaxClockInfo(handle, pynvml.NVML_CLOCK_SM) * 1_000_000,
            "memory": pynvml.nvmlDeviceGetMaxClockInfo(handle, pynvml.NVML_CLOCK_MEM) * 1_000_000,
        }
        card["idle_power_w"] = pynvml.nvmlDeviceGetPowerUsage(handle) / 1000
    return card


def _clocks() -> Card:
    card: Card = {}
    with suppress(Exception):  # as above
        import pynvml  # noqa: PLC0415 - optional

        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByIndex(0)
        card["sm_hz"] = pynvml.nvmlDeviceGetClockInfo(handle, pynvml.NVML_CLOCK_SM) * 1_000_000
        card["memory_hz"] = pynvml.nvmlDeviceGetClockInfo(handle, pynvml.NVML_CLOCK_MEM) * 1_000_000
        card["temperature_c"] = pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU)
    return card


def _method(settings: Settings) -> Card:
    return {
        "time": "CUDA graph replays between events; median per launch; weights and KV caches cold, activations warm",
        "graph_s": settings.graph_s,
        "n_repeats": settings.n_repeats,
        "energy": "driver's total-energy counter over steady replays",
        "energy_window_s": settings.energy_s,
    }


def _ceilings(bench: Bench, *, smoke: bool) -> Card:
    size, n_bytes = (64, 1 << 16) if smoke else (_GEMM_SIZE, _COPY_BYTES)
    source = torch.empty(n_bytes // 2, dtype=torch.float16, device=bench.device).normal_()
    target = torch.empty_like(source)
    # not copy_, which a graph hands to the copy engine; this is a kernel, as all others are
    copy_s = bench.time(lambda _: torch.mul(source, 1.0, out=target), 1, 2 * n_bytes / _FASTEST_BYTES_PER_S).time_s
    left, right = (torch.randn(size, size, dtype=torch.float16, device=bench.device) for _ in range(2))
    flop = 2 * size**3
    floor_s = flop / _FASTEST_FLOP_PER_S
    gemm_s = bench.time(lambda _: left @ right, 1, floor_s).time_s
    sustained = replace(bench, settings=replace(bench.settings, energy_settle_s=_SUSTAINED_S))
    gemm_j = sustained.time(lambda _: left @ right, 1, floor_s, energy=True).energy_j
    return {
        "copy_bytes_per_s": round(2 * n_bytes / copy_s),
        "copied": f"{n_bytes} bytes by a streaming kernel, read plus written",
        "gemm_flop_per_s": round(flop / gemm_s),
        "gemm": f"float16 {size} x {size} x {size}, random operands",
        "gemm_sustained_j": gemm_j,
    }
