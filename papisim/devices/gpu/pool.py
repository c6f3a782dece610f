"""A group of GPUs in tensor parallel and what kernels cost on it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import NamedTuple, Self

import numpy as np

from papisim.arrays import Ints
from papisim.bounded import BoundedDict
from papisim.devices.base import AttentionRun, DevicePool, OutsideFit
from papisim.devices.gpu.attention import AttentionShapes, decode_times, decode_times_over, prefill_times
from papisim.devices.gpu.clock import NOTHING, slowed
from papisim.devices.gpu.elementwise import streaming_s
from papisim.devices.gpu.energy import kernel_energy, streaming_energy
from papisim.devices.gpu.linear import Tiling, Widths, grouped_time, peak_flop_per_s, rows_times, tiling
from papisim.devices.gpu.part import (
    AttentionLibrary,
    ElementwiseLibrary,
    FusedKernels,
    LinearLibrary,
    Packing,
    Part,
    Streaming,
)
from papisim.devices.gpu.table import measured_attention_s, measured_linear_s, measured_unfused_s
from papisim.devices.numbers import as_column, each
from papisim.errors import InputError, did_you_mean
from papisim.ops.caches import AttentionOverCaches
from papisim.ops.cost import Cost, Energy
from papisim.ops.kernel import (
    FEED_FORWARD,
    ROW_PARALLEL,
    Attention,
    Elementwise,
    Group,
    Kernel,
    KernelClass,
    KvAppend,
    Linear,
)
from papisim.ops.shards import head_shares, kv_imbalance

#: elementwise kernels that work on a tensor which is itself split over the ranks; the others run whole on each
_SHARDED = frozenset({KernelClass.ACTIVATION, KernelClass.ROTARY, KernelClass.STATE})

#: token-rows of a weight that are priced at once, and the most that are; prompts are longer and seldom equal
_ROWS, _MOST_ROWS = 32, 4096
#: share of its time by which splitting must make a kernel faster; the minimum over tiles is a soft one
_WORTH_SPLITTING = 0.02
#: bits of a cache of eight bits
_EIGHT = 8
#: tilings, and blocks of token-rows of a weight, that are kept
_WEIGHTS_KEPT, _BLOCKS_KEPT = 1_000, 10_000

#: inputs and outputs of a weight, and the bytes of an element
_Weight = tuple[int, int, Widths]


class _Shard(NamedTuple):
    """What the largest rank computes and moves, how long it takes, and what of that is its launch.

    ``streaming`` tells kernels that find their operands in cache, and ``n_kernels`` how many of them follow one another.
    ``padded_bytes`` are those of caches whose few query rows are padded to a tile.
    """

    flop: float
    moved_bytes: float
    time_s: float
    launch_s: float
    bandwidth_ratio: float
    tensor_ratio: float
    streaming: Streaming | None = None
    n_kernels: int = 1
    input_bytes: float = 2.0
    padded_bytes: float = 0.0


class Pool(DevicePool):
    """``count`` GPUs that split every kernel (tensor parallel); the largest shard sets the time, all the energy."""

    part: Part

    def __init__(self, name: str, part: Part, count: int) -> None:
        super().__init__(name, part, count)
        self._tilings: BoundedDict[_Weight, Tiling] = BoundedDict(_WEIGHTS_KEPT)
        self._linear_s: BoundedDict[tuple[_Weight, int], list[float]] = BoundedDict(_BLOCKS_KEPT)

    @cached_property
    def _other_boards(self) -> dict[str, str | None]:
        """Differences from the boards of the fits and from the limit that they were measured at, in words, by library."""
        return {name: self._difference(library) for name, library in self.part.linear.libraries.items()}

    def _difference(self, library: LinearLibrary) -> str | None:
        other = self.part.other_board(library)
        return self.part.other_limit if other is None else f"another board, {other}"

    @property
    def peak_flop_per_s(self) -> float:
        """Tensor-core peak of all GPUs."""
        return self.part.peak_flop_per_s * self.count

    @property
    def bandwidth_bytes_per_s(self) -> float:
        """Peak DRAM bandwidth of all GPUs."""
        return self.part.memory_bandwidth_bytes_per_s * self.count

    def quantises(self, kernel: Linear) -> bool:
        """Return whether inputs are narrow, and the library in use was measured with inputs that were narrow already."""
        linear, bits = self.part.linear, kernel.input_bits
        return (
            bits is not None
            and bits < 8 * kernel.element_bytes
            and not linear.libraries[linear.used_for(bits / 8)].quantises
        )

    def price(self, kernel: Kernel) -> Cost:
        """Return the cost of a kernel split over the GPUs.

        FC kernels whose input is split over the ranks are split by rows of the weight, the others by columns
        (Shoeybi et al., Megatron-LM, 2019, Section 3); attention by heads of the cache.
        """
        match kernel:
            case Linear():
                return self._cost(self._linear(self._shard_linear(kernel)))
            case Attention():
                shards = [(n, self._attention(own)) for n, own in self._ranks_of(kernel)]
                if self._fullest_is_enough(kernel):
                    return self._timed_by(shards, self._kernel_energy(kernel))
                return self._shared_cost(shards)
            case KvAppend():
                moved, ranks = kernel.read_bytes + kernel.write_bytes, self._append_shares(kernel)
                return self._shared_cost(
                    [(n, self._streamed(KernelClass.KV_APPEND, 0, moved * share)) for n, share in ranks]
                )
            case Elementwise():
                share = 1 / self.count if kernel.kernel_class in _SHARDED else 1.0
                moved = kernel.read_bytes + kernel.write_bytes
                shard = self._streamed(kernel.kernel_class, kernel.flop * share, moved * share)
                charged_s = self.part.charged_s(kernel)
                return self._cost(
                    shard if charged_s is None else shard._replace(time_s=charged_s, launch_s=charged_s)
                )

    def price_caches(self, kernel: Attention, kv_tokens: Ints, longest_kv: Ints) -> AttentionRun:
        """Return the costs of a decoding kernel over caches of many lengths.

        The model takes all at once; measured tables, where the part uses them, are looked up one by one.
        """
        return self._price_caches(AttentionOverCaches(kernel, kv_tokens, longest_kv), growing=False)

    def price_growing(self, kernel: Attention, n: int) -> AttentionRun:
        """Return the costs of ``n`` successive decoding iterations."""
        return self._price_caches(AttentionOverCaches.growing(kernel, n), growing=True)

    def _price_caches(self, caches: AttentionOverCaches, *, growing: bool) -> AttentionRun:
        ranks = self._ranks_of(caches.kernel)
        shards = [(n_ranks, self._attention_over(caches, own, growing=growing)) for n_ranks, own in ranks]
        times_s = np.maximum.reduce([shard.time_s for _, shard in shards])
        enough = self._fullest_is_enough(caches.kernel)
        return AttentionRun.of(times_s, self._kernel_energy(caches) if enough else self._energy(shards))

    def _attention_over(self, caches: AttentionOverCaches, kernel: Attention, *, growing: bool) -> _Shard:
        """Return the shard of ranks that have ``kernel`` of the attention over the caches."""
        library = self.part.attention.used
        if kernel is not caches.kernel:
            caches = replace(caches, kernel=kernel)
        mean_kv = caches.kv_tokens / kernel.n_requests
        shapes = AttentionShapes.of(kernel)._replace(kv=mean_kv, longest_kv=caches.longest_kv)
        times_s = decode_times_over(self.part, library, shapes, growing=growing)
        if self.part.mode == "table":
            measured = [self._table_attention_s(kernel, kv) for kv in mean_kv.tolist()]
            times_s = np.asarray(
                [model if found is None else found for model, found in zip(times_s, measured, strict=True)]
            )
        return self._attention_shard(each(caches.flop), each(caches.moved_bytes), each(times_s))

    def price_unfused(self, kernel: Elementwise, n_kernels: int, rows: int) -> Cost:
        """Return the cost of the single operations of a kernel as eager torch launches them.

        Args:
            kernel: with the bytes that all operations together read and write.
            n_kernels: number of operations.
            rows: token-rows.
        """
        kernel_class, flop = kernel.kernel_class, kernel.flop
        moved_bytes = kernel.read_bytes + kernel.write_bytes
        library = self.part.elementwise
        share = 1 / self.count if kernel_class in _SHARDED | {KernelClass.KV_APPEND} else 1.0
        streaming = library.eager.get(kernel_class, library.fused)
        time_s = self._table_unfused_s(kernel_class, n_kernels, rows, moved_bytes * share)
        if time_s is None:
            time_s = streaming_s(self.part, library, streaming, moved_bytes * share, n_kernels)
        launch_s = n_kernels * streaming.launch_s
        ratios = library.bandwidth_ratio, 1.0
        return self._cost(
            _Shard(flop * share, moved_bytes * share, time_s, launch_s, *ratios, streaming, n_kernels=n_kernels)
        )

    def _table_unfused_s(
        self, kernel_class: KernelClass, n_kernels: int, rows: int, moved_bytes: float
    ) -> float | None:
        if self.part.mode != "table" or self.part.tables is None:
            return None
        return measured_unfused_s(self.part.tables, kernel_class, n_kernels, rows, moved_bytes)

    def outside(self, kernel: Kernel) -> str | None:
        """Return the limits of the fit that a kernel passes, in words; its price is then physics alone."""
        other = self._other_boards[self._linear_name(kernel)]
        if other is not None and not self._is_roofline(kernel):
            return other
        match kernel:
            case Linear() if kernel.groups:
                return "grouped products"
            case Linear() | Attention() if not self._is_measured(kernel):
                return "packed weights, inputs or caches"
            case Linear() if self._linear_library(kernel).measured_as:
                return self._linear_library(kernel).outside(self._shard_linear(kernel))
            case Attention():
                library = self.part.attention.used
                return None if library.covers(kernel) else library.outside(kernel)
        return None

    def outside_growing(self, kernel: Attention, n: int) -> tuple[OutsideFit, ...]:
        """Return the stretches outside the fit of ``n`` successive decoding iterations."""
        if self._other_boards[self.part.linear.use] is None and self._is_measured(kernel):
            return () if self.part.attention.used.covers(kernel, n) else super().outside_growing(kernel, n)
        reason = self.outside(kernel)
        return () if reason is None else (OutsideFit(0, n, reason),)

    def _linear_name(self, kernel: Kernel) -> str:
        """Return the name of the library of a matrix product; of others, that of the library in use, fitted to the same board."""
        linear = self.part.linear
        return linear.used_for(Widths.of(kernel).inputs) if isinstance(kernel, Linear) else linear.use

    def _linear_library(self, kernel: Linear) -> LinearLibrary:
        return self.part.linear.libraries[self._linear_name(kernel)]

    def _is_measured(self, kernel: Linear | Attention) -> bool:
        """Return whether the library's fit is to weights, inputs and caches of these widths."""
        if isinstance(kernel, Linear):
            return not _is_packed(kernel) or Widths.of(kernel).measured_by(self._linear_library(kernel))
        if kernel.kv is None:
            return True
        return self.part.attention.used.on_chip_8bit_bytes_per_s is not None and kernel.kv.bits == _EIGHT

    def _is_roofline(self, kernel: Kernel) -> bool:
        """Tell whether a kernel's library is fitted to no measurement of any board."""
        return isinstance(kernel, Linear) and not self._linear_library(kernel).measured_as

    def explain(self, kernel: Kernel) -> dict[str, object]:
        """Return the library and the energy model of a kernel's price, and whether the library's fit covers the kernel."""
        part, reason = self.part, self.outside(kernel)
        return {
            "library": _library_of(part, kernel).description,
            "source": self._source(kernel),
            "outside_fit": "no" if reason is None else f"outside the fit: {reason}",
            "energy_model": part.energy_model,
        }

    def _source(self, kernel: Kernel) -> str:
        if self.measured(kernel):
            return "measured table"
        return "corrected model" if self.corrected(kernel) else "model"

    def metered(self, cost: Cost) -> Energy:
        """Return a kernel's energy; with a fitted energy model, which is the board's, idle power is counted, too.

        A meter sees many equal kernels, whose clock the power limit has set.
        """
        if self.part.energy_model != "fitted":
            return cost.energy
        added_s, change = self.slowed(cost.time_s, cost.energy)
        return cost.energy + change + Energy(static_j=self.static_w * (cost.time_s + added_s))

    @property
    def is_power_limited(self) -> bool:
        """Whether the part's clock falls at its power limit."""
        return self.part.is_power_limited

    def slowed(self, time_s: float, energy: Energy, *, idle_s: float = 0.0) -> tuple[float, Energy]:
        """Return by how many seconds the power limit lengthens work, and how it changes its energy (:mod:`papisim.devices.gpu.clock`)."""
        if not self.part.is_power_limited:
            return NOTHING
        added_s, change = slowed(self.part, time_s, energy * (1 / self.count), idle_s=idle_s)
        return added_s, change * self.count

    def with_library(self, name: str) -> Self:
        """Return GPUs that use another kernel library, by its name in the part or in measured tables.

        Raises:
            InputError: the part has no such library.
        """
        part = self.part
        linear, attention = _called(part.linear.libraries, name), _called(part.attention.libraries, name)
        if linear is None and attention is None:
            known = [*part.linear.libraries, *part.attention.libraries]
            raise InputError(f"found '{name}'; {did_you_mean(name, known)}", field="library")
        eight_bit = linear is not None and part.linear.libraries[linear].input_bytes == 1
        used = {
            "linear": part.linear.model_copy(
                update={} if linear is None else {"use_8bit" if eight_bit else "use": linear}
            ),
            "attention": part.attention.model_copy(update={"use": attention or part.attention.use}),
        }
        return type(self)(self.name, part.model_copy(update=used), self.count)

    def launches(self, kernel: Kernel) -> int:
        """Return the kernels that run for one kernel of a model: one more adds up partial results where splitting is faster."""
        if not isinstance(kernel, Linear | Attention):
            return 1
        split, whole = self._splitting
        return 1 + (whole.price(kernel).time_s > split.price(kernel).time_s * (1 + _WORTH_SPLITTING))

    @cached_property
    def _splitting(self) -> tuple[Self, Self]:
        """The GPUs by physics alone, and the same with libraries that never split inputs or caches."""
        part = self.part.model_copy(update={"mode": "model"})
        linear, attention = (
            kernels.model_copy(
                update={
                    "libraries": {
                        name: library.model_copy(update={"splits": never})
                        for name, library in kernels.libraries.items()
                    }
                }
            )
            for kernels, never in ((part.linear, [1]), (part.attention, Packing.NEVER))
        )
        whole = part.model_copy(update={"linear": linear, "attention": attention})
        return type(self)(self.name, part, self.count), type(self)(self.name, whole, self.count)

    def measured(self, kernel: Kernel) -> bool:
        """Return whether a kernel's time is taken from a measured table."""
        match kernel:
            case Linear():
                return self._table_linear_s(self._shard_linear(kernel)) is not None
            case Attention():
                return self._table_attention_s(self._ranks_of(kernel)[0][1], _mean_kv(kernel)) is not None
        return False

    def corrected(self, kernel: Kernel) -> bool:
        """Return whether a kernel's modelled time has the library's measured correction."""
        if self.part.mode == "model" or not isinstance(kernel, Linear) or kernel.groups:
            return False
        library = self._linear_library(kernel)
        return library.correction is not None and self._is_measured(kernel) and self.part.other_board(library) is None

    def _shard_linear(self, kernel: Linear) -> Linear:
        if self.count == 1:
            return kernel
        if kernel.groups and kernel.role not in FEED_FORWARD:
            return _some_of(kernel, self.count)
        if kernel.role in ROW_PARALLEL:
            return replace(kernel, k=math.ceil(kernel.k / self.count))
        if (
            kernel.heads is not None
        ):  # the fullest rank, with copies of KV heads where there are fewer of them than ranks
            (n_heads, n_kv_heads), fullest = kernel.heads, head_shares(*kernel.heads, self.count)[0]
            width = kernel.n // (n_heads + 2 * n_kv_heads)
            return replace(kernel, n=(fullest.n_heads + 2 * fullest.n_kv_heads) * width)
        # ranks pad their columns so that rows of the weight start aligned
        step = max(1, self._linear_library(kernel).aligned_bytes // kernel.element_bytes)
        return replace(kernel, n=math.ceil(kernel.n / self.count / step) * step)

    def computed_flop(self, kernel: Linear) -> float:
        """Return the operations of all ranks, whose shards are equal: the last ones are padded."""
        return self.count * self._shard_linear(kernel).flop

    def kv_imbalance(self, n_heads: int, n_kv_heads: int, n_layers: int, n_requests: int | None = None) -> float:
        """Return the KV heads of the fullest GPU over those of a mean one: every cache lies by heads on the ranks."""
        del n_layers, n_requests
        return kv_imbalance(n_heads, n_kv_heads, self.count)

    def _ranks_of(self, kernel: Attention) -> list[tuple[int, Attention]]:
        """Return the attention of each rank and the number of ranks with it, the fullest first; it alone if its time is enough."""
        if self.count == 1:
            return [(1, kernel)]
        shares = head_shares(kernel.n_heads, kernel.n_kv_heads, self.count)
        if self._fullest_is_enough(kernel):
            shares = shares[:1]
        return [(n_ranks, replace(kernel, n_heads=n, n_kv_heads=n_kv)) for n_ranks, n, n_kv in shares]

    def _fullest_is_enough(self, kernel: Attention) -> bool:
        """Tell whether a kernel's cost follows from the fullest rank and the kernel itself, as where no head is copied.

        Modelled time then grows with the heads of a rank, and energy by access is that of the kernel as a whole.
        """
        part = self.part
        return self.count <= kernel.n_kv_heads and part.energy_model == "per_access" and part.mode != "table"

    def _append_shares(self, kernel: KvAppend) -> list[tuple[int, float]]:
        """Return the share of the new K and V that each rank writes and the number of ranks with it, copies included."""
        if kernel.heads is None or self.count == 1:
            return [(self.count, 1 / self.count)]
        n_heads, n_kv_heads = kernel.heads
        return [
            (share.n_ranks, share.n_kv_heads / n_kv_heads) for share in head_shares(n_heads, n_kv_heads, self.count)
        ]

    def _linear(self, kernel: Linear) -> _Shard:
        library = self._linear_library(kernel)
        time_s = self._table_linear_s(kernel)
        if time_s is None:
            time_s = self._model_linear_s(kernel)
        moved = kernel.read_bytes + kernel.write_bytes
        # a rate other than the part's peak counts as a share of it
        tensor_ratio = library.tensor_ratio * (
            peak_flop_per_s(self.part, Widths.of(kernel)) / self.part.peak_flop_per_s
        )
        return _Shard(
            kernel.flop, moved, time_s, library.launch_s, library.bandwidth_ratio, tensor_ratio,
            input_bytes=Widths.of(kernel).inputs,
        )  # fmt: skip

    def _model_linear_s(self, kernel: Linear) -> float:
        """Return the modelled time; neighbouring numbers of token-rows, which a batch needs next, are priced with it."""
        if kernel.groups:
            weight = (kernel.k, kernel.n, Widths.of(kernel))
            return grouped_time(self.part, self._linear_library(kernel), self._tiling(weight), kernel.groups)
        weight, (block, row) = (kernel.k, kernel.n, Widths.of(kernel)), divmod(kernel.m - 1, _ROWS)
        if kernel.m > _MOST_ROWS:
            return float(rows_times(self.part, self._linear_library(kernel), self._tiling(weight), kernel.m))
        times_s = self._linear_s.get((weight, block))
        if times_s is None:
            rows = as_column(np.arange(block * _ROWS + 1, (block + 1) * _ROWS + 1))
            library = self._linear_library(kernel)
            times_s = np.asarray(rows_times(self.part, library, self._tiling(weight), rows)).tolist()
            self._linear_s[weight, block] = times_s
        return times_s[row]

    def _tiling(self, weight: _Weight) -> Tiling:
        found = self._tilings.get(weight)
        if found is None:
            found = self._tilings[weight] = tiling(
                self.part, self.part.linear.libraries[self.part.linear.used_for(weight[2].inputs)], *weight
            )
        return found

    def _table_linear_s(self, kernel: Linear) -> float | None:
        if self.part.mode != "table" or self.part.tables is None or _is_packed(kernel) or kernel.groups:
            return None
        return measured_linear_s(self.part.tables, kernel.m, kernel.k, kernel.n)

    def _attention(self, kernel: Attention) -> _Shard:
        time_s = self._table_attention_s(kernel, _mean_kv(kernel))
        if time_s is None:
            times = prefill_times if _is_causal(kernel) else decode_times
            time_s = float(times(self.part, self.part.attention.used, AttentionShapes.of(kernel)))
        shard = self._attention_shard(kernel.flop, kernel.moved_bytes, time_s)
        return shard._replace(padded_bytes=0.0) if _is_causal(kernel) else shard

    def _attention_shard(self, flop: float, moved_bytes: float, time_s: float) -> _Shard:
        """Return the shard of a rank from its own work and traffic."""
        library = self.part.attention.used
        ratios = library.bandwidth_ratio, library.prefill.tensor_ratio
        return _Shard(flop, moved_bytes, time_s, library.launch_s, *ratios, padded_bytes=moved_bytes)

    def _table_attention_s(self, kernel: Attention, kv: float) -> float | None:
        tlp, rest = divmod(kernel.query_tokens, kernel.n_requests)
        if self.part.mode != "table" or self.part.tables is None or rest or _is_causal(kernel) or _is_packed(kernel):
            return None
        packed = self.part.attention.used.packing is Packing.ALWAYS and kernel.n_heads > kernel.n_kv_heads and tlp > 1
        heads = (kernel.n_heads, kernel.n_kv_heads, kernel.head_dim)
        return measured_attention_s(
            self.part.tables, heads, packed=packed, tlp=tlp, requests=kernel.n_requests, kv=kv
        )

    def _streamed(self, kernel_class: KernelClass, flop: float, moved_bytes: float) -> _Shard:
        library = self.part.elementwise
        fused = library.fused_for(kernel_class)
        time_s = streaming_s(self.part, library, fused, moved_bytes)
        time_s = max(time_s, fused.launch_s + flop / self.part.peak_flop_per_s)
        return _Shard(flop, moved_bytes, time_s, fused.launch_s, library.bandwidth_ratio, 1.0, fused)

    def _cost(self, shard: _Shard) -> Cost:
        """Return the cost of a kernel of which every rank has the same shard."""
        return self._shared_cost([(self.count, shard)])

    def _shared_cost(self, shards: list[tuple[int, _Shard]]) -> Cost:
        """Return the cost of a kernel from its shards and the numbers of ranks that have them.

        The slowest rank sets the time; energy is the sum over all ranks.
        """
        return self._timed_by(shards, self._energy(shards))

    def _timed_by(self, shards: list[tuple[int, _Shard]], energy: Energy) -> Cost:
        part, slowest = self.part, max((shard for _, shard in shards), key=lambda shard: shard.time_s)
        memory_s = slowest.moved_bytes / (part.memory_bandwidth_bytes_per_s * slowest.bandwidth_ratio)
        compute_s = slowest.flop / (part.peak_flop_per_s * slowest.tensor_ratio)
        bounds = {"compute": compute_s, "memory": memory_s, "fixed": slowest.launch_s}
        return Cost(slowest.time_s, max(bounds, key=bounds.__getitem__), energy)

    def _kernel_energy(self, whole: Attention | AttentionOverCaches) -> Energy:
        """Return the energy by access of attention that all ranks together compute once."""
        return kernel_energy(self.part, each(whole.flop), each(whole.moved_bytes), 0.0)

    def _energy(self, shards: list[tuple[int, _Shard]]) -> Energy:
        first, *others = (self._rank_energy(shard) * n_ranks for n_ranks, shard in shards)
        return sum(others, first)

    def _rank_energy(self, shard: _Shard) -> Energy:
        sizes = shard.flop, shard.moved_bytes, shard.time_s
        if shard.streaming is None:
            return kernel_energy(self.part, *sizes, input_bytes=shard.input_bytes, padded_bytes=shard.padded_bytes)
        return streaming_energy(self.part, shard.streaming, *sizes, n_kernels=shard.n_kernels)


def _library_of(part: Part, kernel: Kernel) -> LinearLibrary | AttentionLibrary | ElementwiseLibrary | FusedKernels:
    match kernel:
        case Linear():
            return part.linear.libraries[part.linear.used_for(Widths.of(kernel).inputs)]
        case Attention():
            return part.attention.used
    small = part.elementwise
    return small if small.use is None else small.libraries[small.use]


def _called(libraries: Mapping[str, LinearLibrary] | Mapping[str, AttentionLibrary], name: str) -> str | None:
    """Return the library that has a name in the part, or else in measured tables."""
    if name in libraries:
        return name
    return next((known for known, library in libraries.items() if name in library.measured_as), None)


def _some_of(kernel: Linear, ranks: int) -> Linear:
    """Return the products of the fullest rank, where equal products, one per head, are dealt out to ranks."""
    groups = tuple(Group(rows, -(-count // ranks)) for rows, count in kernel.groups)
    return replace(kernel, m=sum(group.rows * group.products for group in groups), groups=groups)


def _is_packed(kernel: Linear | Attention) -> bool:
    """Return whether weights, inputs or caches are packed; no table or fit covers such kernels."""
    if isinstance(kernel, Attention):
        return kernel.kv is not None
    return kernel.weights is not None or kernel.input_bits is not None


def _mean_kv(kernel: Attention) -> float:
    return kernel.kv_tokens / kernel.n_requests


def _is_causal(kernel: Attention) -> bool:
    """Return whether masked pairs are skipped, as for prompts; decoding computes the rectangle, and one token is decoded."""
    return kernel.causal and kernel.query_tokens > kernel.n_requests
