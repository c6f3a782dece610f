"""Reads of the host beside the commands of PIM units: who waits for whom, command by command.

The host streams from the stacks while kernels run: a GPU reads weights that stay with it, a CPU pages of its own. Its reads
take a share of the data paths' time. They are phases of the same programs, so that the scheduler issues them literally and the fast
path counts them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from papisim.config.base import Spec
from papisim.devices.numbers import Whole, larger, whole
from papisim.devices.pim.mapping.phases import NO_MOVES, ChannelPhase, Geometry, Program, Repeat, phases
from papisim.devices.pim.timing import Sweep, Timing, sweep_cycles


class Host(Spec):
    """Reads of the host while units work.

    Attributes:
        mode: ``blocked``: the host waits until a kernel ends; ``interleaved``: it gets its turn between phases of a kernel, when the
            banks' rows are closed; ``dual_row_buffer``: banks hold a row for the host beside that of the units, and its reads go over
            the data paths beside MACs, among the kernel's own moves.
        share: share of the data paths' time that the host reads in.
    """

    mode: Literal["blocked", "interleaved", "dual_row_buffer"]
    share: Annotated[float, Field(gt=0, lt=1)]

    @property
    def per_cycle_of_units(self) -> float:
        """Cycles of reads for each cycle of units, where they take turns."""
        return self.share / (1 - self.share)


def beside_host(program: Program, timing: Timing, geometry: Geometry, host: Host) -> Program:
    """Return a program with the reads of the host in it."""
    if host.mode == "dual_row_buffer":
        return list(_with_reads(program, timing, host.share))
    if host.mode == "interleaved":
        return list(_with_turns(program, timing, geometry, host))
    return [*program, _turn(sum_cycles(program, timing), timing, geometry, host)]


def sum_cycles(program: Program, timing: Timing) -> Whole:
    """Return the cycles of all phases of a program, refreshes aside."""
    cycles: Whole = 0
    for item in program:
        cycles = cycles + (
            item.times * sum_cycles(item.items, timing) if isinstance(item, Repeat) else _cycles(item, timing)
        )
    return cycles


def longest_wait(program: Program, timing: Timing, host: Host) -> Whole:
    """Return the cycles of the longest stretch of a program, its refreshes aside, in which the host is not served."""
    if host.mode == "dual_row_buffer":
        return 0
    if host.mode == "blocked":
        return sum_cycles(program, timing)
    longest: Whole = 0
    for phase, _ in phases(program):
        longest = larger(longest, _cycles(phase, timing))
    return longest


def _cycles(phase: ChannelPhase, timing: Timing) -> Whole:
    return larger(sweep_cycles(timing, phase.sweep)[0], phase.moves.cycles(timing.burst))


def reads_of(program: Program) -> Whole:
    """Return the reads of the host in a program, of one pseudo-channel of a channel."""
    reads: Whole = 0
    for (sweep, moves), times in phases(program):
        reads = reads + ((sweep.columns if sweep.host else 0) + moves.reads) * times
    return reads


def _turn(cycles: Whole, timing: Timing, geometry: Geometry, host: Host) -> ChannelPhase:
    """Return the turn of the host after ``cycles`` of units: reads from rows that are open in all banks of a pseudo-channel."""
    reads = whole(cycles * host.per_cycle_of_units / timing.burst)
    per_row = geometry.columns_per_row * geometry.banks * (geometry.ways // geometry.pseudo_channels)
    return ChannelPhase(Sweep(reads, per_row, timing.burst, geometry.counts._replace(macs=1), host=True), NO_MOVES)


def _with_turns(program: Program, timing: Timing, geometry: Geometry, host: Host) -> Iterator[ChannelPhase | Repeat]:
    for item in program:
        if isinstance(item, Repeat):
            yield Repeat(list(_with_turns(item.items, timing, geometry, host)), item.times)
        else:
            yield from (item, _turn(_cycles(item, timing), timing, geometry, host))


def _with_reads(program: Program, timing: Timing, share: float) -> Iterator[ChannelPhase | Repeat]:
    """Yield phases with reads among their moves: the host's share of what the longer of banks and data path takes."""
    for item in program:
        if isinstance(item, Repeat):
            yield Repeat(list(_with_reads(item.items, timing, share)), item.times)
            continue
        swept, moved = sweep_cycles(timing, item.sweep)[0], item.moves.cycles(timing.burst)
        reads = whole(larger(swept * share, moved * (share / (1 - share))) / timing.burst)
        yield item._replace(moves=item.moves._replace(reads=reads))
