"""The oracle: issue a command stream as early as a declared table of constraints allows, one command at a time.

It is slow, literal and short, and exists to check the fast path against and to be looked at
(``papisim price --commands``). Time is counted in whole cycles.

A channel has two queues, each in order: the banks' (ACT, MAC, PRE) and the data path's (moves, softmax). A barrier
holds what follows it until what stands before it is through.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from papisim.devices.pim.commands import BANK_OPS, ROW_OPS, Command, Issued, Op
from papisim.devices.pim.timing import ACTIVATES_PER_WINDOW, Timing


def constraints(timing: Timing) -> dict[tuple[Op, Op], int]:
    """Return the table: (earlier command, later command) → least cycles between them.

    JEDEC names of the rows: tRCD, tRAS, tRC, tRRD, tRTP, tRP, tRFC; the window of tFAW is counted apart. Commands that reach further banks
    keep to what the command bus takes. Back-to-back MACs, and back-to-back moves, are a
    command's own ``busy`` cycles apart: the column gap (with or without the power limit) or the FPU time, whichever is
    longer, and the burst on the data path.
    """
    return {
        (Op.ACTIVATE, Op.MAC): timing.rcd,
        (Op.ACTIVATE, Op.READ): timing.rcd,
        (Op.ACTIVATE, Op.PRECHARGE): timing.ras,
        (Op.ACTIVATE, Op.ACTIVATE): timing.rc,
        (Op.ACTIVATE, Op.ACTIVATE_MORE): timing.spacing,
        (Op.ACTIVATE_MORE, Op.ACTIVATE_MORE): timing.spacing,
        (Op.ACTIVATE_MORE, Op.MAC): timing.rcd,
        (Op.ACTIVATE_MORE, Op.READ): timing.rcd,
        (Op.ACTIVATE_MORE, Op.PRECHARGE): timing.ras,
        (Op.MAC, Op.MAC_MORE): timing.column_cycles,
        (Op.MAC_MORE, Op.MAC_MORE): timing.column_cycles,
        (Op.MAC_MORE, Op.MAC): timing.column_cycles,
        (Op.MAC, Op.PRECHARGE): timing.rtp,
        (Op.MAC_MORE, Op.PRECHARGE): timing.rtp,
        (Op.READ, Op.PRECHARGE): timing.rtp,
        (Op.PRECHARGE, Op.PRECHARGE_MORE): timing.pre_cycles,
        (Op.PRECHARGE_MORE, Op.PRECHARGE_MORE): timing.pre_cycles,
        (Op.PRECHARGE, Op.ACTIVATE): timing.rp,
        (Op.PRECHARGE_MORE, Op.ACTIVATE): timing.rp,
        (Op.REFRESH, Op.ACTIVATE): timing.rfc,
    }


@dataclass(frozen=True, slots=True)
class Rules:
    """How a controller treats barriers, its queue and refresh.

    Attributes:
        barrier_waits: a barrier waits until earlier commands are ``done`` (rows closed, data moved) or ``issued``.
        rows_pass_barriers: rows may be opened and closed ahead of a barrier.
        depth: commands that the controller sees at once; a move is unseen while that number of older MACs wait.
        refresh_in_breaks: serve a refresh in any break of the column flow, closing the row, while moves go on; otherwise
            serve it before an activation and stop the whole channel.
        first_cycle: when the first command can be issued.
    """

    barrier_waits: str = "done"
    rows_pass_barriers: bool = False
    depth: int | None = None
    refresh_in_breaks: bool = False
    first_cycle: int = 0


PHYSICAL = Rules()


class Channel:
    """One channel and its controller.

    Attributes:
        issued: what was issued, in order of time for each queue.
        refreshes: refreshes served.
    """

    def __init__(self, timing: Timing, rules: Rules = PHYSICAL) -> None:
        self._timing, self._rules, self._table = timing, rules, constraints(timing)
        self._last: dict[Op, int] = {}
        self._mac_free = self._path_free = self._path_seen = self._gate = self._through = rules.first_cycle
        self._open_row = False
        self._due, self._stopped = timing.refi, 0
        self._banks: deque[tuple[int, Command]] = deque()
        self._path: deque[tuple[int, Command]] = deque()
        self._left: dict[int, int] = {}
        self._window: deque[int] = deque(maxlen=ACTIVATES_PER_WINDOW)
        self.issued: list[Issued] = []
        self.refreshes = 0

    def run(self, commands: Iterable[Command]) -> int:
        """Issue a whole stream; return the cycle at which it is through."""
        for index, command in enumerate(commands):
            (self._banks if command.op in BANK_OPS else self._path).append((index, command))
            self._left[command.section] = self._left.get(command.section, 0) + 1
        section = 0
        while self._banks or self._path:
            while not self._left.get(section):
                section, self._gate = section + 1, self._through
            self._next(section)
        return self._through + self._stopped

    def _next(self, section: int) -> None:
        """Issue the next command of the queue that is ready first, or a refresh."""
        bank, path = self._bank_ready(section), self._path_ready(section)
        if bank is not None and (path is None or bank <= path):
            if not self._serve_refresh(bank):
                self._issue_bank(self._take(self._banks), bank)
            return
        assert path is not None, "the stream waits for itself"
        command = self._take(self._path)
        self._note(path, command)
        self._path_free = path + command.busy
        self._pass(path, command.busy)

    def _take(self, queue: deque[tuple[int, Command]]) -> Command:
        command = queue.popleft()[1]
        self._left[command.section] -= 1
        return command

    def _bank_ready(self, section: int) -> int | None:
        """Return when the banks' next command can be issued, or None while a barrier holds it."""
        if not self._banks:
            return None
        command = self._banks[0][1]
        ahead = self._rules.rows_pass_barriers and command.op in ROW_OPS
        if command.section > section and not ahead:
            return None
        ready = self._rules.first_cycle if ahead else self._gate
        if command.op in {Op.MAC, Op.READ}:
            ready = max(ready, self._mac_free)
        for (before, after), cycles in self._table.items():
            if after is command.op and before in self._last:
                ready = max(ready, self._last[before] + cycles)
        if command.op is Op.ACTIVATE_MORE and len(self._window) == ACTIVATES_PER_WINDOW:
            ready = max(ready, self._window[0] + (self._timing.faw or 0))
        return ready

    def _path_ready(self, section: int) -> int | None:
        """Return when the data path's next command can be issued, or None while it is held or unseen."""
        if not self._path or self._path[0][1].section > section:
            return None
        if self._rules.depth is not None and self._older_macs(self._path[0][0]) >= self._rules.depth:
            return None
        return max(self._gate, self._path_free, self._path_seen)

    def _older_macs(self, index: int) -> int:
        """Count the MACs that stand before a place in the stream and wait still, up to the queue's depth."""
        depth, count = self._rules.depth or 0, 0
        for place, command in self._banks:
            if place > index or count >= depth:
                break
            count += command.op is Op.MAC
        return count

    def _issue_bank(self, command: Command, cycle: int) -> None:
        self._note(cycle, command)
        self._last[command.op] = cycle
        if command.op in {Op.MAC, Op.MAC_MORE, Op.READ}:
            if command.op is not Op.MAC_MORE:
                self._mac_free = cycle + command.busy
            self._path_seen = cycle + 1 if self._just_seen() else self._path_seen
            self._pass(cycle, command.busy)
            return
        self._open_row = command.op in {Op.ACTIVATE, Op.ACTIVATE_MORE}
        if self._open_row:
            self._window.append(cycle)
        elif not self._rules.rows_pass_barriers:
            self._pass(cycle, self._timing.rp)

    def _just_seen(self) -> bool:
        """Return whether the MAC just issued brought the next move into the controller's sight."""
        depth = self._rules.depth
        return depth is not None and bool(self._path) and self._older_macs(self._path[0][0]) == depth - 1

    def _pass(self, cycle: int, busy: int) -> None:
        """Note when a command is through, as barriers see it."""
        self._through = max(self._through, cycle + (busy if self._rules.barrier_waits == "done" else 1))

    def _serve_refresh(self, ready: int) -> bool:
        """Refresh if one is due before the banks' next command, which is ready at a known cycle."""
        if self._rules.refresh_in_breaks:
            return self._due <= ready and self._refresh_in_break(ready)
        if self._banks[0][1].op is not Op.ACTIVATE or ready + self._stopped < self._due:
            return False
        self._refresh(ready)
        self._stopped += self._timing.rfc
        return True

    def _refresh_in_break(self, ready: int) -> bool:
        """Close the row if the column flow pauses long enough, refresh, and open it again."""
        start = self._due
        if self._open_row:
            start = max(start, self._last[Op.ACTIVATE] + self._timing.ras)
            if Op.MAC in self._last:
                start = max(start, self._last[Op.MAC] + self._timing.rtp)
            if start > ready:
                return False
            index, following = self._banks[0]
            self._note(start, following._replace(op=Op.PRECHARGE))
            if following.op is Op.PRECHARGE:
                self._take(self._banks)
            else:
                self._banks.appendleft((index, following._replace(op=Op.ACTIVATE)))
                self._left[following.section] += 1
            self._open_row = False
            start += 1
        self._refresh(start)
        self._last[Op.REFRESH] = start
        return True

    def _refresh(self, cycle: int) -> None:
        self._note(cycle, Command(Op.REFRESH, self._banks[0][1].section))
        self._due += self._timing.refi
        self.refreshes += 1

    def _note(self, cycle: int, command: Command) -> None:
        self.issued.append(Issued(cycle + self._stopped, command))
