"""Record every aten kernel that a model dispatches, with the memory it touches and the module it runs in.

The model runs on meta tensors: shapes and storages are real, contents are not, and nothing is allocated. Tensors are
identified by their storage, which a view shares with its base; every tensor seen is kept alive for as long as the
recording, so that no identity is used twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final, cast

import torch
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from papisim.ops.dims import whole
from papisim.ops.tensors import Tensor
from papisim.ops.trace_kernels import AttentionShape
from papisim.tracing import aten
from papisim.tracing.routing import Routing

#: objects of transformers, whose classes have no types here
Foreign = Any

#: what is recorded as one fused kernel
ATTENTION: Final = "attention"
KV_APPEND: Final = "kv_append"
STATE: Final = "state"


@dataclass(frozen=True, slots=True)
class Fused:
    """Facts about a fused kernel that do not follow from the operators inside.

    Attributes:
        label: name of the kernel within its module; the kind of scope by default.
        elementwise_flop: FLOPs besides those of matrix products.
        attention: heads and cache of an attention kernel.
        state_bytes: bytes of the state of one request; state kernels only.
    """

    label: str | None = None
    elementwise_flop: int = 0
    attention: AttentionShape | None = None
    state_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Access:
    """Memory that a kernel reads or writes.

    Attributes:
        tensor: the elements touched.
        storage: identity of the memory.
        span: first and one past the last element within the storage.
        parameter: all names of the parameter that lives there; empty for activations.
        in_full: the whole operand is touched, not rows picked from it.
        transposed: the operand is a matrix whose columns, not rows, are contiguous (as a weight is dispatched).
    """

    tensor: Tensor
    storage: int
    span: tuple[int, int]
    parameter: tuple[str, ...] = ()
    in_full: bool = True
    transposed: bool = False

    def covers(self, other: Access) -> bool:
        """Whether this access touches every element that the other one does (up to gaps of strided views)."""
        return (
            self.storage == other.storage
            and self.span[0] <= other.span[0]
            and other.span[1] <= self.span[1]
            and self.tensor.elements.constant >= other.tensor.elements.constant
        )


@dataclass(slots=True)
class Call:
    """One kernel as recorded: a dispatched aten kernel, or a scope that stands for one fused kernel."""

    op: str
    module: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    reads: tuple[Access, ...]
    writes: tuple[Access, ...]
    matmul_flop: int = 0
    elementwise_flop: int = 0
    scope: str | None = None
    facts: Fused = Fused()
    replaces: tuple[str, ...] = ()
    expert: int | None = None
    expert_rows: int | None = None


@dataclass
class Recording:
    """The calls that one decode iteration dispatched, in order, and the storages of its final outputs."""

    calls: list[Call] = field(default_factory=list)
    outputs: frozenset[int] = frozenset()


@dataclass
class _Following:
    """Everything computed from some tensors, up to a choice of the best: one fused kernel.

    Attributes:
        storages: memory of the tensors, and of what was computed from them.
        facts: of the kernel, by the other tensors that it reads.
        reads: the tensors that it reads; the first are those that are followed.
        matmul_flop: of its matrix products, the first of which is of the kernel.
        is_chosen: whether the choice has been made; what follows of it is of the kernel that reads it.
    """

    storages: set[int]
    facts: Callable[[list[torch.Tensor]], Fused]
    reads: list[torch.Tensor]
    matmul_flop: int = 0
    ops: set[str] = field(default_factory=set)
    is_chosen: bool = False


@dataclass
class _Segment:
    """The part of an expert loop that works on one expert's rows."""

    first_call: int
    rows: int
    module: str
    expert: int | None = None


