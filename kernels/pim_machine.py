"""A PIM stack that computes: it obeys the command stream of a mapping, on real numbers, in NumPy.

Data is laid out in banks by :mod:`papisim.devices.pim.mapping`. Every bank then does its own multiply-accumulates, one
column a MAC command; the banks of a way add their sums when results leave it (MVSB), ways and stacks are put
together on the logic die or the host. If the right result comes out and not a command is left over, the mapping computes
what it takes time for.

Within one section (between two barriers) data that moves in is taken to be there before the MACs of the section, and
results leave before its MACs overwrite them: that is what the two halves of each buffer are for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from papisim.devices.pim import Pool
from papisim.devices.pim.commands import Command, Op
from papisim.devices.pim.mapping.attention import query_rows, rows_of_a_visit
from papisim.devices.pim.mapping.linear import Block, Held, block, held_at_once
from papisim.devices.pim.mapping.phases import Geometry
from papisim.ops.kernel import Attention, FcRole, Linear

Array = NDArray[np.float64]
_IN_ORDER = {Op.MOVE_RESULTS: 0, Op.SOFTMAX: 1, Op.WRITE_OPERANDS: 2, Op.MOVE_SCORES: 2}


@dataclass
class Obeyed:
    """Counts commands as they execute; a wrong mapping shows as a row not open or a command too many.

    Attributes:
        commands: obeyed so far, by kind.
    """

    commands: dict[Op, int] = field(default_factory=dict)
    _row_open: bool = False
    _in_row: int = 0

    def note(self, command: Command, per_row: int) -> None:
        """Count a command and check that MACs find their row open and not yet used up."""
        self.commands[command.op] = self.commands.get(command.op, 0) + 1
        match command.op:
            case Op.ACTIVATE:
                assert not self._row_open, "a row is opened over another"
                self._row_open, self._in_row = True, 0
            case Op.PRECHARGE:
                self._row_open = False
            case Op.MAC:
                self._in_row += 1
                assert self._row_open, "a MAC finds no row open"
                assert self._in_row <= per_row, "a MAC reaches beyond its row"


def sections(commands: Sequence[Command]) -> Iterator[list[Command]]:
    """Yield the commands between barriers; data moves first, then come the banks' commands in their order."""
    for _, group in groupby(commands, key=lambda command: command.section):
        yield sorted(group, key=lambda command: _IN_ORDER.get(command.op, 3))


def column_order(columns: int, per_row: int, turns: int) -> Iterator[tuple[int, int]]:
    """Yield (column, index among the banks that share a unit) in the order of MAC commands: a row of one bank, then of the next."""
    for start in range(0, columns, per_row):
        for turn in range(turns):
            for column in range(start, min(columns, start + per_row)):
                yield column, turn


def compute_linear(pool: Pool, x: Array, w: Array) -> tuple[Array, Obeyed]:
    """Return ``x @ w`` as the pool computes it."""
    (m, k), n = x.shape, w.shape[1]
    kernel = Linear(FcRole.QKV, m, k, n)
    geometry = pool.geometry
    machine = _LinearMachine(geometry, block(geometry, k, n, geometry.columns(2)), x, w)
    commands, _ = pool.commands(kernel)
    obeyed = Obeyed()
    for section in sections(list(commands)):
        for command in section:
            obeyed.note(command, geometry.columns_per_row * geometry.turns)
            machine.obey(command)
    return machine.result(), obeyed


def _passes(rows: int, outputs: int, held: Held) -> Iterator[tuple[slice, slice]]:
    """Yield the token-rows and the outputs of a way of each pass, in the order of the command stream."""
    full = rows - rows % held.rows
    for first, last in ((0, full), (full, rows)):
        done = 0
        for size, count in held.parts:
            for start in range(first, last, held.rows):
                for begin in range(done, done + count * size, size):
                    yield slice(start, min(start + held.rows, last)), slice(begin, begin + size)
            done += size * count
        assert done == outputs


