"""Measured tables of GPU kernels, papisim's own and published ones, in one shape.

A table is recognised by its columns: those that ``kernels/`` writes, vidur's profiles of linear layers, NVIDIA
aiconfigurator's tables of GEMM, attention and collectives, and Frontier's of decode attention. The GPU is named in the column
``gpu``, or else in the name of the file or its folder.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from papisim.errors import InputError

#: kinds of measured kernels, each with the columns that all its tables have after reading
KINDS: dict[str, tuple[str, ...]] = {
    "linear": ("m", "k", "n"),
    "attention": ("requests", "queries", "kv", "n_heads", "n_kv_heads", "head_dim"),
    "prefill": ("requests", "queries", "kv", "n_heads", "n_kv_heads", "head_dim"),
    "all_reduce": ("ranks", "message_bytes"),
    "elementwise": ("op", "rows", "width", "moved_bytes"),
    "fused": ("kernel_class", "rows", "moved_bytes"),
    "step": ("model", "rlp", "tlp", "kv"),
}
_MILLI = 1e-3
#: of two times of one shape, the shorter is a repetition of the longer if it takes at least this share of it
_REPEATED = 0.9
#: how aiconfigurator's collector measures power (its ``helper.py``): readings of NVML, each of which is the board's mean
#: over the last second on these GPUs, as long as its launches take: at most 3,000 replays of 5, and no more than a second
_MOST_LAUNCHES, _METERED_S = 15_000, 1.0


@dataclass(frozen=True)
class Measured:
    """A table of measured kernels of one kind on one GPU.

    Attributes:
        kind: a key of :data:`KINDS`.
        gpu: the name of the GPU's part.
        source: the table's name of the library.
        file: the file that it was read from.
        rows: the columns of its kind, ``time_s``, ``energy_j`` (board energy, NaN if not measured), ``model`` (one name or
            several, separated by spaces) and ``metered_s`` (seconds that a meter with a settling time of one second was read;
            NaN if joules were counted).
    """

    kind: str
    gpu: str
    source: str
    file: str
    rows: pd.DataFrame = field(repr=False)


def read_tables(folders: Iterable[Path], gpus: Iterable[str]) -> list[Measured]:
    """Read every measured table in folders and below.

    Args:
        folders: where to look for ``*.csv`` and ``*.csv.gz``.
        gpus: names of GPU parts.

    Raises:
        InputError: a table has a cell that is no number.
    """
    names = list(gpus)
    files = sorted(
        {path for folder in folders for pattern in ("*.csv", "*.csv.gz") for path in folder.rglob(pattern)}
    )
    return [table for path in files for table in _read(path, names)]


def _read(path: Path, gpus: list[str]) -> Iterator[Measured]:
    header = frozenset(pd.read_csv(path, nrows=0).columns)
    for needed, reader in _FORMATS:
        if needed <= header:
            try:
                frames = list(reader(pd.read_csv(path)))
            except (ValueError, TypeError) as error:
                raise InputError(f"has a cell that cannot be used: {error}", file=str(path)) from None
            for kind, source, rows in frames:
                yield from _by_gpu(kind, source, rows, path, gpus)
            return


def _by_gpu(kind: str, source: str, rows: pd.DataFrame, path: Path, gpus: list[str]) -> Iterator[Measured]:
    further = ("model", "packed", "metered_s", "in_row", "cache_bits")
    columns = [*KINDS[kind], "time_s", "energy_j", *(name for name in further if name not in KINDS[kind])]
    if "gpu" not in rows:
        rows = rows.assign(gpu=_named(path, gpus))
    for gpu, part in rows.groupby("gpu"):
        if gpu in gpus:
            clean = part.reindex(columns=columns).reset_index(drop=True)
            yield Measured(kind, str(gpu), source, str(path), clean)


def _named(path: Path, gpus: list[str]) -> str:
    """Return the GPU in the name of a file or its folder; the longest name if several fit."""
    words = set(re.split(r"[^a-z0-9]+", f"{path.parent.name} {path.name}".lower()))
    return max((gpu for gpu in gpus if gpu.lower() in words), key=len, default="")


#: products of a layer, one of whose inputs is quantised by a kernel of its own
_QUANTISED = 4
#: width of a head of the layers that are measured
_HEAD_DIM = 128
#: query tokens of a request that drafts may have; more are a prompt
_MOST_DRAFTED = 16
#: kernel classes of the small kernels of a compiled layer
_CLASSES = {"add_norm": "normalisation", "rotary": "rotary", "activation": "activation", "kv_append": "kv_append"}

_Frames = Iterator[tuple[str, str, pd.DataFrame]]


def _own_linear(table: pd.DataFrame) -> _Frames:
    """Products in rows of equal products; column ``models`` has the models with that weight, separated by spaces."""
    table = table.rename(columns={"models": "model"})
    for library, rows in table.groupby("library"):
        yield "linear", str(library), rows.assign(in_row=1.0)


def _own_layer(table: pd.DataFrame) -> _Frames:
    """Kernels of a decoder layer in their places: what decodes, and prompts in bursts, at the clock that short steps have."""
    seen = table[(table.pace == "burst") | (table.queries == 1)]
    seen = seen.assign(rows=seen.requests * seen.queries, shard=seen.model, model=seen.model.str.partition("/")[0])
    products = seen[seen.op.isin(["qkv", "projection", "gate_up", "down"])].rename(columns={"rows": "m"})
    yield "linear", "cublas_in_place", products[products.precision == "float16"]
    yield "linear", "vllm_cutlass_fp8", _with_quantising(products[products.precision == "float8"], seen)
    for kind, rows in _attention_in_place(seen[seen.precision == "float16"]):
        yield kind, "flash_attn3_in_place", rows
    yield "fused", "vllm_compiled", _fused(seen[seen.precision == "float16"])


def _with_quantising(products: pd.DataFrame, seen: pd.DataFrame) -> pd.DataFrame:
    """Add a share of quantising to eight-bit products: of four inputs one has a kernel of its own for it.

    The kernels before the other three write eight bits where the engine is compiled.
    """
    step = ["shard", "requests", "queries", "kv", "pace"]
    four_s = seen[seen.op == "quantise"].set_index([*step, "precision"]).time_s.groupby(level=step).first()
    shares = four_s.reindex(pd.MultiIndex.from_frame(products[step])).to_numpy(np.float64) / _QUANTISED**2
    return products.assign(time_s=products.time_s + shares)


def _fused(seen: pd.DataFrame) -> pd.DataFrame:
    """Return the small kernels of compiled layers with the bytes that they read and write."""
    widths = (
        seen[seen.op.isin(["qkv", "projection", "gate_up"])]
        .groupby(["shard", "op"])[["k", "n"]]
        .first()
        .unstack("op")
    )
    heads, inner = widths["k", "projection"], widths["n", "gate_up"] / 2
    turned = heads + (widths["n", "qkv"] - heads) / 2
    elements = {
        "add_norm": 4 * widths["k", "qkv"], "rotary": 2 * turned, "activation": 3 * inner,
        "kv_append": 2 * (widths["n", "qkv"] - heads),
    }  # fmt: skip
    found = []
    for op, per_row in elements.items():
        rows = seen[(seen.op == op) & seen.kernels.str.contains("triton|reshape_and_cache")]
        count = 2 if op == "add_norm" else 1
        moved = 2.0 * rows["rows"].to_numpy() * per_row.reindex(rows["shard"]).to_numpy()
        found.append(rows.assign(kernel_class=_CLASSES[op], moved_bytes=moved, time_s=rows.time_s / count))
    return pd.concat(found, ignore_index=True)


def _attention_in_place(seen: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield the attention of layers, decoding and prompts, with the heads that follow from the products' widths."""
    widths = seen[seen.op.isin(["qkv", "projection"])].groupby(["shard", "op"])[["k", "n"]].first().unstack("op")
    n_heads = widths["k", "projection"] / _HEAD_DIM
    n_kv_heads = (widths["n", "qkv"] / _HEAD_DIM - n_heads) / 2
    rows = seen[seen.op == "attention"]
    rows = rows.assign(
        n_heads=n_heads.reindex(rows["shard"]).to_numpy(), n_kv_heads=n_kv_heads.reindex(rows["shard"]).to_numpy(),
        head_dim=_HEAD_DIM,
    )  # fmt: skip
    yield "attention", rows[rows.queries == 1]
    yield "prefill", rows[rows.queries > 1]


