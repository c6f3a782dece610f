"""vLLM's compiled kernels, called as its engine calls them, without the engine.

The libraries are those of an installed vLLM, or of a folder ``vllm`` on ``PYTHONPATH`` with the same files; torch must be
the one that they were built for. On a CPU, torch's own operators compute the same, which proves the programs.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch.nn.functional import scaled_dot_product_attention

LIBRARIES = ("_C_stable_libtorch.abi3.so", "vllm_flash_attn/_vllm_fa3_C.abi3.so")
#: tokens of a page of vLLM's KV cache, and the most splits of a cache that its CUDA graphs leave room for
PAGE_TOKENS, GRAPH_SPLITS = 16, 32
FP8 = torch.float8_e4m3fn


@cache
def load() -> bool:
    """Load vLLM's libraries; return whether there are any."""
    found = importlib.util.find_spec("vllm")
    if found is None or not found.submodule_search_locations:
        return False
    folder = Path(next(iter(found.submodule_search_locations)))
    for name in LIBRARIES:
        torch.ops.load_library(str(folder / name))
    return True


@dataclass(frozen=True)
class Batch:
    """Requests of one step over a paged cache.

    Attributes:
        requests: requests.
        queries: query tokens of each request.
        kv: tokens of each request's cache, the queries included.
        graph: whether the step is a CUDA graph of the engine, whose splits have a limit.
    """

    requests: int
    queries: int
    kv: int
    graph: bool

    @property
    def rows(self) -> int:
        """Token-rows."""
        return self.requests * self.queries

    @property
    def pages(self) -> int:
        """Pages of one request."""
        return -(-self.kv // PAGE_TOKENS)


class PagedAttention:
    """FlashAttention 3 over a paged cache, scheduled once per step.

    Args:
        batch: the requests.
        n_heads: query heads.
        n_kv_heads: heads of the cache.
        head_dim: width of a head.
        device: CUDA or CPU.
        eight_bit: whether queries and cache are FP8.
    """

    def __init__(
        self, batch: Batch, n_heads: int, n_kv_heads: int, head_dim: int, device: torch.device, *, eight_bit: bool
    ) -> None:
        self.batch, self.n_heads, self.n_kv_heads, self.head_dim = batch, n_heads, n_kv_heads, head_dim
        self.device, self.eight_bit = device, eight_bit
        integers = {"dtype": torch.int32, "device": device}
        self.ends = torch.arange(0, batch.rows + 1, batch.queries, **integers)
        self.lengths = torch.full((batch.requests,), batch.kv, **integers)
        n_pages = batch.requests * batch.pages
        self.pages = torch.randperm(n_pages, device=device).to(torch.int32).view(batch.requests, batch.pages)
        last = torch.arange(batch.kv - batch.queries, batch.kv, device=device)
        self.slots = (self.pages[:, (last // PAGE_TOKENS)].long() * PAGE_TOKENS + last % PAGE_TOKENS).flatten()
        self.splits = GRAPH_SPLITS if batch.graph else 0
        self.scale = torch.ones(1, dtype=torch.float32, device=device)
        self.schedule = self._schedule() if device.type == "cuda" else None

    @property
    def cache_shape(self) -> tuple[int, int, int, int, int]:
        """Shape of keys and values: 2, pages, tokens, heads, width."""
        return 2, self.batch.requests * self.batch.pages, PAGE_TOKENS, self.n_kv_heads, self.head_dim

    def _schedule(self) -> torch.Tensor:
        batch = self.batch
        kind = FP8 if self.eight_bit else torch.float16
        return torch.ops._vllm_fa3_C.get_scheduler_metadata(
            batch.requests, batch.queries, batch.kv, self.n_heads, self.n_kv_heads, self.head_dim, self.head_dim, kind,
            self.lengths, self.ends, None, None, None, None, PAGE_TOKENS, 0, True, -1, -1, False, self.splits, None, 0,
        )  # fmt: skip

    def append(self, keys: torch.Tensor, values: torch.Tensor, cache: torch.Tensor) -> None:
        """Write the new keys and values, ``(rows, heads, width)``, into their slots."""
        if self.device.type != "cuda":
            for index, new in enumerate((keys, values)):
                cache[index].view(-1, self.n_kv_heads, self.head_dim)[self.slots] = new
            return
        stored = cache.view(torch.uint8) if self.eight_bit else cache
        kind = "fp8" if self.eight_bit else "auto"
        torch.ops._C_cache_ops.reshape_and_cache_flash(
            keys, values, stored[0], stored[1], self.slots, kind, self.scale, self.scale
        )

    def attend(self, queries: torch.Tensor, cache: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        """Return ``out`` with the attention of queries, ``(rows, heads, width)``."""
        if self.device.type != "cuda":
            return self._reference(queries, cache, out)
        descale = self.scale.expand(self.batch.requests, self.n_kv_heads) if self.eight_bit else None
        torch.ops._vllm_fa3_C.fwd(
            queries, cache[0], cache[1], None, None, None, out, self.ends, None, None, None, self.lengths,
            self.batch.queries, self.batch.kv, self.pages, None, None, None, None, None, descale, descale, descale,
            self.head_dim**-0.5, True, -1, -1, 0.0, True, self.schedule, self.splits, None, 0, None, 1, 0, None,
        )  # fmt: skip
        return out

    def _reference(self, queries: torch.Tensor, cache: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        batch = self.batch
        gathered = cache[:, self.pages.long()].reshape(2, batch.requests, -1, self.n_kv_heads, self.head_dim)
        keys, values = gathered[:, :, : batch.kv].transpose(2, 3)
        asked = queries.view(batch.requests, batch.queries, self.n_heads, self.head_dim).transpose(1, 2)
        mask = torch.ones(batch.queries, batch.kv, dtype=torch.bool).tril(batch.kv - batch.queries)
        found = scaled_dot_product_attention(asked, keys, values, attn_mask=mask, enable_gqa=True)
        out.copy_(found.transpose(1, 2).reshape(out.shape))
        return out


def add_norm(states: torch.Tensor, residual: torch.Tensor, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the normalised sum and the sum, as vLLM writes it for torch's compiler."""
    summed = states.float() + residual.float()
    residual = summed.to(states.dtype)
    normed = summed * torch.rsqrt(summed.pow(2).mean(-1, keepdim=True) + 1e-6)
    return normed.to(states.dtype) * weight, residual


def silu_mul(gate_up: torch.Tensor) -> torch.Tensor:
    """Return ``silu(gate) · up`` of both side by side."""
    middle = gate_up.shape[-1] // 2
    return torch.nn.functional.silu(gate_up[:, :middle]) * gate_up[:, middle:]


def rotate(
    qkv: torch.Tensor, positions: torch.Tensor, table: torch.Tensor, heads: tuple[int, int, int]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return rotated queries and keys, and the values, of all side by side; heads of queries, of the cache, and their width."""
    n_heads, n_kv_heads, head_dim = heads
    queries, keys, values = qkv.split([n_heads * head_dim, n_kv_heads * head_dim, n_kv_heads * head_dim], dim=-1)
    cosines, sines = (each.unsqueeze(-2) for each in table.index_select(0, positions).chunk(2, dim=-1))

    def turned(states: torch.Tensor, heads: int) -> torch.Tensor:
        left, right = torch.chunk(states.view(-1, heads, head_dim), 2, dim=-1)
        return torch.cat((left * cosines - right * sines, right * cosines + left * sines), dim=-1)

    return turned(queries, n_heads), turned(keys, n_kv_heads), values.view(-1, n_kv_heads, head_dim)


def quantised(states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return FP8 numbers and a scale per token-row, ``(rows, 1)``."""
    out = torch.empty(states.shape, dtype=FP8, device=states.device)
    scales = torch.empty(states.shape[0], 1, dtype=torch.float32, device=states.device)
    torch.ops._C.dynamic_per_token_scaled_fp8_quant(out, states, scales, None)
    return out, scales


def scaled_product(out: torch.Tensor, states: torch.Tensor, weight: torch.Tensor, scales: torch.Tensor) -> None:
    """Write the product of states, quantised here, and an FP8 weight ``(n, k)`` with a scale per output, by CUTLASS."""
    eight_bit, by = quantised(states)
    torch.ops._C.cutlass_scaled_mm(out, eight_bit, weight.t(), by, scales, None)
