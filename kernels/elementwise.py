"""The small kernels of a decoder layer, each aten operator by itself, as transformers dispatches them unfused.

Operands stay in cache: in a decode iteration the kernel before has just written them. Bytes are those of the distinct
elements read and written. ``rows`` is RLP × TLP; ``width`` what a token-row has of elements (for rotary and KV append:
heads × head width).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch.nn.functional import embedding, gelu, layer_norm, relu, silu

from kernels.decode_step import normalised, rotated
from kernels.harness import Bench
from kernels.tables import Row

COLUMNS = ("op", "rows", "width", "read_bytes", "write_bytes", "time_s", "energy_j")
ROWS = (1, 2, 4, 8, 16, 32, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
WIDTHS = (4096, 8192, 14336, 28672)
_ENERGY_OPS = frozenset({
    "rms_norm_sequence", "rotary_sequence", "silu_mul_sequence", "residual_add", "kv_append", "embedding", "layer_norm",
})  # fmt: skip
_ENERGY_ROWS, _ENERGY_WIDTHS = (1, 64, 256, 1024), (4096, 28672)
HEAD_DIM = 128
_SHORTEST_S = 1.2e-6  # chooses graph lengths, enters no result
_FASTEST_BYTES_PER_S = 1e13
_HALF, _SINGLE, _INDEX = 2, 4, 8


@dataclass(frozen=True)
class Op:
    """One aten operator on operands of a given size.

    Attributes:
        name: operator, and what for.
        read_bytes: bytes read, from (rows, width).
        write_bytes: bytes written, likewise.
        prepare: makes the launch from (rows, width, device).
    """

    name: str
    read_bytes: Callable[[int, int], int]
    write_bytes: Callable[[int, int], int]
    prepare: Callable[[int, int, torch.device], Callable[[], object]]


def _half(device: torch.device, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float16, device=device)


def _single(device: torch.device, *shape: int) -> torch.Tensor:
    return torch.rand(*shape, dtype=torch.float32, device=device)


def _unary(
    function: Callable[[torch.Tensor], object], *, single: bool = False, column: bool = False
) -> Callable[..., Callable[[], object]]:
    def prepare(rows: int, width: int, device: torch.device) -> Callable[[], object]:
        make = _single if single else _half
        operand = make(device, 1, rows, 1 if column else width)
        return lambda: function(operand)

    return prepare


def _binary(
    function: Callable[[torch.Tensor, torch.Tensor], object],
    right: Callable[[int, int, torch.device], torch.Tensor],
    *,
    single: bool = False,
) -> Callable[..., Callable[[], object]]:
    def prepare(rows: int, width: int, device: torch.device) -> Callable[[], object]:
        left, other = (_single if single else _half)(device, 1, rows, width), right(rows, width, device)
        return lambda: function(left, other)

    return prepare


def _rotary(function: Callable[[torch.Tensor, torch.Tensor], object]) -> Callable[..., Callable[[], object]]:
    """Operands as transformers has them: heads transposed before tokens, cosines broadcast over heads."""

    def prepare(rows: int, width: int, device: torch.device) -> Callable[[], object]:
        states = _half(device, rows, 1, width // HEAD_DIM, HEAD_DIM).transpose(1, 2)
        cosines = _half(device, rows, 1, 1, HEAD_DIM)
        return lambda: function(states, cosines)

    return prepare


def _cat_halves(states: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    middle = states.shape[-1] // 2
    return torch.cat((states[..., middle:], states[..., :middle]), dim=-1)


def _append(rows: int, width: int, device: torch.device) -> Callable[[], object]:
    """Write the new K (or V) of each request into its slot of a cache of 64 tokens."""
    states = _half(device, rows, 1, width // HEAD_DIM, HEAD_DIM).transpose(1, 2)
    cache = torch.empty(rows, width // HEAD_DIM, 64, HEAD_DIM, dtype=torch.float16, device=device)
    slot = cache[:, :, 17:18]
    return lambda: slot.copy_(states)


def _look_up(rows: int, width: int, device: torch.device) -> Callable[[], object]:
    table = _half(device, 4096, width)
    tokens = torch.randint(0, 4096, (rows, 1), device=device)
    return lambda: embedding(tokens, table)


def _layer_norm(rows: int, width: int, device: torch.device) -> Callable[[], object]:
    states, scale, shift = _half(device, rows, width), _half(device, width), _half(device, width)
    return lambda: layer_norm(states, (width,), scale, shift)


def _same(rows: int, width: int, device: torch.device) -> torch.Tensor:
    return _half(device, 1, rows, width)


OPS = (
    Op("to_float32", lambda r, w: _HALF * r * w, lambda r, w: _SINGLE * r * w, _unary(lambda x: x.to(torch.float32))),
    Op("pow", lambda r, w: _SINGLE * r * w, lambda r, w: _SINGLE * r * w, _unary(lambda x: x.pow(2), single=True)),
    Op("mean", lambda r, w: _SINGLE * r * w, lambda r, w: _SINGLE * r,
       _unary(lambda x: x.mean(-1, keepdim=True), single=True)),
    Op("add_scalar", lambda r, w: _SINGLE * r, lambda r, w: _SINGLE * r,
       _unary(lambda x: x + 1e-5, single=True, column=True)),
    Op("rsqrt", lambda r, w: _SINGLE * r, lambda r, w: _SINGLE * r, _unary(torch.rsqrt, single=True, column=True)),
    Op("mul_column", lambda r, w: _SINGLE * r * (w + 1), lambda r, w: _SINGLE * r * w,
       _binary(torch.mul, lambda r, w, d: _single(d, 1, r, 1), single=True)),
    Op("to_float16", lambda r, w: _SINGLE * r * w, lambda r, w: _HALF * r * w,
       _unary(lambda x: x.to(torch.float16), single=True)),
    Op("mul_weight", lambda r, w: _HALF * (r * w + w), lambda r, w: _HALF * r * w,
       _binary(lambda x, y: y * x, lambda r, w, d: _half(d, w))),
    Op("rotary_mul", lambda r, w: _HALF * r * (w + HEAD_DIM), lambda r, w: _HALF * r * w, _rotary(torch.mul)),
    Op("rotary_neg", lambda r, w: r * w, lambda r, w: r * w, _rotary(lambda x, _: -x[..., HEAD_DIM // 2 :])),
    Op("rotary_cat", lambda r, w: _HALF * r * w, lambda r, w: _HALF * r * w, _rotary(_cat_halves)),
    Op("rotary_add", lambda r, w: 2 * _HALF * r * w, lambda r, w: _HALF * r * w,
       _rotary(lambda x, _: x + x)),
    Op("silu", lambda r, w: _HALF * r * w, lambda r, w: _HALF * r * w, _unary(silu)),
    Op("gelu", lambda r, w: _HALF * r * w, lambda r, w: _HALF * r * w, _unary(gelu)),
    Op("relu", lambda r, w: _HALF * r * w, lambda r, w: _HALF * r * w, _unary(relu)),
    Op("mul", lambda r, w: 2 * _HALF * r * w, lambda r, w: _HALF * r * w, _binary(torch.mul, _same)),
    Op("residual_add", lambda r, w: 2 * _HALF * r * w, lambda r, w: _HALF * r * w, _binary(torch.add, _same)),
    Op("layer_norm", lambda r, w: _HALF * (r * w + 2 * w), lambda r, w: _HALF * r * w, _layer_norm),
    Op("embedding", lambda r, w: r * (_HALF * w + _INDEX), lambda r, w: _HALF * r * w, _look_up),
    Op("kv_append", lambda r, w: _HALF * r * w, lambda r, w: _HALF * r * w, _append),
)  # fmt: skip


def _rms_norm(rows: int, width: int, device: torch.device) -> Callable[[], object]:
    states, weight = _half(device, rows, 1, width), _half(device, width)
    return lambda: normalised(states, weight)


def _rotation(rows: int, width: int, device: torch.device) -> Callable[[], object]:
    states = _half(device, rows, 1, width // HEAD_DIM, HEAD_DIM).transpose(1, 2)
    cosines = _half(device, rows, 1, 1, HEAD_DIM)
    return lambda: rotated(states, cosines, cosines)


#: operators that follow one another in a layer; each launch is all of them. A kernel of a sequence takes longer than one
#: that only follows itself, whose instructions stay loaded. Bytes are the sums over the operators.
SEQUENCES = (
    Op("rms_norm_sequence", lambda r, w: r * (20 * w + 12) + 2 * w, lambda r, w: r * (16 * w + 12), _rms_norm),
    Op("rotary_sequence", lambda r, w: r * (11 * w + 4 * HEAD_DIM), lambda r, w: r * 9 * w, _rotation),
    Op("silu_mul_sequence", lambda r, w: 6 * r * w, lambda r, w: 4 * r * w, _binary(lambda x, y: silu(x) * y, _same)),
)


@dataclass(frozen=True)
class Point:
    """An operator and the size of its operands."""

    op: Op
    rows: int
    width: int
    energy: bool = False


def points(*, smoke: bool) -> list[Point]:
    """Return every operator at every size."""
    widths, rows = ((256,), (1, 3)) if smoke else (WIDTHS, ROWS)
    return [Point(*point) for point in product((*OPS, *SEQUENCES), rows, widths)]


def energy_points(*, smoke: bool) -> list[Point]:
    """Return the operations that stand for a class of a trace, a few sizes of each, with their energy."""
    if smoke:
        return points(smoke=True)
    chosen = [op for op in (*OPS, *SEQUENCES) if op.name in _ENERGY_OPS]
    return [Point(*point, energy=True) for point in product(chosen, _ENERGY_ROWS, _ENERGY_WIDTHS)]


def measure(bench: Bench, todo: Sequence[Point]) -> Iterator[Row]:
    """Yield the rows of ``elementwise.csv`` and of ``elementwise_energy.csv``."""
    for point in todo:
        op, rows, width = point.op, point.rows, point.width
        run = op.prepare(rows, width, bench.device)
        read_bytes, write_bytes = op.read_bytes(rows, width), op.write_bytes(rows, width)
        floor_s = max(_SHORTEST_S, (read_bytes + write_bytes) / _FASTEST_BYTES_PER_S)
        timing = bench.time(lambda _, run=run: run(), 1, floor_s, energy=point.energy)
        yield {
            "op": op.name, "rows": rows, "width": width, "read_bytes": read_bytes, "write_bytes": write_bytes,
            "time_s": timing.time_s, "energy_j": timing.energy_j,
        }  # fmt: skip
