"""The physical mapping: kernels as programs of phases, laid out for the stacks alone (PAPI, Section 6.4)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from papisim.arrays import Ints
from papisim.bounded import BoundedDict
from papisim.devices.base import AttentionRun
from papisim.devices.numbers import each, larger
from papisim.devices.pim.commands import Command, stream
from papisim.devices.pim.energy import Activity
from papisim.devices.pim.fast_path import time_program, time_programs
from papisim.devices.pim.host import beside_host
from papisim.devices.pim.mapping.attention import (
    AttentionPlacement,
    held_tokens,
    lay_out,
    place_attention,
    softmax_flop,
)
from papisim.devices.pim.mapping.base import Priced, Stacks
from papisim.devices.pim.mapping.linear import place_linear
from papisim.devices.pim.mapping.phases import ChannelPhase, Placed, Program
from papisim.devices.pim.scheduler import PHYSICAL, Rules
from papisim.devices.pim.timing import refreshes, sustained, sweep_cycles
from papisim.ops.caches import AttentionOverCaches
from papisim.ops.kernel import Attention, Linear

#: sizes of caches that are priced at once, and blocks of sizes that are kept (of about 20 kB each)
_TOKENS, _BLOCKS_KEPT = 256, 2_000


class Physical:
    """FC kernels and attention on the stacks of a pool."""

    def __init__(self, stacks: Stacks) -> None:
        self._geometry, self._timing = stacks.geometry, stacks.timing
        self._from_idle, self._energy, self._host = stacks.from_idle, stacks.energy, stacks.host
        self._blocks: BoundedDict[tuple[AttentionPlacement, int], AttentionRun] = BoundedDict(_BLOCKS_KEPT)

    def place(self, kernel: Linear | Attention) -> Placed:
        """Return the program of the busiest channel, and the activity of all channels."""
        if isinstance(kernel, Linear):
            return place_linear(self._geometry, kernel)
        return place_attention(self._geometry, kernel)

    def beside_host(self, program: Program) -> Program:
        """Return a program with the reads of the host in it, if there are any."""
        if self._host is None:
            return program
        return beside_host(program, self._timing, self._geometry, self._host)

    def price(self, kernel: Linear | Attention) -> Priced:
        """Return the cycles and the activity of a kernel."""
        placed = self.place(kernel)
        timed = time_program(self._timing, self.beside_host(placed.program))
        literal = timed.cycles + timed.refreshes * self._timing.rfc
        cycles = literal if self._from_idle else int(sustained(self._timing, timed.cycles))
        return Priced(cycles, literal, timed.refreshes, self._bound(timed.slowest), placed.activity)

    def commands(self, kernel: Linear | Attention) -> tuple[Iterator[Command], Rules]:
        """Return the command stream of the busiest channel, and the rules that its controller follows."""
        return stream(self.beside_host(self.place(kernel).program), self._timing), PHYSICAL

    def price_caches(self, caches: AttentionOverCaches) -> AttentionRun:
        """Return the costs of decoding attention over caches of many lengths.

        Costs are looked up: the time of a channel depends on nothing but the tokens of each cache that it visits.
        """
        kernel = caches.kernel
        placement, rounds, channels = lay_out(self._geometry, kernel)
        mean, busiest = held_tokens(caches.kv_tokens, caches.longest_kv, kernel.n_requests, rounds)
        logic = self._energy(Activity(logic_flop=each(softmax_flop(kernel, caches.pairs))))
        run = AttentionRun.of(self._of_tokens(placement, np.asarray(busiest)).time_s, logic)
        return AttentionRun(
            run.time_s, run.energy_j + channels * self._of_tokens(placement, np.asarray(mean)).energy_j
        )

    def _of_tokens(self, placement: AttentionPlacement, tokens: Ints) -> AttentionRun:
        """Return the time of a channel by the tokens of each cache that it visits, and its energy without the logic die."""
        first, last = int(tokens.min()) // _TOKENS, int(tokens.max()) // _TOKENS
        blocks = [self._block(placement, block) for block in range(first, last + 1)]
        where = tokens - first * _TOKENS
        if len(blocks) == 1:
            return AttentionRun(blocks[0].time_s[where], blocks[0].energy_j[:, where])
        times, energies = [block.time_s for block in blocks], [block.energy_j for block in blocks]
        return AttentionRun(np.concatenate(times)[where], np.concatenate(energies, axis=1)[:, where])

    def _block(self, placement: AttentionPlacement, block: int) -> AttentionRun:
        found = self._blocks.get((placement, block))
        if found is None:
            found = self._blocks[placement, block] = self._price_block(placement, block)
        return found

    def _price_block(self, placement: AttentionPlacement, block: int) -> AttentionRun:
        """Price the visits of a channel to caches of every size in a block of sizes."""
        timing = self._timing
        tokens = np.maximum(1, np.arange(block * _TOKENS, (block + 1) * _TOKENS))
        program = placement.program(self._geometry, tokens)
        cycles, last_activate = time_programs(timing, self.beside_host(program))
        if self._from_idle:
            cycles = cycles + refreshes(timing, last_activate) * timing.rfc
        else:
            cycles = sustained(timing, cycles)
        activity = placement.activity(self._geometry, program, 1.0)
        return AttentionRun.of(np.asarray(cycles * timing.tck_s), self._energy(activity))

    def _bound(self, phase: ChannelPhase | None) -> str:
        """Name the limit of a phase."""
        if phase is None:
            return "none"
        sweep, moves = phase
        path, swept = moves.cycles(self._timing.burst), sweep_cycles(self._timing, sweep)[0]
        if sweep.host or moves.reads * self._timing.burst > larger(swept, path / 2):
            return "host"
        if path > swept:
            return "softmax" if moves.softmax > path / 2 else "data_path"
        if sweep.columns * sweep.gap < swept / 2:
            return "row_activation"
        return "fpu" if sweep.gap > self._geometry.paced_gap else "column_gap"