class Recorder:
    """Turns dispatched operators into :class:`Call` values.

    Args:
        model: the module that will run, on the meta device.
        routing: experts of a layer and of a token.
        seed: seed of the recording, a sequence of whole numbers.
    """

    def __init__(self, model: torch.nn.Module, routing: Routing, seed: Sequence[int]) -> None:
        self.recording = Recording()
        self._routing, self._seed = routing, seed
        self._n_experts, self._n_per_token = routing.n_experts, routing.n_per_token
        self._n_routed = 0
        self._modules: list[str] = [""]
        self._scope: list[tuple[str, int]] | None = None
        self._muted = False
        self._label: str | None = None
        self._segment: _Segment | None = None
        self._following: _Following | None = None
        self._same: dict[int, int] = {}
        self._alive: list[torch.Tensor] = []
        self._parameters: dict[int, tuple[str, ...]] = {}
        self._dtypes: dict[int, torch.dtype] = {}
        for name, parameter in model.named_parameters(remove_duplicate=False):
            key = storage_of(parameter)
            self._parameters[key] = (*self._parameters.get(key, ()), name)
            self._dtypes[key] = parameter.dtype

    # ---- modules and scopes

    @contextmanager
    def modules_of(self, model: torch.nn.Module) -> Iterator[None]:
        """Follow the model's modules: inside, each call knows the path of the innermost one running."""
        handles = []
        for name, module in model.named_modules():
            handles.append(module.register_forward_pre_hook(lambda *_, name=name: self._modules.append(name)))
            handles.append(module.register_forward_hook(lambda *_: self._leave_module()))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _leave_module(self) -> None:
        left = self._modules.pop()
        if self._segment is not None and self._segment.module == left:
            self._segment = None

    @property
    def module(self) -> str:
        """Path of the innermost module that is running."""
        return self._modules[-1]

    @contextmanager
    def scope(
        self,
        name: str,
        reads: Sequence[torch.Tensor],
        writes: list[tuple[torch.Tensor, torch.Tensor]],
        facts: Fused | None = None,
    ) -> Iterator[None]:
        """Record everything dispatched inside as one fused kernel.

        Args:
            name: kind of fused kernel.
            reads: the tensors that it reads.
            writes: filled by the body with (tensor whose storage is written, tensor whose elements are written).
            facts: what else is known about it.
        """
        inner: list[tuple[str, int]] = []
        self._scope = inner
        try:
            yield
        finally:
            self._scope = None
        read_accesses = tuple(self._access(tensor) for tensor in reads)
        write_accesses = tuple(self._access(target, touched=tuple(new.shape)) for target, new in writes)
        self._alive += [*reads, *(target for target, _ in writes)]
        facts = facts or Fused()
        self.recording.calls.append(
            Call(
                op=name,
                module=self._modules[-1],
                inputs=tuple(access.tensor for access in read_accesses),
                outputs=tuple(access.tensor for access in write_accesses),
                reads=read_accesses,
                writes=write_accesses,
                matmul_flop=sum(flop for _, flop in inner),
                elementwise_flop=facts.elementwise_flop,
                scope=name,
                facts=facts,
                replaces=tuple(sorted({op for op, _ in inner})),
            )
        )

    @contextmanager
    def unrecorded(self) -> Iterator[None]:
        """Run operators that no engine launches; views stay known."""
        before, self._muted = self._muted, True
        try:
            yield
        finally:
            self._muted = before

    @contextmanager
    def labelled(self, label: str) -> Iterator[None]:
        """Give the kernels dispatched inside a name of their own within their module."""
        self._label = label
        try:
            yield
        finally:
            self._label = None

    def alias(self, tensor: torch.Tensor, source: torch.Tensor) -> None:
        """Declare a tensor to be the elements of another one, in whatever order an engine's kernels address them."""
        self._alive += [tensor, source]
        if storage_of(tensor) != storage_of(source):
            self._same[storage_of(tensor)] = self._storage(source)

    def join(self, first: Call) -> None:
        """Join an earlier call into the last one: one launch does both, under the name of the first."""
        calls, last = self.recording.calls, self.recording.calls.pop()
        del calls[next(index for index, call in enumerate(calls) if call is first)]
        parts = ("inputs", "outputs", "reads", "writes")
        calls.append(replace(first, **{part: getattr(first, part) + getattr(last, part) for part in parts}))

    def follow(
        self, tensor: torch.Tensor, unread: Sequence[torch.Tensor], facts: Callable[[list[torch.Tensor]], Fused]
    ) -> None:
        """Record what is computed from a tensor, up to the ``topk`` that chooses of it, as one attention kernel.

        Args:
            tensor: the cached keys.
            unread: masks, which no engine reads.
            facts: called with the tensors that the kernel reads.
        """
        self._alive += [tensor, *unread]
        self._following = _Following(set(self.storages(tensor, *unread)), facts, [tensor])

    def _follow(
        self, func: OpOverload, args: Sequence[object], inputs: list[torch.Tensor], outputs: list[torch.Tensor]
    ) -> bool:
        """Take a call into the kernel that follows a tensor; tell whether it belongs there."""
        following = self._following
        if following is None:
            return False
        if not following.storages & self.storages(*inputs):
            return not following.is_chosen and self._converts(func, inputs, outputs)
        others = [tensor for tensor in inputs if self._storage(tensor) not in following.storages]
        following.storages |= self.storages(*outputs)
        if following.is_chosen:
            return True
        following.reads += others
        following.matmul_flop = following.matmul_flop or aten.matmul_flop(func, args)
        following.ops.add(str(func))
        if aten.operator_name(func) == "topk":
            following.is_chosen = True
            with self.scope(ATTENTION, following.reads, [], following.facts(following.reads)):
                pass
            call = self.recording.calls[-1]
            call.matmul_flop, call.replaces = following.matmul_flop, tuple(sorted(following.ops))
        return True

    def _converts(self, func: OpOverload, inputs: list[torch.Tensor], outputs: list[torch.Tensor]) -> bool:
        """Tell whether a call only widens what the followed kernel reads, which does so itself; the result is its source."""
        if aten.operator_name(func) != "_to_copy":
            return False
        self.alias(outputs[0], inputs[0])
        self._dtypes[self._storage(inputs[0])] = inputs[0].dtype
        return True

    def forget(self) -> None:
        """Drop all calls recorded so far."""
        self.recording.calls.clear()
        self._n_routed = 0
        self._segment = None

    # ---- dispatched operators

    def dispatched(self, func: OpOverload, args: Sequence[object], kwargs: dict[str, Any]) -> Any:
        """Run one operator and record it where it is a kernel."""
        inputs = _tensors((args, kwargs))
        result = func(*_on_one_device(args, inputs), **_on_one_device(kwargs, inputs))
        result = self._routed(func, inputs, result)
        outputs = _tensors(result)
        self._alive += [*inputs, *outputs]
        if aten.is_kernel(func) and not self._is_of_one_parameter(inputs):
            self._record(func, args, inputs, outputs)
        else:
            self._follow_view(func, args, inputs, outputs)
        return result

    def _record(
        self, func: OpOverload, args: Sequence[object], inputs: list[torch.Tensor], outputs: list[torch.Tensor]
    ) -> None:
        if self._muted:
            return
        if self._scope is not None:
            self._scope.append((str(func), aten.matmul_flop(func, args)))
            return
        if _is_host_work(inputs, outputs) or self._follow(func, args, inputs, outputs):
            return
        if aten.operator_name(func) == "nonzero":
            self._begin_segment(outputs)
        self.recording.calls.append(
            Call(
                op=str(func),
                module=self._modules[-1],
                inputs=tuple(_tensor(tensor) for tensor in inputs),
                outputs=tuple(_tensor(tensor) for tensor in outputs),
                reads=self._reads(func, inputs, outputs),
                writes=self._writes(func, inputs, outputs),
                matmul_flop=aten.matmul_flop(func, args),
                elementwise_flop=aten.elementwise_flop(func, inputs, outputs),
                facts=Fused(self._label),
            )
        )
        if aten.operator_name(func) == "nonzero" and self._n_experts and inputs[0].dim() == 1:
            self._make_room_for_all(self.recording.calls[-1])
        if self._segment is not None and self._segment.expert is not None:
            self._mark(self.recording.calls[-1:], self._segment)
            if aten.operator_name(func) == "index_add_":
                self._segment = None  # the expert's rows are where they came from

    def _make_room_for_all(self, call: Call) -> None:
        """Let the list of experts that got rows have a row for each: their number is the draw's, not the model's."""
        listed = Tensor(call.outputs[0].dtype, (whole(self._n_experts), whole(1)))
        call.outputs, call.writes = (listed,), tuple(replace(access, tensor=listed) for access in call.writes)

    def _reads(self, func: OpOverload, inputs: list[torch.Tensor], outputs: list[torch.Tensor]) -> tuple[Access, ...]:
        name = aten.operator_name(func)
        if name in aten.PICKS:
            picked = self._access(inputs[0], touched=tuple(outputs[0].shape), in_full=False)
            return (picked, *(self._access(tensor) for tensor in inputs[1:]))
        if name == "index_add_":
            rows = self._access(inputs[0], touched=tuple(inputs[-1].shape), in_full=False)
            return (rows, *(self._access(tensor) for tensor in inputs[1:]))
        if name in aten.CREATES:
            return ()
        read = inputs[1:] if name in aten.OVERWRITES else inputs
        return tuple(self._access(tensor) for tensor in read)

    def _writes(
        self, func: OpOverload, inputs: list[torch.Tensor], outputs: list[torch.Tensor]
    ) -> tuple[Access, ...]:
        name = aten.operator_name(func)
        if name in ("index_add_", "scatter_", "index_put_"):
            touched = inputs[1] if name == "scatter_" else inputs[-1]
            return (self._access(inputs[0], touched=tuple(touched.shape), in_full=False),)
        return tuple(self._access(tensor) for tensor in outputs)

    def _access(
        self, tensor: torch.Tensor, *, touched: tuple[int, ...] | None = None, in_full: bool = True
    ) -> Access:
        storage = self._storage(tensor)
        shape = aten.touched_shape(tensor) if touched is None else touched
        return Access(
            tensor=_typed(self._dtypes.get(storage, tensor.dtype), shape),
            storage=storage,
            span=_span(tensor),
            parameter=self._parameters.get(storage, ()),
            in_full=in_full,
            transposed=tensor.dim() == 2 and tensor.stride(0) == 1 != tensor.stride(1),  # noqa: PLR2004 - a matrix
        )

    def _storage(self, tensor: torch.Tensor) -> int:
        key = storage_of(tensor)
        while key in self._same:
            key = self._same[key]
        return key

    def storages(self, *tensors: torch.Tensor) -> frozenset[int]:
        """Return the identities of the memory of tensors."""
        return frozenset(self._storage(tensor) for tensor in tensors)

    # ---- views and experts

    def _is_of_one_parameter(self, inputs: list[torch.Tensor]) -> bool:
        """Whether an operator depends on one parameter alone: engines run it once, when the weights are loaded."""
        storages = {self._storage(tensor) for tensor in inputs}
        return len(storages) == 1 and storages <= self._parameters.keys() and self._scope is None and not self._muted

    def _follow_view(
        self, func: OpOverload, args: Sequence[object], inputs: list[torch.Tensor], outputs: list[torch.Tensor]
    ) -> None:
        for output in outputs:
            if inputs and storage_of(output) != storage_of(inputs[0]):
                self._same[storage_of(output)] = self._storage(inputs[0])
        if aten.operator_name(func) == "select" and self._is_expert_weight(inputs[0], args):
            self._name_segment(cast("int", args[2]))

    def _is_expert_weight(self, tensor: torch.Tensor, args: Sequence[object]) -> bool:
        stacked = tensor.dim() >= 2 and args[1] == 0 and tensor.shape[0] == self._n_experts  # noqa: PLR2004 - (expert, …)
        return bool(self._n_experts and stacked and self._storage(tensor) in self._parameters)

    def _begin_segment(self, outputs: list[torch.Tensor]) -> None:
        """Begin the segment of an expert whose rows the loop has just looked up: its kernels have that number of rows."""
        rows = int(outputs[0].shape[0])
        self._segment = _Segment(len(self.recording.calls), rows, self._modules[-1])

    def _name_segment(self, expert: int) -> None:
        """Assign the segment, from its beginning, to the expert whose weight the loop has just taken."""
        if self._segment is None:
            return
        self._segment.expert = expert
        self._mark(self.recording.calls[self._segment.first_call :], self._segment)

    @staticmethod
    def _mark(calls: list[Call], segment: _Segment) -> None:
        for call in calls:
            call.expert, call.expert_rows = segment.expert, segment.rows

    def _routed(self, func: OpOverload, inputs: list[torch.Tensor], result: Any) -> Any:
        """Replace a router's choice of experts by a seeded draw; values stay symbolic, indices become real."""
        if not self._n_experts or aten.operator_name(func) != "topk":
            return result
        values, indices = result
        if inputs[0].shape[-1] != self._n_experts or indices.shape[-1] != self._n_per_token:
            return result
        return values, self.draw_experts(indices)

    def draw_experts(self, indices: torch.Tensor) -> torch.Tensor:
        """Return real experts of each token, drawn, in place of a router's choice."""
        n_tokens = indices.numel() // self._n_per_token
        drawn = self._routing.draw(n_tokens, (*self._seed, self._n_routed))
        self._n_routed += 1
        return drawn.reshape(indices.shape)


