"""From recorded calls to classed, fused kernels.

1. **Group** the calls of one launch: an FC, attention or KV-append call by itself; else a run of consecutive calls of one
   module (an RMSNorm's eight aten kernels are one kernel).
2. **Class** each group by its operators and the source of its operands, never by the names of a model's modules:
   a group with ``rsqrt`` normalises, one that reads what a group with ``cos`` and ``sin`` wrote is rotary.
3. **Join** an activation with the elementwise kernel that alone reads it (``silu(gate) * up`` is one launch).
4. **Role** of each FC from dataflow: what reaches attention or the cache is ``qkv``, what attention reaches is the
   ``projection``, and an activation stands between ``feed_forward_up`` and ``feed_forward_down``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import groupby
from math import prod
from typing import Final

from papisim.errors import NotModelled
from papisim.ops.dims import whole
from papisim.ops.kernel import FcRole, KernelClass
from papisim.ops.tensors import Parameter, Tensor
from papisim.ops.trace_kernels import AtenKernel, FcShape, TraceKernel
from papisim.tracing.aten import MATMUL
from papisim.tracing.record import ATTENTION, KV_APPEND, STATE, Access, Call, Recording

#: operators that determine the class of a group, most specific first
_EVIDENCE: Final[tuple[tuple[KernelClass, frozenset[str]], ...]] = (
    (KernelClass.EMBEDDING, frozenset({"embedding"})),
    (KernelClass.NORMALISATION, frozenset({"native_layer_norm", "_fused_rms_norm", "rsqrt", "var_mean"})),
    (KernelClass.ROTARY, frozenset({"cos", "sin", "polar", "view_as_complex"})),
    (KernelClass.OTHER, frozenset({"topk", "nonzero", "sort"})),
    (KernelClass.ACTIVATION, frozenset({
        "silu", "silu_", "gelu", "relu", "relu_", "sigmoid", "sigmoid_", "tanh", "mish", "elu", "leaky_relu", "hardswish",
        "expm1", "erf",
    })),
)  # fmt: skip
_SCOPE_CLASS: Final = {ATTENTION: KernelClass.ATTENTION, KV_APPEND: KernelClass.KV_APPEND, STATE: KernelClass.STATE}
#: kernels that mix a token with those before it
_MIXES: Final = frozenset({KernelClass.ATTENTION, KernelClass.KV_APPEND, KernelClass.STATE})
#: kernels that a search for the source or the use of an activation does not look beyond
_OPAQUE: Final = frozenset({KernelClass.FC, *_MIXES, KernelClass.RESIDUAL})

#: operators by which a router chooses experts
_CHOICES: Final = frozenset({"topk", "max"})
_BESIDE_QKV: Final = frozenset({FcRole.QKV, FcRole.PROJECTION})


@dataclass(frozen=True, slots=True)
class PlacedKernel:
    """A fused kernel of one capture, all dimensions numbers, and where it ran.

    Attributes:
        layer: index of the decoder layer; None outside the layers.
        expert: index of the expert whose rows it works on; None outside an expert loop.
        expert_rows: number of those rows.
        kernel: the kernel, all dimensions numbers.
    """

    layer: int | None
    expert: int | None
    expert_rows: int | None
    kernel: TraceKernel


@dataclass(eq=False, slots=True)
class _Group:
    """Calls that are one launch; ``sources`` are the groups that write its operands, ``users`` those that read its results."""

    calls: list[Call]
    module: str
    layer: int | None
    kernel_class: KernelClass = KernelClass.OTHER
    role: FcRole | None = None
    sources: set[_Group] = field(default_factory=set)
    users: set[_Group] = field(default_factory=set)

    @property
    def operators(self) -> frozenset[str]:
        """Names of the group's operators, without namespace and overload."""
        return frozenset(_operator(call) for call in self.calls)

    @property
    def expert(self) -> int | None:
        """Index of the expert on whose rows the group works; None outside experts."""
        return self.calls[0].expert


@dataclass(frozen=True)
class Layout:
    """The layer of each module path, from the path of the list of layers (``model.layers`` for many models)."""

    layers: str

    def layer_of(self, path: str) -> int | None:
        """Return the index of the layer that a module belongs to."""
        if not path.startswith(self.layers + "."):
            return None
        return int(path[len(self.layers) + 1 :].partition(".")[0])

    def relative(self, path: str) -> str:
        """Return the path within its layer, or within what holds the layers."""
        if self.layer_of(path) is not None:
            return path[len(self.layers) + 1 :].partition(".")[2]
        holder = self.layers.rpartition(".")[0]
        return path[len(holder) + 1 :] if holder and path.startswith(holder + ".") else path if path != holder else ""


