"""One GPU as its file in ``hwconfigs/devices`` describes it: the board, its kernel libraries, its energy.

Silicon and kernel libraries are modelled separately. Peaks, capacity and multiprocessors belong to the
board; everything fitted belongs to a named library on it, such as cuBLAS through torch, and the board says which it uses.
Efficiencies are shares of the board's peaks, so that a part with other memory or other tensor cores needs no new fit.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from papisim.config.base import Count, Fraction, Name, NonNegative, Positive, Spec
from papisim.devices.base import DevicePart
from papisim.devices.gpu.correction import Board, Correction
from papisim.errors import did_you_mean
from papisim.ops.kernel import Attention, KernelClass, Linear

Share = Annotated[float, Field(ge=0, le=1)]
Exponent = Annotated[float, Field(ge=1)]
Span = Annotated[list[float], Field(min_length=2, max_length=2)]
Tile = Annotated[list[Count], Field(min_length=2, max_length=2)]


class LinearLibrary(Spec):
    """Figures of one library for matrix products on this GPU (formulas: :mod:`papisim.devices.gpu.linear`).

    Attributes:
        description: library, version, precision, and where it was measured.
        measured_as: names of the library in measured tables.
        launch_s: launch and tail of a kernel.
        bandwidth_ratio: share of the DRAM bandwidth that a long stream of weights reaches.
        reread_ratio: share of the weights that each additional row of tiles reads from DRAM again.
        tensor_ratio: share of the tensor-core peak that a multiprocessor reaches inside a tile.
        on_chip_bytes_per_s: rate at which all multiprocessors together load operands of their tiles.
        tile_fixed_s: start and end of one tile on its multiprocessor.
        wave_ratio: share of the idle part of a last, partly filled wave of tiles that is lost; 1 rounds waves up, 0 not at all.
        overlap_exponent: exponent p of the p-norm of memory and compute time; infinite is a roofline.
        split_fixed_s: further launch when the inputs are split over several tiles.
        split_bytes_per_s: rate of summing the partial outputs of such a split.
        selection_exponent: exponent of the soft minimum over tiles; infinite always takes the fastest tile.
        tiles: rows and columns of the output tiles that the library has.
        splits: numbers of parts into which the library splits the inputs.
        tile_depth: inputs that a tile takes at a time.
        aligned_bytes: rows of the weight that are no multiple of this run on kernels without wide loads.
        unaligned_tensor_ratio: share of the peak that kernels without wide loads reach.
        covers_m: range of token-rows in the fit.
        covers_k: range of inputs in the fit.
        covers_n: range of outputs in the fit.
        correction: measured over modelled time, between measured shapes; None if the model is no better with it.
        row_overlap_s: how much less a product takes in a row of equal products, where the next one begins before this one
            has ended, than in its place between other kernels; what is priced is in its place.
        input_bytes: bytes of an input and of a weight in the fit.
        quantises: whether launches as measured include narrowing their inputs from 16 bits.
    """

    description: Name
    measured_as: list[str]
    launch_s: NonNegative
    bandwidth_ratio: Fraction
    reread_ratio: Share
    tensor_ratio: Fraction
    on_chip_bytes_per_s: Positive
    tile_fixed_s: NonNegative
    wave_ratio: Share
    overlap_exponent: Exponent
    split_fixed_s: NonNegative
    split_bytes_per_s: Positive
    selection_exponent: Exponent
    tiles: list[Tile]
    splits: list[Count]
    tile_depth: Count
    aligned_bytes: Count = 1
    unaligned_tensor_ratio: Fraction = 1.0
    covers_m: Span
    covers_k: Span
    covers_n: Span
    correction: Correction | None = None
    row_overlap_s: NonNegative = 0.0
    input_bytes: Positive = 2.0
    quantises: bool = False

    def outside(self, kernel: Linear) -> str | None:
        """Return the limits of the fit that a kernel's sizes pass, in words; None if all are inside."""
        return _outside({
            "m": (kernel.m, self.covers_m), "k": (kernel.k, self.covers_k), "n": (kernel.n, self.covers_n),
        })  # fmt: skip


