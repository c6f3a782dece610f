"""The kernels of a model as an engine merges them: a transform from the captured trace to the fused one.

The captured trace stays as it is. A merged kernel has the FLOPs and the parameters of its parts, and moves their
activations but for those that stay on chip:

- products of one input (Q, K and V; gate and up) read that input once;
- the residual's sum goes on to the norm without being read again; it is still written, as the next sum needs it;
- the norm that ends a layer's sum belongs to the next layer, or to what follows the layers: blocks are cut anew, so that
  each layer ends with the sum and the norm of the next one;
- neighbouring kernels of one class (rotary embeddings of Q and of K, norms of Q and of K, an activation and its product
  with up) become one; what the first writes for the second is neither written nor read.

What a model does not have is left as captured. Kernels that look alike but cannot be merged are named in a note.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from papisim.config.engine import FusionSpec
from papisim.ops.dims import Dim, whole
from papisim.ops.kernel import Elementwise, FcRole, KernelClass, KvAppend
from papisim.ops.tensors import Parameter, Tensor, bytes_of
from papisim.ops.trace import Block, KernelTrace
from papisim.ops.trace_kernels import JOINT, FcShape, TraceKernel


class Fused(NamedTuple):
    """A model as an engine launches it.

    Attributes:
        trace: the merged kernels.
        notes: kernels that could not be merged, and why.
    """

    trace: KernelTrace
    notes: tuple[str, ...]


def fuse(trace: KernelTrace, spec: FusionSpec) -> Fused:
    """Return a model with the kernels merged that a profile names.

    Args:
        trace: the model as captured, with its storage formats.
        spec: the kernels to merge.
    """
    if not spec.merges:
        return Fused(trace, ())
    notes: dict[str, None] = {}
    blocks = list(trace.blocks)
    for step in _steps(trace, spec):
        blocks = [_with_kernels(block, step(list(block.kernels), notes)) for block in blocks]
    if spec.add_norm:
        blocks = _merge_sums(blocks, notes)
    fused = KernelTrace(
        name=trace.name,
        provenance=trace.provenance.model_copy(update={"structure_sha256": None}),
        model=trace.model,
        blocks=tuple(blocks),
    )
    return Fused(fused.stored_as(trace.formats), tuple(notes))


#: merges kernels of a block, and notes what it leaves
_Step = Callable[[list[TraceKernel], dict[str, None]], list[TraceKernel]]


def _steps(trace: KernelTrace, spec: FusionSpec) -> Iterator[_Step]:
    """Yield the merges within a block that a profile names."""

    def products(role: FcRole) -> _Step:
        return lambda kernels, notes: _merge_products(kernels, role, trace, notes)

    def neighbours(kernel_class: KernelClass, *, chained: bool) -> _Step:
        return lambda kernels, notes: _merge_neighbours(kernels, kernel_class, chained=chained)

    if spec.qkv:
        yield products(FcRole.QKV)
    if spec.gate_up:
        yield products(FcRole.FEED_FORWARD_UP)
    if spec.rotary:
        yield neighbours(KernelClass.ROTARY, chained=False)
    if spec.norm_pairs:
        yield neighbours(KernelClass.NORMALISATION, chained=False)
    if spec.activation:
        yield neighbours(KernelClass.ACTIVATION, chained=True)


def _merge_products(
    kernels: list[TraceKernel], role: FcRole, trace: KernelTrace, notes: dict[str, None]
) -> list[TraceKernel]:
    """Merge the products of one role that read one input, and are stored alike, at the place of the first."""
    groups: dict[object, list[TraceKernel]] = {}
    for kernel in kernels:
        if kernel.role is role and kernel.fc is not None and kernel.fc.groups == 1:
            groups.setdefault(_input(kernel, trace), []).append(kernel)
    by_module: dict[str, list[list[TraceKernel]]] = {}
    for group in groups.values():
        by_module.setdefault(_module(group[0]), []).append(group)
    for module, apart in by_module.items():
        if len(apart) > 1:
            names = ", ".join(JOINT.join(_short(kernel) for kernel in group) for group in apart)
            notes[f"left apart in {module or trace.name}, as their inputs or formats differ: {names}"] = None
    merged = {id(group[0]): _product(group) for group in groups.values() if len(group) > 1}
    gone = {id(kernel) for group in groups.values() for kernel in group[1:]}
    return [merged.get(id(kernel), kernel) for kernel in kernels if id(kernel) not in gone]


def _input(kernel: TraceKernel, trace: KernelTrace) -> object:
    """Return the properties that products must have in common to be merged."""
    packed = trace.model.packed
    assert kernel.fc is not None
    return (
        _module(kernel), kernel.per_expert, kernel.fc.m, kernel.fc.k, _sizes(kernel.reads),
        packed is not None and packed.packs(kernel.name), kernel.weights[-1].tensor.dtype,
    )  # fmt: skip


def _product(parts: Sequence[TraceKernel]) -> TraceKernel:
    """Return the product that computes several of one input."""
    fc = parts[0].fc
    assert fc is not None
    outputs = sum(part.fc.n for part in parts if part.fc is not None)
    name = _joined(parts)
    matrices = [next(p for p in part.weights if p.tensor.elements == _matrix(part)) for part in parts]
    biases = [p for part, matrix in zip(parts, matrices, strict=True) for p in part.weights if p is not matrix]
    matrix = Parameter(f"{name}.weight", Tensor(matrices[0].tensor.dtype, (whole(outputs), whole(fc.k))))
    return _changed(
        parts[0],
        **_sums(parts),
        name=name,
        fc=FcShape(m=fc.m, k=fc.k, n=outputs),
        weights=(*biases, matrix),
        writes=tuple(tensor for part in parts for tensor in part.writes),
    )


def _changed(kernel: TraceKernel, **fields: object) -> TraceKernel:
    """Return a kernel with other fields, checked as a captured one is; sums that it remembers are not taken over."""
    return TraceKernel.model_validate({name: getattr(kernel, name) for name in TraceKernel.model_fields} | fields)


def _matrix(kernel: TraceKernel) -> Dim:
    assert kernel.fc is not None
    return whole(kernel.fc.k * kernel.fc.n)


def _merge_neighbours(kernels: list[TraceKernel], kernel_class: KernelClass, *, chained: bool) -> list[TraceKernel]:
    """Merge kernels of one class and module that follow one another.

    Args:
        kernels: kernels of a block.
        kernel_class: the class.
        chained: whether each works on what the one before has written; otherwise they work side by side.
    """
    merged: list[TraceKernel] = []
    for kernel in kernels:
        last = merged[-1] if merged else None
        if (
            last is not None
            and last.kernel_class is kernel.kernel_class is kernel_class
            and last.per_expert == kernel.per_expert
            and _module(last) == _module(kernel)
        ):
            merged[-1] = _chain(last, kernel, _handed(last, kernel) if chained else [], keeps=False)
        else:
            merged.append(kernel)
    return merged


def with_append(rotary: TraceKernel, append: TraceKernel, written: KvAppend, rows: int) -> Elementwise:
    """Return the kernel that rotates Q and K and writes K and V into the cache as it is stored.

    The rotated K, which the rotary embedding writes last, is not written and read again in between.

    Args:
        rotary: the rotary embedding.
        append: the write.
        written: the write into the caches as they are stored.
        rows: token-rows.
    """
    keys = [tensor for tensor in rotary.writes[-1:] if _size(tensor) in map(_size, append.reads)]
    point = {"RLP": 1, "TLP": rows, "KV": 0}
    handed, computed = bytes_of(keys).at(point), bytes_of(append.reads).at(point)
    return Elementwise(
        KernelClass.ROTARY,
        rotary.flop.at(point),
        rotary.read_bytes.at(point) + computed - handed,
        rotary.write_bytes.at(point) - handed + written.write_bytes,
    )


def _merge_sums(blocks: list[Block], notes: dict[str, None]) -> list[Block]:
    """Merge each sum with the norm that follows it, in the next layer and after the layers too."""
    blocks = [_with_kernels(block, _merge_inner_sums(block.kernels)) for block in blocks]
    cut = _Layers(blocks).cut()
    left = {kernel.name for block in cut for kernel in block.kernels if kernel.kernel_class is KernelClass.RESIDUAL}
    if left:
        notes[f"left apart, as no norm follows: {', '.join(sorted(left))}"] = None
    return cut


def _merge_inner_sums(kernels: Iterable[TraceKernel]) -> list[TraceKernel]:
    merged: list[TraceKernel] = []
    for kernel in kernels:
        if merged and _is_sum_of(merged[-1], kernel):
            merged[-1] = _sum_and_norm(merged[-1], kernel)
        else:
            merged.append(kernel)
    return merged


class _Layers:
    """A model's layers one after another, each ending with the norm of the next one where its last sum is followed by it.

    Args:
        blocks: the blocks of the model.
    """

    def __init__(self, blocks: Sequence[Block]) -> None:
        self._merged: dict[tuple[int, int], TraceKernel] = {}
        self._of = {layer: block for block in blocks for layer in block.layer_indices}
        first = next(position for position, block in enumerate(blocks) if block.layer_indices)
        outside = [(position < first, block) for position, block in enumerate(blocks) if not block.layer_indices]
        self._before = [block for is_before, block in outside if is_before]
        self._after = [block for is_before, block in outside if not is_before]

    def cut(self) -> list[Block]:
        """Return the blocks, each layer without the norm that the layer before it has taken, and with the one that it takes."""
        n_layers = len(self._of)
        takes = [self._takes(layer) for layer in range(n_layers)]
        gives = [False, *(norm is not None for norm in takes[:-1])]
        # the first layer of many gives its norm to what runs before it, so that it is as the others are
        moves = bool(self._before) and any(gives[layer] for layer in self._of[0].layer_indices)
        gives[0] = moves
        alike: dict[tuple[int, bool, object], list[int]] = {}
        for layer, block in sorted(self._of.items()):
            key = id(block), gives[layer], _cost(takes[layer])
            alike.setdefault(key, []).append(layer)
        cut = [self._part(layers, takes[layers[0]], gives=gives[layers[0]]) for layers in alike.values()]
        before, after = list(self._before), list(self._after)
        if moves:
            before[-1] = _with_kernels(before[-1], [*before[-1].kernels, self._of[0].kernels[0]])
        if takes[-1] is not None:
            after[0] = _with_kernels(after[0], after[0].kernels[1:])
        return [*before, *_named_apart(cut), *after]

    def _takes(self, layer: int) -> TraceKernel | None:
        """Return the last sum of a layer, merged with the norm that follows it; None if none does."""
        following = self._of.get(layer + 1) or next(iter(self._after), None)
        if following is None or len(following.kernels) == 1:
            return None
        last, norm = self._of[layer].kernels[-1], following.kernels[0]
        if not _is_sum_of(last, norm):
            return None
        known = id(last), id(norm)
        if known not in self._merged:
            self._merged[known] = _sum_and_norm(last, norm)
        return self._merged[known]

    def _part(self, layers: Sequence[int], end: TraceKernel | None, *, gives: bool) -> Block:
        """Return the block of layers that are alike."""
        block = self._of[layers[0]]
        kernels = [*block.kernels[1 if gives else 0 : -1], block.kernels[-1] if end is None else end]
        return Block(name=block.name, layers=_range_text(layers), kernels=tuple(kernels))


def _named_apart(blocks: Sequence[Block]) -> list[Block]:
    """Return blocks whose names differ: those cut from one are named after their layers."""
    names = [block.name for block in blocks]
    return [
        block if names.count(block.name) == 1
        else block.model_copy(update={"name": f"{block.name}_{block.layers}"})
        for block in blocks
    ]  # fmt: skip


def _with_kernels(block: Block, kernels: Iterable[TraceKernel]) -> Block:
    return Block(name=block.name, layers=block.layers, kernels=tuple(kernels))


def _range_text(layers: Sequence[int]) -> str:
    """Return layers in ascending order as a trace writes them."""
    starts = [layer for layer in layers if layer - 1 not in layers]
    ends = [layer for layer in layers if layer + 1 not in layers]
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in zip(starts, ends, strict=True))


def _cost(kernel: TraceKernel | None) -> object:
    """Return the quantities that decide the cost of a kernel, which equal layers have in common."""
    return None if kernel is None else (kernel.flop, kernel.read_bytes, kernel.write_bytes)


def _is_sum_of(first: TraceKernel, second: TraceKernel) -> bool:
    """Whether a sum is followed by the norm of what it writes."""
    is_pair = first.kernel_class is KernelClass.RESIDUAL and second.kernel_class is KernelClass.NORMALISATION
    return is_pair and first.per_expert == second.per_expert and bool(_handed(first, second))


def _sum_and_norm(first: TraceKernel, second: TraceKernel) -> TraceKernel:
    return _chain(first, second, _handed(first, second), keeps=True)


def _chain(first: TraceKernel, second: TraceKernel, handed: Sequence[Tensor], *, keeps: bool) -> TraceKernel:
    """Return one kernel that does what two did.

    Args:
        first: the first kernel.
        second: the second kernel.
        handed: what the second reads of what the first writes.
        keeps: whether what is handed on is still written, as others read it.
    """
    return _changed(
        second,
        **_sums((first, second)),
        name=_joined((first, second)),
        weights=(*first.weights, *second.weights),
        tables=(*first.tables, *second.tables),
        reads=(*first.reads, *_without(second.reads, handed)),
        writes=(*(first.writes if keeps else _without(first.writes, handed)), *second.writes),
    )


def _handed(first: TraceKernel, second: TraceKernel) -> list[Tensor]:
    """Return the tensors that a kernel writes and the next one reads; a trace names no tensors, so that equal sizes decide."""
    handed, written = list[Tensor](), list(first.writes)
    for tensor in second.reads:
        match = next((each for each in written if _size(each) == _size(tensor)), None)
        if match is not None:
            written.remove(match)
            handed.append(tensor)
    return handed


def _without(tensors: Iterable[Tensor], gone: Iterable[Tensor]) -> list[Tensor]:
    left = list(tensors)
    for tensor in gone:
        left.remove(next(each for each in left if _size(each) == _size(tensor)))
    return left


def _sums(parts: Sequence[TraceKernel]) -> dict[str, object]:
    """Return the work of all parts."""
    zero = whole(0)
    return {
        "matmul_flop": sum((part.matmul_flop for part in parts), start=zero),
        "elementwise_flop": sum((part.elementwise_flop for part in parts), start=zero),
        "aten": tuple(each for part in parts for each in part.aten),
        "replaces": tuple(each for part in parts for each in part.replaces),
    }


def _size(tensor: Tensor) -> tuple[str, Dim]:
    return tensor.dtype, tensor.elements


def _sizes(tensors: Iterable[Tensor]) -> tuple[tuple[str, Dim], ...]:
    return tuple(map(_size, tensors))


def _module(kernel: TraceKernel) -> str:
    return kernel.name.rpartition(".")[0]


def _short(kernel: TraceKernel) -> str:
    return kernel.name.rpartition(".")[2]


def _joined(parts: Sequence[TraceKernel]) -> str:
    return JOINT.join([parts[0].name, *(_short(part) for part in parts[1:])])


def activation_bytes(trace: KernelTrace) -> Dim:
    """Return the bytes of activations that all kernels of an iteration read and write; of one expert in each layer."""
    moved = ((bytes_of(kernel.reads) + kernel.write_bytes) * whole(repeats) for kernel, repeats in trace.kernels())
    return sum(moved, start=whole(0))
