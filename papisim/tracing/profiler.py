"""Record real decode iterations of a model on a GPU with torch's profiler.

The model is as transformers builds it: random FP16 weights, its growing cache, its own choice of attention, eager. The
profiler writes the same Chrome trace as for any other run, and :mod:`papisim.tracing.kineto` reads both.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch.profiler import ProfilerActivity, profile
from transformers import AutoModelForCausalLM, DynamicCache
from transformers.utils import logging as transformers_logging

from papisim.errors import InputError, NotModelled
from papisim.ops.trace import Point
from papisim.tracing.models import ModelSource
from papisim.tracing.published import DEFAULT_DTYPE, dtype_of

#: entries of a profiler's file that identify the machine and its user; the import needs none of them
_PRIVATE: Final = frozenset({"distributedInfo", "traceName", "trace_id", "host_name", "hostname"})
Progress = Callable[[str], None]


@dataclass(frozen=True)
class RecordedStep:
    """A profiled decode iteration.

    Attributes:
        point: requests, new tokens and cached tokens of the iteration.
        file: the profiler's trace, gzip-compressed JSON.
    """

    point: Point
    file: Path


def record(
    source: ModelSource,
    points: Iterable[Point],
    folder: Path,
    *,
    device: str = "cuda",
    n_layers: int | None = None,
    progress: Progress = lambda _: None,
) -> Iterator[RecordedStep]:
    """Profile one decode iteration at each point.

    Args:
        source: the model.
        points: points at which to run; ``KV`` tokens are in the cache before the iteration.
        folder: folder for the profiler's traces.
        device: torch's name of the device.
        n_layers: number of layers of the slice that runs; all layers when None.
        progress: called with each line of progress.

    Raises:
        InputError: the machine has no such device.
        NotModelled: the model or a point does not fit into the device's memory, or cannot run there.
    """
    model = _load(source, device, n_layers)
    folder.mkdir(parents=True, exist_ok=True)
    for point in points:
        progress(f"profiling {source.name} at {point}")
        file = folder / f"{source.name}_rlp{point.rlp}_tlp{point.tlp}_kv{point.kv}.json.gz"
        try:
            _run(model, point)  # loads kernels, picks algorithms
            _write(_profiled(model, point), file)
        except torch.OutOfMemoryError:
            raise NotModelled(f"{source.name} at {point} does not fit into the memory of {device}") from None
        yield RecordedStep(point, file)


def require_gpu() -> None:
    """Refuse to go on without a GPU.

    Raises:
        InputError: torch sees none.
    """
    if not torch.cuda.is_available():
        raise InputError("torch sees no CUDA GPU on this machine", field="--device")


def gpu_name(device: str = "cuda") -> str:
    """Return a short name of a GPU for file names: ``h200`` for an NVIDIA H200."""
    name = torch.cuda.get_device_name(device).lower().replace("-", " ")
    return "-".join(word for word in name.split() if word not in ("nvidia", "geforce", "tesla")) or "gpu"


def _load(source: ModelSource, device: str, n_layers: int | None) -> Any:
    if device.startswith("cuda"):
        require_gpu()
    transformers_logging.set_verbosity_error()
    config = source.config()
    if n_layers is not None:
        config.num_hidden_layers = min(n_layers, config.num_hidden_layers)
    if type(config) not in AutoModelForCausalLM._model_mapping:
        raise NotModelled(
            f"{source.name}: transformers has no causal decoder of the architecture '{config.model_type}'"
        )
    dtype = getattr(torch, dtype_of(source.fields, source.file) or DEFAULT_DTYPE)
    torch.manual_seed(0)
    try:
        with torch.device(device):
            return AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation="sdpa").eval()
    except torch.OutOfMemoryError:
        raise NotModelled(f"{source.name} does not fit into the memory of {device}; --layers runs a slice") from None


def _run(model: Any, point: Point) -> None:
    inputs = _inputs(model, point)
    with torch.no_grad():
        model(**inputs)
    _wait(model)


def _profiled(model: Any, point: Point) -> Any:
    inputs = _inputs(model, point)
    _wait(model)
    on_gpu = model.device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with profile(activities=activities, record_shapes=True) as profiled, torch.no_grad():
        model(**inputs)
        _wait(model)
    return profiled


def _inputs(model: Any, point: Point) -> dict[str, Any]:
    """Make random tokens and a cache filled with random K and V."""
    config, device = model.config, model.device
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    n_kv_heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    shape = (point.rlp, n_kv_heads, point.kv, head_dim)
    cache = DynamicCache(config=config)
    for layer in range(config.num_hidden_layers):
        keys, values = (torch.randn(shape, dtype=model.dtype, device=device) for _ in range(2))
        cache.update(keys, values, layer)
    tokens = torch.randint(0, config.vocab_size, (point.rlp, point.tlp), device=device)
    return {"input_ids": tokens, "past_key_values": cache, "use_cache": True}


def _wait(model: Any) -> None:
    if model.device.type == "cuda":
        torch.cuda.synchronize()


def _write(profiled: Any, file: Path) -> None:
    """Write a profile as compressed JSON, without the entries that identify the machine."""
    raw = file.with_suffix("")
    profiled.export_chrome_trace(str(raw))
    trace = json.loads(raw.read_text(encoding="utf-8"))
    raw.unlink()
    kept = {key: value for key, value in trace.items() if key not in _PRIVATE}
    # no time of writing in the header, so that the same trace is the same file
    file.write_bytes(gzip.compress(json.dumps(kept, separators=(",", ":")).encode(), mtime=0))