class Packing(StrEnum):
    """When the query heads of a group share one tile, and so one read of their keys and values."""

    ALWAYS = "always"
    SINGLE_TOKEN = "single_token"
    NEVER = "never"


class PrefillKernels(Spec):
    """Figures of one library for causal attention over prompts.

    Attributes:
        launch_s: launch and tail.
        tensor_ratio: share of the tensor-core peak inside a tile.
        bandwidth_ratio: share of the DRAM bandwidth.
        tile_fixed_s: start and end of a tile.
        wave_ratio: share of the idle part of a last, partly filled wave of tiles that is lost.
        overlap_exponent: exponent p of the p-norm of memory and compute time.
        query_tile: query rows of a tile.
        key_tile: keys per step of a tile.
        splits: when several tiles share the keys of some query rows, as it pays where chunks of long prompts have too few
            rows for all multiprocessors; combined as in decoding.
        row_overlap_s: how much less a launch takes in a row of equal launches than in its place between other kernels.
    """

    launch_s: NonNegative
    tensor_ratio: Fraction
    bandwidth_ratio: Fraction
    tile_fixed_s: NonNegative
    wave_ratio: Share
    overlap_exponent: Exponent
    query_tile: Count
    key_tile: Count
    splits: Packing = Packing.NEVER
    row_overlap_s: NonNegative = 0.0


class AttentionLibrary(Spec):
    """Figures of one library for decode attention on this GPU (formulas: :mod:`papisim.devices.gpu.attention`).

    Attributes:
        description: library, version, precision, and where it was measured.
        measured_as: names of the library in measured tables.
        packing: when query heads of a group share a tile. Unpacked heads each read the keys and values of their group.
        splits: when a request's cache is split over several tiles, whose results a second kernel combines.
        splits_ungrouped: whether it splits where every query head has keys and values of its own.
        max_splits: largest split.
        query_tile: query rows of a tile.
        key_tile: keys of a block; a cache is split between blocks.
        launch_s: launch and tail.
        repack_s: copies that bring grouped queries together and their results apart.
        tile_fixed_s: work of a tile that does not depend on the cache.
        lone_bytes_per_s: rate at which one tile alone reads its part of the cache.
        on_chip_bytes_per_s: rate at which all multiprocessors together read, from L2 or DRAM.
        bandwidth_ratio: share of the DRAM bandwidth.
        wave_ratio: share of the idle part of a last, partly filled wave of tiles that is lost.
        overlap_exponent: exponent p of the p-norm of these times.
        split_fixed_s: launch of the combining kernel.
        split_bytes_per_s: rate at which it reads partial results.
        on_chip_8bit_bytes_per_s: rate at which all multiprocessors together read caches of eight bits, which they turn
            around for the tensor cores; None where such caches were not measured.
        row_overlap_s: how much less a launch takes in a row of equal launches than in its place between other kernels.
        prefill: the kernels for whole prompts.
        covers_kv: range of cached tokens in the fit.
        covers_requests: range of requests in the fit.
        covers_head_dim: range of head widths in the fit.
    """

    description: Name
    measured_as: list[str]
    packing: Packing
    splits: Packing
    splits_ungrouped: bool
    max_splits: Count
    query_tile: Count
    key_tile: Count
    launch_s: NonNegative
    repack_s: NonNegative
    tile_fixed_s: NonNegative
    lone_bytes_per_s: Positive
    on_chip_bytes_per_s: Positive
    bandwidth_ratio: Fraction
    wave_ratio: Share
    overlap_exponent: Exponent
    split_fixed_s: NonNegative
    split_bytes_per_s: Positive
    on_chip_8bit_bytes_per_s: Positive | None = None
    row_overlap_s: NonNegative = 0.0
    prefill: PrefillKernels
    covers_kv: Span
    covers_requests: Span
    covers_head_dim: Span

    def covers(self, kernel: Attention, n: int = 1) -> bool:
        """Tell whether the fit covers the sizes of a kernel in each of ``n`` successive iterations."""
        requests, kv = kernel.n_requests, kernel.kv_tokens / kernel.n_requests
        last_kv = kv + (n - 1) * kernel.query_tokens / requests
        return (
            self.covers_kv[0] <= kv
            and last_kv <= self.covers_kv[1]
            and self.covers_requests[0] <= requests <= self.covers_requests[1]
            and self.covers_head_dim[0] <= kernel.head_dim <= self.covers_head_dim[1]
        )

    def outside(self, kernel: Attention) -> str | None:
        """Return the limits of the fit that a kernel's sizes pass, in words; None if all are inside."""
        return _outside({
            "kv": (kernel.kv_tokens / kernel.n_requests, self.covers_kv),
            "requests": (kernel.n_requests, self.covers_requests),
            "head_dim": (kernel.head_dim, self.covers_head_dim),
        })  # fmt: skip