def classify(recording: Recording, layout: Layout) -> list[PlacedKernel]:
    """Turn a recording into fused kernels, in launch order.

    Raises:
        NotModelled: a kernel whose role in the model does not follow from its dataflow.
    """
    groups = _grouped(_used(recording), layout)
    _link(groups)
    for group in groups:
        group.kernel_class = _class_of(group)
    groups = _join_activations(groups)
    for group in groups:
        if group.kernel_class is KernelClass.FC:
            group.role = _role_of(group, recording.outputs)
    return [_placed(group, recording.outputs, layout) for group in groups]


# ---- groups


def _used(recording: Recording) -> list[Call]:
    """Return the calls but those that fill a tensor for nothing, as a mask of which positions follow that are given."""
    read = recording.outputs.union(access.storage for call in recording.calls for access in call.reads)
    return [
        call
        for call in recording.calls
        if call.scope or call.inputs or any(access.storage in read for access in call.writes)
    ]


def _operator(call: Call) -> str:
    return call.op if call.scope else call.op.split(".")[1]


def is_fc(call: Call) -> bool:
    """Whether a call multiplies activations with a parameter."""
    return call.scope is None and _operator(call) in MATMUL and _weight(call) is not None


def _grouped(calls: list[Call], layout: Layout) -> list[_Group]:
    def launch(indexed: tuple[int, Call]) -> tuple[object, ...]:
        index, call = indexed
        alone = index if call.scope or is_fc(call) else None
        return alone, call.module, call.expert

    runs = ([call for _, call in run] for _, run in groupby(enumerate(calls), key=launch))
    return [_Group(run, run[0].module, layout.layer_of(run[0].module)) for run in runs]


def _link(groups: list[_Group]) -> None:
    """Link each group to the groups whose results it reads; the last writer of a storage is its source."""
    writer: dict[int, _Group] = {}
    for group in groups:
        for call in group.calls:
            for access in call.reads:
                source = writer.get(access.storage)
                if source is not None and source is not group:
                    group.sources.add(source)
                    source.users.add(group)
            writer.update({access.storage: group for access in call.writes})


def _class_of(group: _Group) -> KernelClass:
    """Class a group; its sources are classed already, as they come earlier."""
    first = group.calls[0]
    if first.scope:
        return _SCOPE_CLASS[first.scope]
    if is_fc(first):
        return KernelClass.FC
    for kernel_class, operators in _EVIDENCE:
        if group.operators & operators:
            return kernel_class
    return _class_by_origin(group)


def _class_by_origin(group: _Group) -> KernelClass:
    origins = {source.kernel_class for source in group.sources}
    if origins == {KernelClass.EMBEDDING}:
        return KernelClass.EMBEDDING
    for kernel_class in (KernelClass.ROTARY, KernelClass.ACTIVATION):
        if kernel_class in origins:
            return kernel_class
    return KernelClass.RESIDUAL if _is_residual(group) else KernelClass.OTHER


def _is_residual(group: _Group) -> bool:
    """Whether a group only adds two activations of one shape."""
    return all(
        _operator(call) in ("add", "add_") and len(call.inputs) > 1 and len(set(call.inputs)) == 1
        for call in group.calls
    )  # fmt: skip


def _join_activations(groups: list[_Group]) -> list[_Group]:
    gone: set[_Group] = set()
    for group in groups:
        only_user = next(iter(group.users)) if len(group.users) == 1 else None
        if only_user is not None and _joins(group, only_user):
            only_user.calls = [*group.calls, *only_user.calls]
            only_user.sources = (only_user.sources | group.sources) - {group}
            for source in group.sources:
                source.users = (source.users - {group}) | {only_user}
            gone.add(group)
    return [group for group in groups if group not in gone]


def _joins(group: _Group, user: _Group) -> bool:
    same_place = (group.layer, group.expert) == (user.layer, user.expert)
    return same_place and group.kernel_class is user.kernel_class is KernelClass.ACTIVATION


# ---- roles of FC kernels


