"""The host of a device with GDDR6-AiM channels: it decodes instructions, one per cycle, and waits for what they answer.

An instruction goes to all channels in the same cycle. One that reads registers, and SYNC, holds the host until every channel has
answered. Instructions and accesses never wait in a channel together: either is taken when the other has left. Accesses go to one channel at
a time, so that channels drift apart by a turn; the first and the last of them are timed, and the others lie between.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from papisim.devices.aim.channel import Channel
from papisim.devices.aim.commands import Command, Table
from papisim.devices.aim.instructions import ACCESSES, Instruction, Loop, Op, Stream
from papisim.devices.aim.layout import Layout

_BLOCKING = frozenset({Op.READ_MAC, Op.READ_FUNCTION})


class Timed(NamedTuple):
    """A stream, from idle.

    Attributes:
        cycles: cycles until all channels are through.
        counts: commands in all channels.
    """

    cycles: int
    counts: Counter[Command]


def time_stream(stream: Stream, table: Table, layout: Layout) -> Timed:
    """Return the cycles and commands of a stream on the channels of a device."""
    host = Host(table, layout)
    host.run(stream)
    return Timed(host.finish(), host.counts)


class Host:
    """The host, and the first and the last of its channels."""

    def __init__(self, table: Table, layout: Layout) -> None:
        # one and the same until they are reached in turn
        self._first = self._last = Channel(table, layout.banks, layout.channels * layout.blocks)
        self._burst, self._queue = table.burst, table.queue
        self._cycle, self._accessing = 0, False

    @property
    def counts(self) -> Counter[Command]:
        """Commands so far in all channels."""
        return self._last.counts

    def run(self, stream: Stream, rows: int = 0) -> None:
        """Issue the steps of a stream whose rows are moved by ``rows``."""
        for step in stream:
            if isinstance(step, Loop):
                self._repeat(step, rows)
            else:
                self._decode(step if step.row is None else step._replace(row=step.row.after(rows)))

    def finish(self) -> int:
        """Wait until all channels are through; return the cycle."""
        self._decode(Instruction(Op.SYNC))
        return self._cycle

    def _repeat(self, loop: Loop, rows: int) -> None:
        """Issue a loop; once a repetition leaves everything as it found it, the others take as long."""
        state, index = None, 0
        while index < loop.times:
            start, counts = self._cycle, Counter(self.counts)
            self.run(loop.body, rows + index * loop.stride)
            index += 1
            before, state = state, self._state(rows + index * loop.stride)
            if state == before and index < loop.times:
                self._skip(loop.times - index, self._cycle - start, loop.stride, self.counts - counts)
                return

    @property
    def _channels(self) -> tuple[Channel, ...]:
        return (self._first,) if self._first is self._last else (self._first, self._last)

    def _part(self) -> None:
        """Time the first channel by itself from now on."""
        if self._first is self._last:
            self._first = self._last.copied()

    def _state(self, rows: int) -> tuple[object, ...]:
        return self._accessing, *(channel.state(self._cycle, rows) for channel in self._channels)

    def _skip(self, times: int, cycles: int, stride: int, counts: Counter[Command]) -> None:
        shares = Counter({command: times * count for command, count in counts.items()})
        for channel in self._channels:
            channel.skip(times * cycles, times * stride, shares)
        self._cycle += times * cycles

    def _decode(self, instruction: Instruction) -> None:
        if instruction.op in ACCESSES:
            self._access(instruction)
            return
        if instruction.op is Op.SYNC:
            self._sync()
            return
        if instruction.lanes > 1:
            self._part()
        channels = self._channels
        taken = [max(self._cycle, channel.last + 1) if self._accessing else self._cycle for channel in channels]
        self._cycle, self._accessing = max(taken), False
        taken[-1] += instruction.lanes - 1
        for channel, cycle in zip(channels, taken, strict=True):
            channel.issue(instruction, cycle)
        self._cycle += instruction.lanes
        if instruction.op in _BLOCKING:
            self._cycle = max(channel.last for channel in channels) + self._burst + 1

    def _sync(self) -> None:
        """Wait for every channel."""
        for channel in self._channels:
            waited = max(channel.last + 1, channel.through) if self._accessing else channel.through
            self._cycle = max(self._cycle, waited)
        self._cycle, self._accessing = self._cycle + 2, False

    def _access(self, instruction: Instruction) -> None:
        """Send accesses, one per cycle, round the channels."""
        self._part()
        first, banks = self._first, len(instruction.banks)
        last = self._last if instruction.lanes > 1 else first
        if not self._accessing:
            self._cycle = max(self._cycle, first.last + 1)
        period = instruction.lanes * banks
        turn = self._cycle + period - banks
        late = 0 if self._accessing else max(0, last.last + 1 - turn)
        if last is not first:
            first.access(instruction, self._cycle, period)
        last.access(instruction, turn + late, period)
        self._cycle += late + period * instruction.columns
        if instruction.columns * banks > self._queue:
            self._cycle = max(self._cycle, last.last - self._queue * self._burst)
        self._accessing = True
