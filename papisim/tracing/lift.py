"""From kernels captured at several points to kernels with symbolic dimensions, and back to check.

Every dimension is the one multilinear polynomial in RLP, TLP and KV through its values at the eight points of a
2 × 2 × 2 grid; with any other than integer coefficients the capture is refused. Dimensions of an expert's kernels may
instead be linear in the rows that the expert got. Captures at points off the grid then check the polynomials: every kernel
there must equal the captured one exactly.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from functools import lru_cache
from itertools import combinations, groupby, product
from math import prod
from typing import Any, Final

from pydantic import BaseModel

from papisim.errors import CheckFailed, NotModelled
from papisim.ops.dims import EXPERT_ROWS, KV, RLP, TLP, Dim, monomial_dim, symbol, total, whole
from papisim.ops.kernel import KernelClass as Class
from papisim.ops.tensors import Parameter, Tensor
from papisim.ops.trace import Block, Point
from papisim.ops.trace_kernels import AtenKernel, TraceKernel
from papisim.tracing.classify import PlacedKernel

#: distinct primes, so that no product or sum of two of them is another dimension by chance
GRID: Final = tuple(Point(rlp=r, tlp=t, kv=v) for r, t, v in product((11, 17), (3, 7), (131, 269)))
#: one request, one new token, and a cache longer than any sliding window in use
CHECKS: Final = (
    Point(rlp=1, tlp=29, kv=1031),
    Point(rlp=37, tlp=1, kv=4099),
    Point(rlp=23, tlp=5, kv=131_101),
)
#: one token, sent to one expert each: layers with equal kernels here are of one kind
SURVEY: Final = Point(rlp=1, tlp=1, kv=67)
_SYMBOLS: Final = (RLP, TLP, KV)
#: the monomials of a multilinear polynomial: 1, RLP, TLP, KV and their products
_MONOMIALS: Final = tuple(subset for size in range(4) for subset in combinations(_SYMBOLS, size))

Capture = Sequence[PlacedKernel]


class NotPolynomialError(ValueError):
    """A dimension is not the polynomial it should be; caught to name its kernel."""


# ---- one dimension


def lift_value(values: Sequence[int], rows: Sequence[int | None]) -> Dim:
    """Return the polynomial through the values at the points of :data:`GRID`.

    Args:
        values: value of the dimension at each point, in the order of the grid.
        rows: the rows of the expert at each point; None for kernels outside an expert loop.

    Raises:
        NotPolynomialError: no polynomial with integer coefficients passes through the values.
    """
    if len(set(values)) == 1:
        return whole(values[0])
    if rows[0] is not None and (linear := _linear_in_rows(values, [row or 0 for row in rows])) is not None:
        return linear
    return _multilinear(tuple(values))


def _linear_in_rows(values: Sequence[int], rows: Sequence[int]) -> Dim | None:
    low, high = min(range(len(rows)), key=rows.__getitem__), max(range(len(rows)), key=rows.__getitem__)
    if rows[low] == rows[high]:
        return None
    slope = Fraction(values[high] - values[low], rows[high] - rows[low])
    offset = values[low] - slope * rows[low]
    fits = all(value == offset + slope * row for value, row in zip(values, rows, strict=True))
    if not fits or slope.denominator != 1:
        return None
    return monomial_dim((EXPERT_ROWS,), int(slope)) + whole(int(offset))


@lru_cache(maxsize=100_000)
def _multilinear(values: tuple[int, ...]) -> Dim:
    terms = [_coefficient(monomial, values) for monomial in _MONOMIALS]
    if any(coefficient.denominator != 1 for coefficient in terms):
        shown = ", ".join(f"{value} at {point}" for value, point in zip(values, GRID, strict=True))
        raise NotPolynomialError(f"is no polynomial in RLP, TLP and KV with integer coefficients: {shown}")
    return total(monomial_dim(m, int(c)) for m, c in zip(_MONOMIALS, terms, strict=True))


def _coefficient(monomial: tuple[str, ...], values: tuple[int, ...]) -> Fraction:
    """Interpolate: each point's value times the coefficient of the monomial in that point's Lagrange polynomial."""
    return sum((value * _weight(monomial, point) for value, point in zip(values, GRID, strict=True)), Fraction(0))


@lru_cache(maxsize=64)
def _weight(monomial: tuple[str, ...], point: Point) -> Fraction:
    factors = []
    for name in _SYMBOLS:
        here = point.symbols[name]
        (other,) = {p.symbols[name] for p in GRID} - {here}
        # (symbol − other) / (here − other), of which the monomial takes either the symbol or the constant
        factors.append(Fraction(1 if name in monomial else -other, here - other))
    return prod(factors, start=Fraction(1))


# ---- kernels


def lift(captures: Sequence[Capture]) -> list[PlacedKernel]:
    """Return the kernels with symbolic dimensions.

    Args:
        captures: kernels captured at each point of :data:`GRID`.

    Raises:
        NotModelled: the points differ in more than dimensions, or a dimension is not polynomial.
    """
    places = [[(kernel.layer, kernel.expert, kernel.kernel.name) for kernel in capture] for capture in captures]
    for point, other in zip(GRID, places, strict=True):
        if other != places[0]:
            raise NotModelled(_structure(places[0], other, GRID[0], point))
    lifter = _Lifter()
    return [lifter.lifted(kernels) for kernels in zip(*captures, strict=True)]


def _structure(first: list[Any], second: list[Any], at: Point, other: Point) -> str:
    return (
        f"the kernels at {at} and at {other} are not the same ({len(first)} and {len(second)} of them, "
        f"{len(set(first) ^ set(second))} only in one): the model takes another path, which symbols cannot express"
    )


class _Lifter:
    """Lifts kernels, each distinct kernel once: most layers are equal."""

    def __init__(self) -> None:
        self._known: dict[tuple[tuple[int, int | None], ...], TraceKernel] = {}

    def lifted(self, kernels: Sequence[PlacedKernel]) -> PlacedKernel:
        first, rows = kernels[0], [kernel.expert_rows for kernel in kernels]
        key = tuple((id(kernel.kernel), kernel.expert_rows) for kernel in kernels)
        if key not in self._known:
            try:
                self._known[key] = lift_kernel([kernel.kernel for kernel in kernels], rows)
            except NotPolynomialError as error:
                layer = "outside the layers" if first.layer is None else f"in layer {first.layer}"
                raise NotModelled(f"a dimension of {first.kernel.name} {layer} {error}") from None
        return PlacedKernel(first.layer, first.expert, None, self._known[key])


def lift_kernel(kernels: Sequence[TraceKernel], rows: Sequence[int | None]) -> TraceKernel:
    """Return one kernel with symbolic dimensions from the same kernel at every point of the grid.

    Raises:
        NotPolynomialError: a dimension is not polynomial, or the kernels differ in more than dimensions.
    """
    if kernels[0].kernel_class is not Class.ATTENTION:
        lifted: TraceKernel = _lift_model(kernels, rows)
        return lifted
    # attention's work has TLP·TLP in it; it follows from the heads, and is checked like everything else
    bare = [kernel.model_copy(update={"matmul_flop": whole(0), "elementwise_flop": whole(0)}) for kernel in kernels]
    return _with_attention_flop(_lift_model(bare, rows), kernels[0].elementwise_flop.constant)


def _with_attention_flop(kernel: TraceKernel, elementwise_flop: int) -> TraceKernel:
    """Give an attention kernel its work: products per score, softmax per score, and what sinks add per query."""
    shape = kernel.attention
    assert shape is not None, "only called on attention kernels"
    queries = symbol(RLP) * symbol(TLP) * whole(shape.n_heads)
    scores = queries * (symbol(KV) + symbol(TLP))
    at = GRID[0].symbols
    per_score, rest = divmod(elementwise_flop, scores.at(at))
    work = {
        "matmul_flop": scores * whole(2 * (shape.head_dim + shape.value_width)),
        "elementwise_flop": scores * whole(per_score) + queries * whole(rest // queries.at(at)),
    }
    return kernel.model_copy(update=work)


def _lift_model(models: Sequence[Any], rows: Sequence[int | None]) -> Any:
    first = models[0]
    fields = {name: _lift_any([getattr(model, name) for model in models], rows) for name in type(first).model_fields}
    return type(first).model_construct(**fields)


def _lift_any(values: Sequence[Any], rows: Sequence[int | None]) -> Any:
    first = values[0]
    if any(type(value) is not type(first) for value in values):
        raise NotPolynomialError("differs between points in more than its value")
    if isinstance(first, Dim):
        return lift_value([value.constant for value in values], rows)
    if isinstance(first, Tensor):
        return Tensor(_same([v.dtype for v in values]), _lift_any([v.shape for v in values], rows))
    if isinstance(first, Parameter):
        return Parameter(_same([v.name for v in values]), _lift_any([v.tensor for v in values], rows))
    if isinstance(first, BaseModel):
        return _lift_model(values, rows)
    if isinstance(first, tuple) and first and not isinstance(first[0], str):
        _same([len(value) for value in values])
        return tuple(_lift_any(items, rows) for items in zip(*values, strict=True))
    return _same(values)


def _same(values: Sequence[Any]) -> Any:
    if any(value != values[0] for value in values):
        raise NotPolynomialError(f"differs between points in more than its value: {values[0]} and others")
    return values[0]


# ---- and back


def evaluate(kernel: TraceKernel, symbols: Mapping[str, int]) -> TraceKernel:
    """Return a lifted kernel with numbers for its symbols; ``replaces``, a note, is dropped."""
    bare = kernel.model_copy(update={"replaces": ()})
    evaluated: TraceKernel = _evaluated(bare, symbols)
    return evaluated


def _evaluated(value: Any, symbols: Mapping[str, int]) -> Any:
    if isinstance(value, Dim):
        return whole(value.at(symbols))
    if isinstance(value, Tensor):
        return Tensor(value.dtype, _evaluated(value.shape, symbols))
    if isinstance(value, Parameter):
        return Parameter(value.name, _evaluated(value.tensor, symbols))
    if isinstance(value, AtenKernel):
        # whether bytes are those of whole operands depends on the point: an expanded dimension may be 1
        value = value.model_copy(update={"reads_bytes": value.read_bytes, "writes_bytes": value.write_bytes})
    if isinstance(value, BaseModel):
        fields = {name: _evaluated(getattr(value, name), symbols) for name in type(value).model_fields}
        return type(value).model_construct(**fields)
    if isinstance(value, tuple):
        return tuple(_evaluated(item, symbols) for item in value)
    return value


def verify(lifted: Sequence[PlacedKernel], capture: Capture, point: Point) -> None:
    """Check that lifted kernels equal those captured at a point: operators, shapes, types, FLOPs, bytes.

    Experts of a layer are one and the same lifted kernel, of which as many ran as got rows.

    Raises:
        CheckFailed: lifted and captured kernels differ; the message names the first kernel that differs.
    """
    expected = list(_as_routed(lifted, capture))
    if len(expected) != len(capture):
        raise CheckFailed(f"at {point} {len(capture)} kernels were captured, the lifted trace has {len(expected)}")
    equal: dict[tuple[int, int, int | None], bool] = {}
    for symbolic, captured in zip(expected, capture, strict=True):
        key = (id(symbolic.kernel), id(captured.kernel), captured.expert_rows)
        if key not in equal:
            equal[key] = _equals(symbolic, captured, point)
        if not equal[key] or (symbolic.layer, symbolic.expert) != (captured.layer, captured.expert):
            raise CheckFailed(
                f"at {point} the lifted kernel {symbolic.kernel.name} of layer {symbolic.layer} is not the captured "
                f"{captured.kernel.name} of layer {captured.layer}: {_difference(symbolic, captured, point)}"
            )


def _as_routed(lifted: Sequence[PlacedKernel], capture: Capture) -> Iterator[PlacedKernel]:
    """Yield the lifted kernels, those of experts once for each expert that ran in a capture."""
    ran: dict[tuple[int | None, int], list[int | None]] = {}
    for place, loop in _loops(capture):
        ran[place] = list(dict.fromkeys(kernel.expert for kernel in loop))
    for place, kernels in _loops(lifted):
        of_one = [kernel for kernel in kernels if kernel.expert == kernels[0].expert]
        for expert in ran.get(place, ()) if kernels[0].expert is not None else (None,):
            yield from (PlacedKernel(kernel.layer, expert, None, kernel.kernel) for kernel in of_one)


def _loops(kernels: Iterable[PlacedKernel]) -> Iterator[tuple[tuple[int | None, int], list[PlacedKernel]]]:
    """Yield the kernels in runs, within and outside the loops over experts, each with its layer and number there."""
    for layer, in_layer in groupby(kernels, key=lambda kernel: kernel.layer):
        runs = groupby(in_layer, key=lambda kernel: kernel.expert is not None)
        yield from (((layer, index), list(run)) for index, (_, run) in enumerate(runs))


def _symbols(captured: PlacedKernel, point: Point) -> dict[str, int]:
    return point.symbols | ({} if captured.expert_rows is None else {EXPERT_ROWS: captured.expert_rows})


def _equals(symbolic: PlacedKernel, captured: PlacedKernel, point: Point) -> bool:
    return evaluate(symbolic.kernel, _symbols(captured, point)) == evaluate(captured.kernel, {})


def _difference(symbolic: PlacedKernel, captured: PlacedKernel, point: Point) -> str:
    ours = evaluate(symbolic.kernel, _symbols(captured, point)).model_dump()
    theirs = evaluate(captured.kernel, {}).model_dump()
    return "; ".join(f"{name} {ours[name]} ≠ {theirs[name]}" for name in ours if ours[name] != theirs[name])[:600]


# ---- layers


def kinds(capture: Capture, n_layers: int) -> list[int]:
    """Return the first layer that each layer equals, kernel by kernel; experts of one row each may differ in number alone.

    Raises:
        NotModelled: a layer launches nothing.
    """
    first: dict[tuple[TraceKernel, ...], int] = {}
    of_layer: dict[int | None, int] = {}
    for layer, run in groupby(capture, key=lambda kernel: kernel.layer):
        if layer is not None:
            of_layer[layer] = first.setdefault(tuple(kernel.kernel for kernel in run), layer)
    idle = [layer for layer in range(n_layers) if layer not in of_layer]
    if idle:
        raise NotModelled(f"layer {idle[0]} launches no kernels, or another one's in between")
    return [of_layer[layer] for layer in range(n_layers)]


def spread(lifted: Sequence[PlacedKernel], equals: Sequence[int]) -> list[PlacedKernel]:
    """Return the kernels of all layers from those of the layers that they equal."""
    of_layer: dict[int | None, list[PlacedKernel]] = {}
    outside: tuple[list[PlacedKernel], list[PlacedKernel]] = ([], [])
    for kernel in lifted:
        if kernel.layer is None:
            outside[bool(of_layer)].append(kernel)
        else:
            of_layer.setdefault(kernel.layer, []).append(kernel)
    layers = (
        PlacedKernel(layer, kernel.expert, None, kernel.kernel)
        for layer, first in enumerate(equals)
        for kernel in of_layer[first]
    )
    return [*outside[0], *layers, *outside[1]]


def fold(lifted: Sequence[PlacedKernel]) -> tuple[Block, ...]:
    """Fold equal experts into one, and equal layers into one block; blocks stay in the order of their first layers.

    Raises:
        NotModelled: experts of one layer differ.
    """
    blocks: list[tuple[str, list[int], tuple[TraceKernel, ...]]] = []
    known: dict[tuple[TraceKernel, ...], list[int]] = {}
    for layer, run in groupby(lifted, key=lambda kernel: kernel.layer):
        kernels = _fold_experts(list(run))
        if layer is None:
            blocks.append(("after_layers" if known else "before_layers", [], kernels))
        elif kernels in known:
            known[kernels].append(layer)
        else:
            known[kernels] = [layer]
            blocks.append(("layer", known[kernels], kernels))
    names = [name for name, _, _ in blocks]
    return tuple(
        Block(name=_numbered(name, names[:index]), layers=_ranges(layers), kernels=kernels)
        for index, (name, layers, kernels) in enumerate(blocks)
    )


def _ranges(layers: Sequence[int]) -> str | None:
    """Write layers in ascending order as ranges: ``0-4,6``."""
    runs = groupby(enumerate(layers), key=lambda indexed: indexed[1] - indexed[0])
    parts = [[layer for _, layer in run] for _, run in runs]
    return ",".join(f"{part[0]}-{part[-1]}" if len(part) > 1 else str(part[0]) for part in parts) or None


def _numbered(name: str, before: Sequence[str]) -> str:
    return f"{name}_{before.count(name) + 1}" if name in before else name


def _fold_experts(kernels: list[PlacedKernel]) -> tuple[TraceKernel, ...]:
    folded: list[TraceKernel] = []
    for in_loop, run in groupby(kernels, key=lambda kernel: kernel.expert is not None):
        sequences = [tuple(k.kernel for k in one) for _, one in groupby(run, key=lambda kernel: kernel.expert)]
        if in_loop and any(sequence != sequences[0] for sequence in sequences):
            raise NotModelled(f"the experts of layer {kernels[0].layer} do not launch the same kernels")
        folded += sequences[0]
    return tuple(folded)