def _own_paged(table: pd.DataFrame) -> _Frames:
    """FlashAttention over pages: decoding and drafts, and prompts; the seconds of the kernels alone."""
    table = table.assign(time_s=table.kernel_s, in_row=1.0)
    few = table.queries <= _MOST_DRAFTED
    for library, rows in table[few].groupby("paged_library"):
        yield "attention", str(library), rows
    for library, rows in table[~few].groupby("paged_library"):
        yield "prefill", str(library), rows


def _own_attention(table: pd.DataFrame) -> _Frames:
    renamed = table.rename(columns={"batch": "requests", "tlp": "queries"})
    for (library, packed), rows in renamed.groupby(["library", "packed_gqa"]):
        yield "attention", f"{library}-packed" if packed else str(library), rows


def _own_all_reduce(table: pd.DataFrame) -> _Frames:
    for library, rows in table.groupby("library"):
        yield "all_reduce", str(library), rows


def _own_elementwise(table: pd.DataFrame) -> _Frames:
    yield "elementwise", "torch", table.assign(moved_bytes=table.read_bytes + table.write_bytes)


def _own_step(table: pd.DataFrame) -> _Frames:
    yield "step", "torch", table


def _vidur(table: pd.DataFrame) -> _Frames:
    """Profiles by operation and token-rows; repeated points are reduced to their median."""
    linear = table[table.op.isin(["qkv", "proj", "ff1", "ff2"])].rename(columns={"n_tokens": "m"})
    yield "linear", "vidur", linear.groupby(["gpu", "model", "m", "k", "n"], as_index=False)[["time_s"]].median()