def _role_of(group: _Group, final_storages: frozenset[int]) -> FcRole:
    written = {access.storage for call in group.calls for access in call.writes}
    if written & final_storages:
        return FcRole.LM_HEAD
    behind, ahead = _reach(group, lambda g: g.sources), _reach(group, lambda g: g.users)
    if any(_CHOICES & other.operators for other in ahead):
        return FcRole.ROUTER
    role = _role_by_mixing(group, behind, ahead) or _role_by_activation(behind, ahead)
    # the first of a product of low rank, or a gate of what attention or a scan has computed
    if role is None and any(_is_fc(g) and _role_of(g, final_storages) in _BESIDE_QKV for g in ahead):
        role = FcRole.QKV
    role = role or _role_by_place(behind, ahead)
    if role is None:
        raise NotModelled(f"the role of the FC kernel {group.module} in its layer does not follow from its dataflow")
    return role


def _role_by_mixing(group: _Group, behind: set[_Group], ahead: set[_Group]) -> FcRole | None:
    # a product per head is column-parallel like those of Q, K and V, on whichever side of attention it is
    if _is_per_head(group) or any(other.kernel_class in _MIXES for other in ahead):
        return FcRole.QKV
    mixed = any(other.kernel_class in _MIXES or _is_per_head(other) for other in behind)
    return FcRole.PROJECTION if mixed or group.layer is None else None


def _role_by_activation(behind: set[_Group], ahead: set[_Group]) -> FcRole | None:
    if any(other.kernel_class is KernelClass.ACTIVATION for other in behind):
        return FcRole.FEED_FORWARD_DOWN
    if any(other.kernel_class is KernelClass.ACTIVATION for other in ahead):
        return FcRole.FEED_FORWARD_UP
    return None


def _role_by_place(behind: set[_Group], ahead: set[_Group]) -> FcRole | None:
    """Of a product of low rank beside a layer, the first is column-parallel and the second row-parallel."""
    if any(_is_fc(other) for other in behind):
        return FcRole.FEED_FORWARD_DOWN
    return FcRole.FEED_FORWARD_UP if any(_is_fc(other) for other in ahead) else None


def _is_fc(group: _Group) -> bool:
    return group.kernel_class is KernelClass.FC


def _is_per_head(group: _Group) -> bool:
    return _is_fc(group) and _fc_shape(group.calls[0]).groups > 1


def _reach(group: _Group, step: Callable[[_Group], Iterable[_Group]]) -> set[_Group]:
    """Return the groups reached in one direction, not going beyond opaque ones."""
    found: set[_Group] = set()
    todo = list(step(group))
    while todo:
        other = todo.pop()
        if other not in found:
            found.add(other)
            if other.kernel_class not in _OPAQUE:
                todo += step(other)
    return found


# ---- kernels


def _placed(group: _Group, final_storages: frozenset[int], layout: Layout) -> PlacedKernel:
    first = group.calls[0]
    kernel = _kernel(
        name=_name(group, layout),
        kernel_class=group.kernel_class,
        role=group.role,
        fc=_fc_shape(first) if group.kernel_class is KernelClass.FC else None,
        attention=first.facts.attention,
        state_bytes=first.facts.state_bytes,
        per_expert=first.expert is not None,
        weights=tuple(_parameters(group, layout, in_full=True)),
        tables=tuple(_parameters(group, layout, in_full=False)),
        reads=tuple(access.tensor for access in _external_reads(group)),
        writes=tuple(access.tensor for access in _external_writes(group, final_storages)),
        matmul_flop=whole(sum(call.matmul_flop for call in group.calls)),
        elementwise_flop=whole(sum(call.elementwise_flop for call in group.calls)),
        aten=tuple(_aten(call) for call in group.calls if not call.scope),
        replaces=first.replaces,
    )
    return PlacedKernel(group.layer, first.expert, first.expert_rows, kernel)


@lru_cache(maxsize=100_000)
def _kernel(**fields: object) -> TraceKernel:
    """Make a kernel; the layers of a model share theirs."""
    return TraceKernel(**fields)


@lru_cache(maxsize=100_000)
def _aten_kernel(**fields: object) -> AtenKernel:
    return AtenKernel(**fields)


def _aten(call: Call) -> AtenKernel:
    read, write = ([access.tensor for access in accesses] for accesses in (call.reads, call.writes))
    return _aten_kernel(
        op=call.op,
        inputs=call.inputs,
        outputs=call.outputs,
        flop=whole(call.matmul_flop + call.elementwise_flop),
        reads_bytes=_bytes_unless(read, call.inputs),
        writes_bytes=_bytes_unless(write, call.outputs),
    )