class RecordingMode(TorchDispatchMode):  # type: ignore[misc] # Any where torch is not installed
    """Hands every dispatched operator to a :class:`Recorder`."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self._recorder = recorder

    def __torch_dispatch__(self, func: OpOverload, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self._recorder.dispatched(func, args, kwargs or {})


def storage_of(tensor: torch.Tensor) -> int:
    """Return the identity of a tensor's memory, shared by its views; unique while a tensor on it is alive."""
    return int(tensor.untyped_storage()._cdata)


def _tensors(tree: object) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def _on_one_device(tree: Any, tensors: list[torch.Tensor]) -> Any:
    """Move real index tensors to meta where they meet meta tensors, as torch refuses to mix devices."""
    if not any(t.is_meta for t in tensors) or all(t.is_meta for t in tensors):
        return tree
    return tree_map(lambda leaf: leaf.to("meta") if isinstance(leaf, torch.Tensor) else leaf, tree)


def _is_host_work(inputs: list[torch.Tensor], outputs: list[torch.Tensor]) -> bool:
    """Whether an operator only handles real single numbers, as loop control on the host does."""
    tensors = [*inputs, *outputs]
    return all(not tensor.is_meta and tensor.dim() == 0 for tensor in tensors)


def _typed(dtype: torch.dtype, shape: Sequence[int]) -> Tensor:
    return Tensor(str(dtype).removeprefix("torch."), tuple(whole(int(size)) for size in shape))


def _tensor(tensor: torch.Tensor) -> Tensor:
    return _typed(tensor.dtype, tensor.shape)


def _span(tensor: torch.Tensor) -> tuple[int, int]:
    first = int(tensor.storage_offset())
    reach = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return first, first + int(reach) + 1
