"""A pool of GDDR6-AiM devices and the costs of kernels on it.

Kernels take what their instruction stream takes from idle, and the controller's units beside it what they take. Every token-row is a
pass of its own: units hold sums of one vector. FC kernels and keys are spread over all devices; one device does the rest.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple, TextIO

from papisim.devices.aim import lowering
from papisim.devices.aim.commands import Table
from papisim.devices.aim.energy import energy_of
from papisim.devices.aim.host import time_stream
from papisim.devices.aim.instructions import Loop, Row, Stream
from papisim.devices.aim.layout import up
from papisim.devices.aim.lowering import Heads
from papisim.devices.aim.part import Part
from papisim.devices.aim.trace import write_trace
from papisim.devices.base import DevicePool
from papisim.errors import NotModelled
from papisim.ops.cost import Cost, Energy
from papisim.ops.kernel import Attention, Elementwise, Kernel, KernelClass, KvAppend, Linear

#: prices that are kept
_KEPT = 4096
#: bytes of a number, which the units take as it is
_NUMBER_BYTES = 2


class Pass(NamedTuple):
    """A stream on some devices alike, and what the controller's units take beside it."""

    stream: Stream
    devices: int = 1
    pnm_s: float = 0.0
    pnm_j: float = 0.0


class Pool(DevicePool):
    """``count`` devices in tensor parallel."""

    part: Part

    def __init__(self, name: str, part: Part, count: int) -> None:
        super().__init__(name, part, count)
        self.layout = part.layout(count)
        self._table = Table(part.timing, part.commands, part.organisation.banks_per_group)
        self._price = lru_cache(maxsize=_KEPT)(self.price_pass)
        self._of_query = lru_cache(maxsize=_KEPT)(self._attention)

    @property
    def peak_flop_per_s(self) -> float:
        """Arithmetic of the units of all banks: a multiply and an add per number and column gap."""
        return self.bandwidth_bytes_per_s / self.part.organisation.column_bytes * 2 * self.layout.lanes

    @property
    def bandwidth_bytes_per_s(self) -> float:
        """What all banks hand to their units: a column each column gap."""
        own, timing = self.part.organisation, self.part.timing
        return self.count * own.banks * own.column_bytes / (timing.column_gap * timing.tck_s)

    def price(self, kernel: Kernel) -> Cost:
        """Return the time and energy of one kernel.

        Raises:
            NotModelled: weights or caches are packed, or FC inputs are narrower than 16 bits.
        """
        match kernel:
            case Linear():
                return self._price(self._linear(kernel))
            case Attention():
                return self._price_attention(kernel)
            case KvAppend():
                return self._price(
                    Pass(lowering.append_any(self.layout, -(-kernel.new_bytes // (2 * _NUMBER_BYTES))))
                )
            case Elementwise():
                return self._price(self._elementwise(kernel))

    def explain(self, kernel: Kernel) -> dict[str, object]:
        """Return the cycle time and the DRAM table behind a kernel's price."""
        del kernel
        return {"tck_s": self.part.timing.tck_s, "timing_table": self.part.timing.name}

    def write_commands(self, kernel: Kernel, file: TextIO, form: str = "papisim") -> tuple[int, int]:
        """Write the instructions of an FC kernel, or of one query token's attention, for the AiM simulator.

        Raises:
            NotModelled: another format, or a kernel of another kind.
        """
        if form != "aim":
            raise NotModelled("commands one by one; GDDR6-AiM is given instructions (--commands-format aim)")
        match kernel:
            case Linear():
                stream = self._linear(kernel).stream
            case Attention():
                stream = self._attention_pass(*self._query(kernel)).stream
            case _:
                raise NotModelled(f"instructions of {kernel.kernel_class.value} kernels")
        cycles = time_stream(stream, self._table, self.layout).cycles
        return write_trace(stream, self.layout, file), cycles

    def price_pass(self, one: Pass) -> Cost:
        """Return the time and energy of a stream and of what the controller's units do beside it."""
        own, part = self.part.organisation, self.part
        timed = time_stream(one.stream, self._table, self.layout)
        energy = energy_of(timed.counts, part.energy, own.banks_per_channel, own.banks_per_group) * one.devices
        time_s = timed.cycles * part.cycle_s + one.pnm_s
        bound = "logic" if one.pnm_s > time_s / 2 else "instructions"
        return Cost(time_s, bound, energy + Energy(pim_compute_j=one.pnm_j))

    def _linear(self, kernel: Linear) -> Pass:
        if kernel.weights is not None or kernel.input_bits is not None or kernel.element_bytes != _NUMBER_BYTES:
            raise NotModelled("FC kernels of other formats than 16 bits on GDDR6-AiM")
        one = lowering.gemv(self.layout, "weights", kernel.k, kernel.n)
        rows = sum(group.rows * group.products for group in kernel.products)
        return Pass((Loop(rows, one),), self.count)

    def _price_attention(self, kernel: Attention) -> Cost:
        """Price a pass per query token, over the mean number of keys that one attends to."""
        return self._of_query(*self._query(kernel)) * kernel.query_tokens

    def _query(self, kernel: Attention) -> tuple[Heads, int]:
        """Return the heads and the keys of a query token, in whole columns."""
        if kernel.kv is not None or kernel.latent or kernel.value_width != kernel.head_dim:
            raise NotModelled("caches that are packed, latent or of two widths on GDDR6-AiM")
        columns = up(up(kernel.pairs, kernel.query_tokens), self.layout.lanes)
        return Heads(kernel.n_heads, kernel.n_kv_heads, kernel.head_dim), columns * self.layout.lanes

    def _attention(self, heads: Heads, tokens: int) -> Cost:
        return self.price_pass(self._attention_pass(heads, tokens))

    def _attention_pass(self, heads: Heads, tokens: int) -> Pass:
        scaled, pnm = lowering.scale(self.layout, heads, tokens), self.part.pnm
        scores, sums = lowering.score(self.layout, heads, tokens), lowering.context(self.layout, heads, tokens)
        units = pnm.softmax_s(heads.query, tokens), pnm.softmax_j(heads.query, tokens)
        return Pass((*scores, *scaled, *scaled, *sums), 1, *units)

    def _elementwise(self, kernel: Elementwise) -> Pass:
        layout, pnm, numbers = self.layout, self.part.pnm, -(-kernel.write_bytes // _NUMBER_BYTES)
        match kernel.kernel_class:
            case KernelClass.NORMALISATION:
                stream = lowering.norm(layout, numbers, Row("inputs"), Row("copies"), (0, 1))
                return Pass(stream, 1, pnm.norm_s(numbers), pnm.norm_j(numbers))
            case KernelClass.ROTARY:
                stream = lowering.rotate(layout, {Row("vectors"): numbers})
                return Pass(stream, 1, pnm.rotary_s(numbers), pnm.rotary_j(numbers))
            case KernelClass.ACTIVATION:
                return Pass(lowering.gate(layout, numbers))
        read = -(-kernel.read_bytes // _NUMBER_BYTES)
        return Pass(lowering.through(layout, read, numbers), 1, pnm.additions_s(numbers), pnm.additions_j(numbers))