class Streaming(Spec):
    """Figures of streaming kernels of one class (formula: :mod:`papisim.devices.gpu.elementwise`).

    Attributes:
        launch_s: launch and tail of each kernel.
        on_chip_bytes_per_s: rate while the operands fit the cache, where the kernel before left them.
        on_chip_j_per_byte: measured board energy above ``active_w`` per byte read or written there, arithmetic included;
            None if not measured.
    """

    launch_s: NonNegative
    on_chip_bytes_per_s: Positive
    on_chip_j_per_byte: NonNegative | None = None


class FusedStreaming(Streaming):
    """One class of small kernels between the products of a layer, whose weights pass through the cache in between.

    Attributes:
        cache_bytes: operands that the kernels before left in the L2 cache.
        bandwidth_ratio: share of the DRAM bandwidth that operands beyond those reach; they stream while the others are computed.
    """

    cache_bytes: NonNegative
    bandwidth_ratio: Fraction


class FusedKernels(Spec):
    """Small kernels as one engine has them.

    Attributes:
        description: engine, version, and where they were measured.
        measured_as: names of the kernels in measured tables.
        classes: figures by kernel class; other classes are as ``fused``.
    """

    description: Name
    measured_as: list[str]
    classes: dict[KernelClass, FusedStreaming]


class ElementwiseLibrary(Spec):
    """Figures of kernels that stream their operands.

    Attributes:
        description: library, version, and where it was measured.
        bandwidth_ratio: share of the DRAM bandwidth that reads and writes beyond the cache reach.
        cache_bytes: operands that the kernel before left in the L2 cache.
        fused: one fused kernel of any class.
        eager: one kernel per operation, as eager torch has it, by kernel class.
        use: fused kernels in use, by name; None for ``fused`` alone.
        libraries: fused kernels of serving engines, by name.
    """

    description: Name
    bandwidth_ratio: Fraction
    cache_bytes: NonNegative
    fused: Streaming
    eager: dict[KernelClass, Streaming]
    use: Name | None = None
    libraries: dict[Name, FusedKernels] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.use is not None and self.use not in self.libraries:
            raise ValueError(f"found use '{self.use}'; {did_you_mean(self.use, self.libraries)}")
        return self

    def fused_for(self, kernel_class: KernelClass) -> Streaming:
        """Return the figures of a fused kernel of a class."""
        if self.use is None:
            return self.fused
        return self.libraries[self.use].classes.get(kernel_class, self.fused)


class GpuEnergy(Spec):
    """Energy of a GPU by access and operation, from the literature."""

    dram_activation_j_per_byte: NonNegative
    dram_access_j_per_byte: NonNegative
    dram_transfer_j_per_byte: NonNegative
    on_chip_j_per_byte: NonNegative
    compute_j_per_flop: NonNegative