def _bytes_unless(touched: list[Tensor], operands: tuple[Tensor, ...]) -> object:
    if sorted(map(str, touched)) == sorted(map(str, operands)):
        return None
    return whole(sum(tensor.n_bytes.constant for tensor in touched))


def _sizes(tensor: Tensor) -> tuple[int, ...]:
    return tuple(dim.constant for dim in tensor.shape)


def _name(group: _Group, layout: Layout) -> str:
    path, label = layout.relative(group.module), group.calls[0].facts.label
    if group.kernel_class is KernelClass.FC:
        name = _parameter_name(_fc_weight(group.calls[0]), group.module, layout).removesuffix(".weight")
        return f"{name}.{label}" if label else name
    if path and group.kernel_class in (KernelClass.NORMALISATION, KernelClass.EMBEDDING):
        return path
    return ".".join(filter(None, (path, label or group.kernel_class.value)))


def _fc_shape(call: Call) -> FcShape:
    position = MATMUL[_operator(call)]
    left, right = (_sizes(call.inputs[index]) for index in position)
    weight_is_right = call.reads[position[1]].parameter != ()
    batch, k = prod(left[:-2]), left[-1]
    m, n = (left[-2], right[-1]) if weight_is_right else (right[-1], left[-2])
    groups = min(batch, prod(_sizes(_fc_weight(call).tensor)[:-2]))  # 1 where requests share a weight
    return FcShape(m=whole(m * batch // groups), k=k, n=n, groups=groups)


def _weight(call: Call) -> Access | None:
    """Return the parameter that a matrix product multiplies with, the right operand first."""
    positions = MATMUL[_operator(call)]
    return next((call.reads[i] for i in reversed(positions) if call.reads[i].parameter), None)


def _fc_weight(call: Call) -> Access:
    weight = _weight(call)
    assert weight is not None, "only called on FC kernels"
    return weight


def _parameters(group: _Group, layout: Layout, *, in_full: bool) -> Iterator[Parameter]:
    seen: set[tuple[int, bool]] = set()
    for call in group.calls:
        for access in call.reads:
            if access.parameter and access.in_full == in_full and (access.storage, in_full) not in seen:
                seen.add((access.storage, in_full))
                yield Parameter(_parameter_name(access, group.module, layout), _as_stored(access, call))


def _parameter_name(access: Access, module: str, layout: Layout) -> str:
    """Choose among the names of a shared parameter the one in the module that uses it."""
    own = [name for name in access.parameter if name.startswith(module + ".")]
    return layout.relative((own or list(access.parameter))[0])


def _as_stored(access: Access, call: Call) -> Tensor:
    tensor = access.tensor if access.in_full else call.inputs[0]
    return Tensor(tensor.dtype, tensor.shape[::-1]) if access.transposed else tensor


def _external_reads(group: _Group) -> list[Access]:
    """Return the reads of a group other than of its own results, each element once; parameters read in full are listed elsewhere."""
    written: set[int] = set()
    reads: list[Access] = []
    for call in group.calls:
        for access in call.reads:
            if access.storage not in written and not (access.parameter and access.in_full):
                reads.append(access)
        written |= {access.storage for access in call.writes if access.in_full}
    return _without_covered(reads)


def _external_writes(group: _Group, final_storages: frozenset[int]) -> list[Access]:
    """Return the writes of a group that another kernel, the caller or the next iteration reads."""
    if group.kernel_class is KernelClass.STATE:
        return list(group.calls[0].writes)
    needed = final_storages | {
        access.storage for user in group.users for call in user.calls for access in call.reads
    }  # fmt: skip
    writes = [access for call in group.calls for access in call.writes if access.storage in needed]
    return _without_covered(writes)


def _without_covered(accesses: list[Access]) -> list[Access]:
    """Drop accesses that another one covers: views within it, and rows picked from memory that is touched in full."""
    in_full: list[Access] = []
    for access in accesses:
        if access.in_full and not any(other.covers(access) for other in in_full):
            in_full = [other for other in in_full if not access.covers(other)] + [access]
    whole_storages = {access.storage for access in in_full}
    return [
        a for a in accesses if any(a is kept for kept in in_full) or not (a.in_full or a.storage in whole_storages)
    ]
