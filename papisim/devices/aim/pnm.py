"""Near-memory units of CENT's CXL controller: exponents, vector additions, reductions, and small cores (ASPLOS 2025, Section 4)."""

from __future__ import annotations

from papisim.config.base import Count, NonNegative, Positive, Spec
from papisim.devices.aim.layout import up


class Pnm(Spec):
    """Units that share one buffer, each of ``lanes`` numbers wide, and cores beside them; cycles are of one clock.

    Attributes:
        clock_hz: the clock.
        units: units of each kind.
        lanes: numbers of a unit, and of a word of the buffer.
        buffer_read_cycles: reading a word.
        buffer_write_cycles: writing a word.
        exponent_cycles: an exponent.
        cores: cores.
        norm_cycles: a core's inverse root of a norm.
        softmax_cycles: a core's inverse of a sum.
        rotary_cycles: a core's share of a rotated number.
        core_cycle_j: energy of a cycle of a core.
        instruction_j: energy of fetching an instruction.
    """

    clock_hz: Positive
    units: Count
    lanes: Count
    buffer_read_cycles: Count
    buffer_write_cycles: Count
    exponent_cycles: Count
    cores: Count
    norm_cycles: Count
    softmax_cycles: Count
    rotary_cycles: Count
    core_cycle_j: NonNegative
    instruction_j: NonNegative

    @property
    def _addition_cycles(self) -> int:
        """Cycles of additions in all units, whose operands come from one buffer in turn."""
        return self.units * 2 * self.buffer_read_cycles + 1 + self.buffer_write_cycles

    @property
    def _exponents_cycles(self) -> int:
        """Cycles of exponents in all units."""
        return self.units * self.buffer_read_cycles + self.exponent_cycles + self.buffer_write_cycles

    def additions_s(self, numbers: int) -> float:
        """Return the time of adding numbers to others."""
        return up(numbers, self.lanes * self.units) * self._addition_cycles / self.clock_hz

    def additions_j(self, numbers: int) -> float:
        """Return the energy of adding numbers to others."""
        return up(numbers, self.lanes) * self.instruction_j

    def norm_s(self, width: int) -> float:
        """Return the time of a norm: sums of ``lanes`` products each, from the banks, are added up."""
        additions = width / self.lanes**2 / self.units * self._addition_cycles
        return (additions + self.buffer_read_cycles + self.buffer_write_cycles + 1 + self.norm_cycles) / self.clock_hz

    def softmax_s(self, heads: int, tokens: int) -> float:
        """Return the time of a softmax over ``tokens`` scores of each head."""
        words = tokens * heads / self.lanes / self.units
        inverse = self.lanes * self.buffer_write_cycles + self.softmax_cycles / self.cores + self.buffer_read_cycles
        cycles = words * (self._exponents_cycles + self._addition_cycles) + heads * (
            self.buffer_read_cycles + inverse
        )
        return cycles / self.clock_hz

    def rotary_s(self, numbers: int) -> float:
        """Return the time of arranging numbers for rotary embedding."""
        return numbers * self.rotary_cycles / self.cores / self.clock_hz

    def norm_j(self, width: int) -> float:
        """Return the energy of a norm."""
        return self.norm_cycles * self.core_cycle_j + (width / self.lanes**2 + 2) * self.instruction_j

    def softmax_j(self, heads: int, tokens: int) -> float:
        """Return the energy of a softmax."""
        core = self.lanes * self.buffer_write_cycles + self.softmax_cycles + self.buffer_read_cycles
        instructions = 2 * (tokens * heads / self.lanes + heads)
        return heads * core * self.core_cycle_j + instructions * self.instruction_j

    def rotary_j(self, numbers: int) -> float:
        """Return the energy of arranging numbers for rotary embedding; each takes an instruction."""
        return numbers * (self.rotary_cycles / self.cores * self.core_cycle_j + self.instruction_j)