class FittedEnergy(Spec):
    """Energy of a GPU above idle, fitted to the power of its board.

    Attributes:
        active_w: power of clocking and feeding the multiprocessors while any kernel runs.
        dram_j_per_byte: energy per byte of DRAM traffic, the whole path included.
        compute_j_per_flop: energy per operation of the tensor cores, operand supply included.
        compute_8bit_ratio: energy per operation on inputs of eight bits over that.
        padded_j_per_byte: energy of the tensor cores per byte of caches that decoding attention reads: whatever the number of query
            rows, a tile of them multiplies each key and value.
        operand_ratio: energy per operation on the operands at hand over that on the normally distributed ones of the fit.
    """

    active_w: NonNegative
    dram_j_per_byte: NonNegative
    compute_j_per_flop: NonNegative
    compute_8bit_ratio: Positive = 1.0
    padded_j_per_byte: NonNegative = 0.0
    operand_ratio: Positive = 1.0


class Clock(Spec):
    """What a board at its power limit does: the clock falls, and with it the voltage (:mod:`papisim.devices.gpu.clock`).

    Attributes:
        settled_ratio: power at which the board settles over its limit.
        exponent: exponent γ of the energy per operation as a function of the clock.
        dummy_weights_ratio: ``operand_ratio`` of engines that run with dummy weights, whose products are small numbers.
        measured_w: the power limit that all this was measured at.
    """

    measured_w: Positive
    settled_ratio: Fraction
    exponent: NonNegative
    dummy_weights_ratio: Positive = 1.0


class _Libraries(Spec):
    """The libraries of one family of kernels, and which is used."""

    use: Name

    @model_validator(mode="after")
    def _known(self) -> Self:
        libraries = getattr(self, "libraries", {})
        if self.use not in libraries:
            raise ValueError(f"found use '{self.use}'; {did_you_mean(self.use, libraries)}")
        return self


class LinearKernels(_Libraries):
    """Libraries for matrix products.

    Attributes:
        use: the library in use.
        use_8bit: the library in use for inputs of eight bits; None for the same.
        libraries: by name.
        packed_tile_rows: rows of further tiles that kernels for packed weights have; they are written for few token-rows.
    """

    use_8bit: Name | None = None
    libraries: dict[str, LinearLibrary]
    packed_tile_rows: list[Count] = Field(default_factory=list)

    @property
    def used(self) -> LinearLibrary:
        """The library in use."""
        return self.libraries[self.use]

    def used_for(self, input_bytes: float) -> str:
        """Return the name of the library in use for inputs of a width."""
        return self.use_8bit if self.use_8bit is not None and input_bytes == 1 else self.use

    @model_validator(mode="after")
    def _known_8bit(self) -> Self:
        if self.use_8bit is not None and self.use_8bit not in self.libraries:
            raise ValueError(f"found use_8bit '{self.use_8bit}'; {did_you_mean(self.use_8bit, self.libraries)}")
        return self


class AttentionKernels(_Libraries):
    """Libraries for attention."""

    libraries: dict[str, AttentionLibrary]

    @property
    def used(self) -> AttentionLibrary:
        """The library in use."""
        return self.libraries[self.use]