def _vidur_profile(table: pd.DataFrame) -> _Frames:
    """A profile of one model as vidur publishes it (``mlp.csv``): median milliseconds of each operation, in columns."""
    ranks, width, inner = table.num_tensor_parallel_workers, table.n_embd, table.n_expanded_embd
    head = width // table.n_head
    kv_heads = np.maximum(table.n_kv_head, ranks) // ranks
    shapes = {
        "attn_pre_proj": (width, (table.n_head // ranks + 2 * kv_heads) * head),
        "attn_post_proj": (width // ranks, width),
        "mlp_up_proj": (width, np.where(table.use_gated_mlp, 2, 1) * inner // ranks),
        "mlp_down_proj": (inner // ranks, width),
    }
    products = [
        pd.DataFrame({"m": table.num_tokens, "k": k, "n": n, "time_s": table[f"time_stats.{name}.median"] * _MILLI})
        for name, (k, n) in shapes.items()
    ]
    rows = pd.concat(products, ignore_index=True)
    yield "linear", "vidur", rows.groupby(["m", "k", "n"], as_index=False)[["time_s"]].median()


def _aiconfigurator_gemm(table: pd.DataFrame) -> _Frames:
    half = table.gemm_dtype.isin(["bfloat16", "float16"])
    named = table.kernel_source.where(half, table.kernel_source + " " + table.gemm_dtype)
    for source, rows in _in_seconds(table.assign(kernel_source=named)).groupby("kernel_source"):
        median = _median(rows, ["m", "k", "n"])
        if "energy_j" in median:
            median = median.assign(metered_s=np.minimum(_MOST_LAUNCHES * median.time_s, _METERED_S))
        yield "linear", str(source), median


def _aiconfigurator_attention(table: pd.DataFrame) -> _Frames:
    """Decoding has one query token and ``isl + step`` cached; prompts have step 0."""
    half = _in_seconds(table[table.kv_cache_dtype.isin(["bfloat16", "float16"])])
    half = half.rename(
        columns={"batch_size": "requests", "num_heads": "n_heads", "num_key_value_heads": "n_kv_heads"}
    )
    half = _whole_caches(half.assign(kv=half.isl + half.step))
    for (source, prompt), rows in half.groupby(["kernel_source", half.step == 0]):
        kind = "prefill" if prompt else "attention"
        yield kind, str(source), rows.assign(queries=rows.isl)


def _whole_caches(rows: pd.DataFrame) -> pd.DataFrame:
    """Drop rows of sliding windows, which no column marks: such a shape occurs again, up to 94 times as fast.

    Of one shape only the slowest row, and repetitions of it within :data:`_REPEATED`, can have read the whole cache.
    """
    shape = ["kernel_source", "requests", "n_heads", "n_kv_heads", "head_dim", "isl", "step"]
    return rows[rows.time_s >= _REPEATED * rows.groupby(shape).time_s.transform("max")]


def _aiconfigurator_all_reduce(table: pd.DataFrame) -> _Frames:
    """Message sizes count elements of the type."""
    bytes_each = table.allreduce_dtype.map({"bfloat16": 2, "half": 2, "float16": 2})
    rows = _in_seconds(table).assign(ranks=table.num_gpus, message_bytes=bytes_each * table.message_size)
    for backend, each in rows.groupby("backend"):
        yield "all_reduce", str(backend), each


def _aiconfigurator_nccl(table: pd.DataFrame) -> _Frames:
    half = table[(table.op_name == "all_reduce") & (table.nccl_dtype == "half")]
    yield "all_reduce", "nccl", _in_seconds(half).assign(ranks=half.num_gpus, message_bytes=2 * half.message_size)


def _frontier(table: pd.DataFrame) -> _Frames:
    names = {"n_q_head": "n_heads", "n_kv_head": "n_kv_heads", "batch_size": "requests", "kv_cache_size": "kv"}
    yield "attention", "flashinfer", table.rename(columns={**names, "dhead": "head_dim"}).assign(queries=1)


def _in_seconds(table: pd.DataFrame) -> pd.DataFrame:
    """Turn aiconfigurator's milliseconds, and board watts where it has them, into seconds and joules."""
    rows = table.assign(time_s=table.latency * _MILLI)
    return rows.assign(energy_j=rows.power * rows.time_s) if "power" in rows else rows


def _median(rows: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    values = [name for name in ("time_s", "energy_j") if name in rows]
    return rows.groupby(by, as_index=False)[values].median()


_FORMATS: tuple[tuple[frozenset[str], Callable[[pd.DataFrame], _Frames]], ...] = (
    (frozenset({"precision", "pace", "op", "time_s"}), _own_layer),
    (frozenset({"paged_library", "kernel_s"}), _own_paged),
    (frozenset({"gpu", "op", "n_tokens", "k", "n", "tp"}), _vidur),
    (frozenset({"time_stats.attn_pre_proj.median", "num_tokens", "num_tensor_parallel_workers"}), _vidur_profile),
    (frozenset({"kernel_source", "gemm_dtype", "m", "n", "k"}), _aiconfigurator_gemm),
    (frozenset({"kernel_source", "isl", "step", "kv_cache_dtype"}), _aiconfigurator_attention),
    (frozenset({"allreduce_dtype", "num_gpus", "message_size"}), _aiconfigurator_all_reduce),
    (frozenset({"nccl_dtype", "num_gpus", "op_name"}), _aiconfigurator_nccl),
    (frozenset({"n_q_head", "n_kv_head", "kv_cache_size", "time_s"}), _frontier),
    (frozenset({"batch", "n_heads", "packed_gqa", "time_s"}), _own_attention),
    (frozenset({"ranks", "message_bytes", "library", "time_s"}), _own_all_reduce),
    (frozenset({"op", "rows", "width", "read_bytes", "time_s"}), _own_elementwise),
    (frozenset({"model", "rlp", "n_kernels", "time_s"}), _own_step),
    (frozenset({"m", "k", "n", "library", "time_s"}), _own_linear),
)