class _LinearMachine:
    """All banks of a pool that hold one weight; arrays are indexed [cut k, cut n, channel × way, bank, …]."""

    def __init__(self, geometry: Geometry, cut: Block, x: Array, w: Array) -> None:
        self._geometry, self._cut, self._n = geometry, cut, w.shape[1]
        lanes, banks = geometry.elements(2), geometry.banks
        ways = geometry.channels * geometry.ways
        padded = np.zeros((cut.cuts_k * cut.deep * banks * lanes, cut.cuts_n * ways * cut.outputs))
        padded[: w.shape[0], : w.shape[1]] = w
        parts = padded.reshape(cut.cuts_k, cut.deep, banks, lanes, cut.cuts_n, ways, cut.outputs)
        self._weights = parts.transpose(0, 4, 5, 2, 1, 6, 3)  # k, n, way, bank, deep, output, lane
        inputs = np.zeros((x.shape[0], padded.shape[0]))
        inputs[:, : x.shape[1]] = x
        self._inputs = inputs.reshape(-1, cut.cuts_k, cut.deep, banks, lanes)
        held = held_at_once(geometry, cut, geometry.columns(2))
        self._passes = list(_passes(len(x), cut.outputs, held))
        self._arriving = self._arrivals()
        self._macs = self._mac_order()
        self._operands: dict[tuple[int, int], Array] = {}
        self._sums = np.zeros((cut.cuts_k, cut.cuts_n, ways, banks, cut.outputs, held.rows))
        self._moved = self._collected = 0
        self._outputs = np.zeros((len(x), cut.cuts_n, ways, cut.outputs))

    def _arrivals(self) -> Iterator[tuple[int, int, int]]:
        """Yield (pass, input column, token-row and bank counter) in the order of WRGB commands."""
        for number in range(len(self._passes)):
            for deep in range(self._cut.deep):
                for part in range(self._n_rows(number) * self._geometry.banks):
                    yield number, deep, part

    def _mac_order(self) -> Iterator[tuple[int, int, int, int]]:
        """Yield (pass, input column, output, turn) in the order of MAC commands: every sweep starts a row."""
        geometry = self._geometry
        for number, (_, part) in enumerate(self._passes):
            outputs = part.stop - part.start
            for first, last in self._sweeps(self._n_rows(number)):
                for column, turn in column_order((last - first) * outputs, geometry.columns_per_row, geometry.turns):
                    yield number, first + column // outputs, part.start + column % outputs, turn

    def _n_rows(self, number: int) -> int:
        rows, _ = self._passes[number]
        return int(rows.stop - rows.start)

    def _sweeps(self, rows: int) -> list[tuple[int, int]]:
        deep = self._cut.deep
        if self._geometry.overlap:
            return [(0, deep - 1), (deep - 1, deep)]
        step = max(1, min(deep, self._geometry.operand_columns // rows))
        return [(first, min(deep, first + step)) for first in range(0, deep, step)]

    def obey(self, command: Command) -> None:
        match command.op:
            case Op.WRITE_OPERANDS:
                number, deep, part = next(self._arriving)
                if part == 0:
                    rows = self._inputs[self._passes[number][0], :, deep]
                    self._operands[number, deep] = rows  # row, cut k, bank, lane
            case Op.MAC:
                self._mac(*next(self._macs))
            case Op.MOVE_RESULTS:
                self._moved += 1
                if self._moved == self._bursts(self._collected):
                    self._collect()

    def _mac(self, number: int, deep: int, output: int, turn: int) -> None:
        operand = self._operands[number, deep]
        banks, turns = self._geometry.banks, self._geometry.turns
        served = self._served(banks, turns, turn)
        weights = self._weights[:, :, :, :, deep, output][:, :, served[0], served[1]]
        products = np.einsum("kn...l,rk...l->kn...r", weights, self._spread(operand, served))
        rows = operand.shape[0]
        view = self._sums[:, :, :, :, output, :rows]
        view[:, :, served[0], served[1]] += products

    def _served(self, banks: int, turns: int, turn: int) -> tuple[Array, Array]:
        """Return the (way, bank) indices of the banks that a MAC in this turn reads."""
        ways = np.arange(self._weights.shape[2])
        every = np.arange(len(ways) * banks)
        mine = every[every % turns == turn]
        return mine // banks, mine % banks

    def _spread(self, operand: Array, served: tuple[Array, Array]) -> Array:
        """Hand each served bank its part of the operands: the same in all ways."""
        spread: Array = operand[:, :, served[1]]
        return spread

    def _bursts(self, number: int) -> int:
        geometry, elements, (_, part) = self._geometry, self._geometry.elements(2), self._passes[number]
        return geometry.path_ways * -(-(part.stop - part.start) * self._n_rows(number) // elements)

    def _collect(self) -> None:
        """Bring a pass's sums out: the banks of a way add theirs, the host adds those of blocks along k."""
        rows, part = self._passes[self._collected]
        total = self._sums.sum(axis=(0, 3))  # cut n, way, output, row
        self._outputs[rows, :, :, part] = total.transpose(3, 0, 1, 2)[: rows.stop - rows.start, :, :, part]
        self._sums[:] = 0
        self._moved, self._collected = 0, self._collected + 1

    def result(self) -> Array:
        assert next(self._macs, None) is None, "MACs are missing"
        assert next(self._arriving, None) is None, "inputs never arrived"
        assert self._collected == len(self._passes), "results never left"
        outputs: Array = self._outputs.reshape(len(self._outputs), -1)[:, : self._n]
        return outputs


def softmax(scores: Array) -> Array:
    """Return the softmax over the last axis, as the logic die computes it: exponentials of differences to the maximum."""
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights: Array = powers / powers.sum(axis=-1, keepdims=True)
    return weights


def compute_attention(pool: Pool, q: Array, k: Array, v: Array) -> tuple[Array, Obeyed]:
    """Return the attention of one pair's query rows over its cache, as one pair's channels compute it.

    Args:
        pool: the stacks; all pairs do alike, so one is computed.
        q: query rows of the pair, ``(rows, head_dim)``: query heads of its group × draft tokens.
        k: its keys, ``(tokens, head_dim)``.
        v: its values, ``(tokens, head_dim)``.
    """
    rows, head_dim = q.shape
    kernel = Attention(1, rows, len(k), len(k), rows * len(k), 1, 1, head_dim)
    assert query_rows(kernel) == rows
    machine = _AttentionMachine(pool.geometry, q, k, v)
    commands, _ = pool.commands(kernel)
    obeyed = Obeyed()
    for section in sections(list(commands)):
        for command in section:
            obeyed.note(command, pool.geometry.columns_per_row * pool.geometry.turns)
            machine.obey(command)
    return machine.result(), obeyed


class _AttentionMachine:
    """The banks that hold one pair's cache; arrays are indexed [way, bank, …]; ways of all its channels together."""

    def __init__(self, geometry: Geometry, q: Array, k: Array, v: Array) -> None:
        self._geometry, self._tokens = geometry, len(k)
        lanes, banks, ways = geometry.elements(2), geometry.banks, geometry.ways * geometry.channels_per_head
        self._deep, self._own = -(-q.shape[1] // (banks * lanes)), -(-len(k) // ways)
        self._ways = ways
        self._q = _padded(q, (q.shape[0], self._deep * banks * lanes)).reshape(-1, self._deep, banks, lanes)
        self._k, self._v = (
            _padded(cache, (ways * self._own, self._deep * banks * lanes))
            .reshape(self._own, ways, self._deep, banks, lanes)
            .transpose(1, 3, 0, 2, 4)  # way, bank, own token, deep, lane
            for cache in (k, v)
        )
        self._scale = 1 / np.sqrt(q.shape[1])
        self._head_dim, self._n_rows = q.shape[1], q.shape[0]
        self._visits = self._plan()
        self._query_bursts = self._deep * banks * (self._visits[0][1] - self._visits[0][0])
        self._written = 0
        self._loaded: list[Array] = []
        self._scored: list[Array] = []
        self._weights: list[Array] = []
        self._contexts: list[Array] = []
        self._macs = self._mac_order()

    def _plan(self) -> list[tuple[int, int]]:
        tokens = self._tokens
        kernel = Attention(1, self._n_rows, tokens, tokens, self._n_rows * tokens, 1, 1, self._head_dim)
        rows, visits = rows_of_a_visit(self._geometry, kernel, self._geometry.elements(2))
        return [(number * rows, min(self._n_rows, (number + 1) * rows)) for number in range(visits)]

    def _mac_order(self) -> Iterator[tuple[str, int, int, int, int]]:
        """Yield (what, visit, token, slice of the head, turn): score 1, score 2, context 1, score 3, …, context n."""
        last = len(self._visits) - 1
        order = [("score", 0)]
        for visit in range(1, last + 1):
            order += [("score", visit), ("context", visit - 1)]
        order.append(("context", last))
        geometry = self._geometry
        for what, visit in order:
            for column, turn in column_order(self._own * self._deep, geometry.columns_per_row, geometry.turns):
                if what == "score":
                    yield what, visit, column // self._deep, column % self._deep, turn
                else:
                    yield what, visit, column % self._own, column // self._own, turn

    def obey(self, command: Command) -> None:
        match command.op:
            case Op.WRITE_OPERANDS:
                if self._written % self._query_bursts == 0:
                    first, last = self._visits[len(self._loaded)]
                    self._loaded.append(self._q[first:last])
                self._written += 1
            case Op.MAC:
                what, visit, token, deep, turn = next(self._macs)
                (self._score if what == "score" else self._context)(visit, token, deep, turn)
            case Op.SOFTMAX:
                self._softmax(len(self._weights))

    def _turn(self, turn: int) -> NDArray[np.bool_]:
        """Return the (way, bank) that a MAC in this turn reads."""
        every = np.arange(self._ways * self._geometry.banks).reshape(self._ways, -1)
        mask: NDArray[np.bool_] = every % self._geometry.turns == turn
        return mask

    def _score(self, visit: int, token: int, deep: int, turn: int) -> None:
        rows = self._loaded[visit]
        if len(self._scored) <= visit:
            self._scored.append(np.zeros((len(rows), self._ways, self._geometry.banks, self._own)))
        products = np.einsum("wbl,rbl->rwb", self._k[:, :, token, deep], rows[:, deep])
        self._scored[visit][..., token] += products * self._turn(turn)

    def _softmax(self, visit: int) -> None:
        """Add the banks of each way as scores leave it, and turn them into weights on the logic die."""
        scores = self._scored[visit].sum(axis=2).transpose(0, 2, 1).reshape(len(self._scored[visit]), -1)
        weights = np.zeros_like(scores)
        weights[:, : self._tokens] = softmax(scores[:, : self._tokens] * self._scale)
        self._weights.append(weights.reshape(len(weights), self._own, self._ways))

    def _context(self, visit: int, token: int, deep: int, turn: int) -> None:
        weights = self._weights[visit][:, token]
        if len(self._contexts) <= visit:
            lanes = self._geometry.elements(2)
            self._contexts.append(np.zeros((len(weights), self._ways, self._deep, self._geometry.banks, lanes)))
        products = np.einsum("rw,wbl->rwbl", weights, self._v[:, :, token, deep])
        self._contexts[visit][:, :, deep] += products * self._turn(turn)[..., None]

    def result(self) -> Array:
        assert next(self._macs, None) is None, "MACs are missing"
        parts = [context.sum(axis=1).reshape(len(context), -1)[:, : self._head_dim] for context in self._contexts]
        return np.concatenate(parts)


def _padded(array: Array, shape: tuple[int, ...]) -> Array:
    padded = np.zeros(shape)
    padded[tuple(slice(size) for size in array.shape)] = array
    return padded