class Part(DevicePart):
    """One GPU with its memory.

    Attributes:
        peak_flop_per_s: dense tensor-core peak at the trace's precision.
        peak_8bit_flop_per_s: the same with inputs of eight bits; None where there is none.
        memory_bandwidth_bytes_per_s: peak DRAM bandwidth.
        multiprocessors: streaming multiprocessors.
        board_w: power limit of the board.
        linear: libraries for FC kernels.
        attention: libraries for attention.
        elementwise: kernels that stream their operands.
        measured_on: hardware on which the libraries were measured; None if no library was. Figures of libraries are shares of a
            board's peaks, so that they carry over to another, but no measurement then shows by how much they are off.
        between_kernels_s: delay of a kernel that follows a kernel of another kind, beyond its time in a row of equal kernels.
        link: the link part that joins several of them.
        tables: folder of measured tables under the data folder; None if there are none.
        mode: ``model`` is physics alone; ``corrected`` multiplies it by the measured correction of a library that has one;
            ``table`` takes a measured time where the tables hold the shape or surround it, and is ``corrected`` elsewhere.
        energy_model: energy model that prices kernels.
        energy: energy by access.
        fitted_energy: energy as measured at the board.
        clock: how the power limit sets the clock; None for a clock that never falls.
    """

    kind: Literal["gpu"]
    peak_flop_per_s: Positive
    peak_8bit_flop_per_s: Positive | None = None
    memory_bandwidth_bytes_per_s: Positive
    multiprocessors: Count
    board_w: Positive
    linear: LinearKernels
    attention: AttentionKernels
    elementwise: ElementwiseLibrary
    measured_on: Board | None = None
    between_kernels_s: NonNegative = 0.0
    link: str | None = None
    tables: str | None = None
    mode: Literal["model", "corrected", "table"] = "corrected"
    energy_model: Literal["per_access", "fitted"]
    energy: GpuEnergy
    fitted_energy: FittedEnergy | None = None
    clock: Clock | None = None

    @property
    def is_power_limited(self) -> bool:
        """Whether the power limit sets the clock: only energies measured at a board tell what the board draws."""
        return self.clock is not None and self.energy_model == "fitted"

    def with_dummy_weights(self) -> Self:
        """Return the part with the energy of arithmetic on dummy weights, unless another operand ratio is given."""
        if self.clock is None or self.fitted_energy is None or self.fitted_energy.operand_ratio != 1:
            return self
        fitted = self.fitted_energy.model_copy(update={"operand_ratio": self.clock.dummy_weights_ratio})
        return self.model_copy(update={"fitted_energy": fitted})

    @property
    def settled_w(self) -> float:
        """Power at which a board with a clock settles that would draw more than its limit."""
        assert self.clock is not None, "of a part with a clock"
        return self.clock.settled_ratio * self.board_w

    @property
    def energy_source(self) -> str:
        """The energy model in use."""
        return self.energy_model

    @property
    def other_limit(self) -> str | None:
        """The power limit, in words, where it sets the clock and is not the one that was measured."""
        if self.clock is None or not self.is_power_limited or self.board_w == self.clock.measured_w:
            return None
        return f"power limit of {self.board_w:g} W, not {self.clock.measured_w:g} W"

    def other_board(self, library: LinearLibrary | None = None) -> str | None:
        """Return the differences from the board on which a library was measured; None if there are none.

        Args:
            library: the library of matrix products; the one in use if not given.
        """
        correction = (library or self.linear.used).correction
        measured = self.measured_on if correction is None else correction.board
        if measured is None:
            return None
        board = Board.model_construct(
            peak_flop_per_s=self.peak_flop_per_s,
            memory_bandwidth_bytes_per_s=self.memory_bandwidth_bytes_per_s,
            multiprocessors=self.multiprocessors,
        )
        return ", ".join(measured.differences(board)) or None

    @model_validator(mode="after")
    def _has_what_it_names(self) -> Self:
        if self.mode == "table" and self.tables is None:
            raise ValueError("found mode 'table' without 'tables', expected the folder that holds them")
        if self.energy_model == "fitted" and self.fitted_energy is None:
            raise ValueError("found energy_model 'fitted' without 'fitted_energy'")
        if self.is_power_limited:
            self._can_settle()
        return self

    def _can_settle(self) -> None:
        assert self.fitted_energy is not None, "seen to before"
        least_w = self.static_w + self.fitted_energy.active_w
        if self.settled_w <= least_w:
            raise ValueError(
                f"found board_w {self.board_w:g} W, at which the board settles at {self.settled_w:.4g} W; expected more than the {least_w:.4g} W that "
                "it draws without moving or computing anything"
            )


def _outside(sizes: dict[str, tuple[float, Span]]) -> str | None:
    beyond = [
        f"{name} below {span[0]:g}" if size < span[0] else f"{name} above {span[1]:g}"
        for name, (size, span) in sizes.items()
        if not span[0] <= size <= span[1]
    ]
    return ", ".join(beyond) or None
