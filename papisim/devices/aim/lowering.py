"""Instruction streams of a decoder block's kernels on GDDR6-AiM, as CENT runs them.

Each output of a GEMV lies in one bank; inputs are broadcast from the global buffer a row at a time, and sums of a row are read and
added up outside. Elementwise products take two banks of each bank group and write a third, so that operands are stored and results are
loaded by the host around them. (Gu et al., ASPLOS 2025, Section 5; the order of instructions is that of its trace generator.)
"""

from __future__ import annotations

from typing import NamedTuple

from papisim.devices.aim.instructions import Instruction, Loop, Op, Row, Step, Stream
from papisim.devices.aim.layout import Layout, Slice, up


class Heads(NamedTuple):
    """Query heads and KV heads of attention, and their width."""

    query: int
    kv: int
    width: int

    @property
    def repeats(self) -> int:
        """Query heads of a KV head."""
        return self.query // self.kv


class Block(NamedTuple):
    """A decoder block of the Llama family, and the model's vocabulary."""

    width: int
    heads: Heads
    feed_forward: int
    vocabulary: int


def gemv(layout: Layout, tensor: str, inputs: int, outputs: int, *, activates: bool = False) -> Stream:
    """Return the stream of a matrix-vector product; one that activates looks each output up, and holds half the sums."""
    per_bank = up(outputs, layout.shared_banks)
    registers = layout.registers // 2 if activates else layout.registers
    groups = up(per_bank, registers)
    size = up(per_bank, groups)
    sizes = [size] * (groups - 1) + [per_bank - size * (groups - 1)]
    chunks = layout.chunks(inputs)
    rows = len(chunks)

    def of_row(row: int, columns: int, *, last: bool) -> Stream:
        steps: list[Step] = [Instruction(Op.WRITE_BUFFER, columns)]
        for index, held in enumerate(sizes):
            mac = Instruction(Op.MAC, columns, Row(tensor, index * size * rows + row))
            steps += [Loop(held, (Instruction(Op.WRITE_BIAS),)), Loop(held, (mac,), rows)]
            steps += [Loop(held, _LOOK_UP)] if last and activates else []
            steps += [Loop(held, (Instruction(Op.READ_MAC),))]
        return tuple(steps)

    full = Loop(rows - 1, of_row(0, layout.columns, last=False), 1)
    return full, *of_row(rows - 1, chunks[-1], last=True)


#: bank of a group that holds products
_PRODUCT = 2
_LOOK_UP = (Instruction(Op.FUNCTION, 1, Row("functions")), Instruction(Op.READ_FUNCTION))


def squares(layout: Layout, width: int, row: Row, *, stored: bool) -> Stream:
    """Return the stream of a sum of squares: neighbouring banks hold the same numbers, which are stored first."""
    own = Slice.of(layout, width, 2)
    columns = layout.in_columns(own.numbers)
    stores = [Instruction(Op.STORE, columns, row, layout.every(2, first), own.lanes) for first in (0, 1)]
    sums = (Instruction(Op.WRITE_BIAS), Instruction(Op.MAC, columns, row), Instruction(Op.READ_MAC))
    return (*stores, *sums) if stored else sums


def normalise(layout: Layout, width: int, row: Row, weight: Row, stores: tuple[int, ...]) -> Stream:
    """Return the stream of scaling a vector by its norm and by a weight.

    Args:
        layout: the layout.
        width: numbers of the vector.
        row: row of the vector and the norm.
        weight: row of the weight, whose product with the scaled vector is loaded.
        stores: banks of each group that the host writes, in order.
    """
    own = Slice.of(layout, width, layout.banks_per_group)
    columns = layout.in_columns(own.numbers)
    return (
        *(_access(layout, Op.STORE, own, row, bank) for bank in stores),
        Instruction(Op.MULTIPLY, columns, row),
        *_copies(layout, columns, row, weight),
        Instruction(Op.MULTIPLY, columns, weight),
        _access(layout, Op.LOAD, own, weight, _PRODUCT),
        Instruction(Op.SYNC),
    )


def norm(layout: Layout, width: int, row: Row, scaled: Row, stores: tuple[int, ...]) -> Stream:
    """Return the stream of a norm whose input the host stores; arguments as of :func:`normalise`, with ``scaled`` its row."""
    weight = Row(f"weight of {row.tensor}")
    return squares(layout, width, row, stored=True) + normalise(layout, width, scaled, weight, stores)


def rotate(layout: Layout, widths: dict[Row, int]) -> Stream:
    """Return the stream of rotary embedding of vectors, pairs of numbers each; every channel multiplies all of them."""
    own = {row: Slice.of(layout, width, layout.banks_per_group) for row, width in widths.items()}
    pairs = {row: each._replace(numbers=each.numbers * 2) for row, each in own.items()}
    return (
        *(_access(layout, Op.STORE, each, row, 1) for row, each in pairs.items()),
        *(Instruction(Op.MULTIPLY, layout.in_columns(width), row) for row, width in widths.items()),
        *(_access(layout, Op.STORE, each, row, _PRODUCT) for row, each in pairs.items()),
    )


def through(layout: Layout, read: int, written: int) -> Stream:
    """Return the stream of numbers that the host loads and of those that it stores, over all channels."""
    loads = [_access(layout, Op.LOAD, own, row, 0) for row, own in _parts(layout, read, "read")]
    stores = [_access(layout, Op.STORE, own, row, 0) for row, own in _parts(layout, written, "written")]
    return (*loads, *stores)


def append(layout: Layout, heads: Heads, tokens: int) -> Stream:
    """Return the stream of writing the keys and values of the last of ``tokens`` tokens.

    Its keys lie in one bank; of its values, each bank of a KV head's channel has a row for each of some dimensions.
    """
    turn, bank = divmod(tokens - 1, layout.shared_banks)
    rows = up(heads.width * heads.kv, layout.row_numbers)
    store = Instruction(Op.STORE, layout.columns, Row("keys", turn * rows), (bank % layout.banks,))
    chunk = max(0, up(tokens - 1, layout.row_numbers) - 1)
    held, dims = up(heads.kv, layout.channels), up(heads.width, layout.banks)
    values: list[Step] = []
    for head in range(held):
        lanes = min(layout.channels, up(heads.kv - head, held))
        first = Row("values", head * dims * layout.most_rows + chunk)
        values.append(Loop(dims, (Instruction(Op.WRITE_ALL, 1, first, (), lanes),), layout.most_rows))
    return Loop(rows, (store,) * layout.blocks, 1), *values


def append_any(layout: Layout, numbers: int) -> Stream:
    """Return the stream of writing ``numbers`` numbers of keys and the same of values: keys in one bank, values in all."""
    *full, last = layout.chunks(numbers)
    stores = tuple(
        Instruction(Op.STORE, columns, Row("keys", index), (0,)) for index, columns in enumerate((*full, last))
    )
    writes = up(numbers, layout.banks)
    lanes = min(layout.channels, writes)
    return *stores, Loop(up(writes, lanes), (Instruction(Op.WRITE_ALL, 1, Row("values"), (), lanes),), 1)


def score(layout: Layout, heads: Heads, tokens: int) -> Stream:
    """Return the stream of queries times keys: a row of a bank holds some heads of one token's keys, in all devices of the block."""
    rows = up(heads.width * heads.kv, layout.row_numbers)
    mac = Instruction(Op.MAC, layout.in_columns(heads.width), Row("keys"))
    sums = (Instruction(Op.WRITE_BIAS), mac, Instruction(Op.READ_MAC))
    of_query = (Instruction(Op.WRITE_BUFFER, layout.columns), Loop(layout.row_numbers // heads.width, sums))
    turns = Loop(up(tokens, layout.shared_banks), (Loop(heads.repeats, of_query),), rows)
    return (Loop(rows, (turns,), 1),)


def scale(layout: Layout, heads: Heads, tokens: int) -> Stream:
    """Return the stream of scores times a number each: stored, multiplied and loaded, a head to a bank."""
    slots = layout.banks // layout.banks_per_group
    held = up(heads.query, layout.channels * slots)
    chunks = layout.chunks(tokens)
    rows = {
        (head, chunk): Row("scores", head * len(chunks) + chunk)
        for chunk in range(len(chunks))
        for head in range(held)
    }

    def accesses(op: Op, bank: int) -> Stream:
        return tuple(
            _access(
                layout,
                op,
                Slice(chunks[chunk] * layout.lanes, up(up(heads.query - head, held), slots) * layout.blocks),
                row,
                bank,
            )
            for (head, chunk), row in rows.items()
        )

    products = tuple(Instruction(Op.MULTIPLY, chunks[chunk], row) for (_, chunk), row in sorted(rows.items()))
    stores = (*accesses(Op.STORE, 0), *accesses(Op.STORE, 1))
    return *stores, *products, *accesses(Op.LOAD, _PRODUCT), Instruction(Op.SYNC)


def context(layout: Layout, heads: Heads, tokens: int) -> Stream:
    """Return the stream of scores times values: a channel has a KV head, and a row of a bank some tokens of one dimension."""
    dims, chunks = up(heads.width, layout.banks), layout.chunks(tokens)

    def of_chunk(chunk: int, columns: int) -> Stream:
        mac = Instruction(Op.MAC, columns, Row("values", chunk))
        sums = (Instruction(Op.WRITE_BIAS), mac, Instruction(Op.READ_MAC))
        return Instruction(Op.WRITE_BUFFER, columns), Loop(dims, sums, layout.most_rows)

    full = Loop(len(chunks) - 1, of_chunk(0, layout.columns), 1)
    of_query = (full, *of_chunk(len(chunks) - 1, chunks[-1]))
    held = up(heads.kv, layout.channels)
    return (Loop(held, (Loop(heads.repeats, of_query),), dims * layout.most_rows),)


def gate(layout: Layout, width: int) -> Stream:
    """Return the stream of a gated activation: a look-up's factor and another vector, one product after the other.

    A vector of more than a row of each bank goes on in the next.
    """
    parts = _parts(layout, width, "gates")
    columns = {row: layout.in_columns(own.numbers) for row, own in parts}
    return (
        *(_access(layout, Op.STORE, own, row, bank) for bank in (0, 1) for row, own in parts),
        *(Instruction(Op.MULTIPLY, columns[row], row) for row, _ in parts),
        *(step for row, _ in parts for step in _copies(layout, columns[row], row, row)),
        *(_access(layout, Op.STORE, own, row, 0) for row, own in parts),
        *(Instruction(Op.MULTIPLY, columns[row], row) for row, _ in parts),
        *(_access(layout, Op.LOAD, own, row, _PRODUCT) for row, own in parts),
        Instruction(Op.SYNC),
    )


def _parts(layout: Layout, width: int, tensor: str) -> list[tuple[Row, Slice]]:
    """Return a vector over one bank of each bank group, in as many rows as it needs."""
    most = layout.channels * (layout.banks // layout.banks_per_group) * layout.row_numbers
    widths = [min(most, width - start) for start in range(0, width, most)]
    return [(Row(tensor, index), Slice.of(layout, each, layout.banks_per_group)) for index, each in enumerate(widths)]


def _access(layout: Layout, op: Op, own: Slice, row: Row, bank: int) -> Instruction:
    """Return accesses to one bank of each bank group."""
    banks = layout.every(layout.banks_per_group, bank)
    return Instruction(op, layout.in_columns(own.numbers), row, banks, own.lanes)


def _copies(layout: Layout, columns: int, product: Row, operand: Row) -> Stream:
    """Return the copies of products to where they are operands of the next multiplication, by the global buffer."""
    return tuple(
        copy
        for bank in layout.every(layout.banks_per_group, _PRODUCT)
        for copy in (
            Instruction(Op.COPY_TO_BUFFER, columns, product, (bank,)),
            Instruction(Op.COPY_FROM_BUFFER, columns, operand, (bank - 1,)),
        )
    )


def block(layout: Layout, model: Block, tokens: int) -> dict[str, Stream]:
    """Return the streams of a decoder block on the device that does all of it, by kernel and in order.

    ``tokens`` are those of the cache, the new one included.
    """
    width, heads, ffn = model.width, model.heads, model.feed_forward
    kv_width = heads.kv * heads.width
    return {
        "norm": norm(layout, width, Row("inputs"), Row("copied inputs"), (0, 1)),
        "query": gemv(layout, "query", width, heads.query * heads.width),
        "key": gemv(layout, "key", width, kv_width),
        "value": gemv(layout, "value", width, kv_width),
        "rotary": rotate(layout, {Row("queries"): width, Row("new keys"): kv_width}),
        "append": append(layout, heads, tokens),
        "score": score(layout, heads, tokens),
        "scale": scale(layout, heads, tokens),
        "softmax": scale(layout, heads, tokens),
        "context": context(layout, heads, tokens),
        "projection": gemv(layout, "projection", heads.query * heads.width, width),
        "second norm": norm(layout, width, Row("attended"), Row("attended"), (1, 0)),
        "gate": gemv(layout, "gate", width, ffn, activates=True),
        "up": gemv(layout, "up", width, ffn),
        "activation": gate(layout, ffn),
        "down": gemv(layout, "down", ffn, width),
    }


#: kernels of a block that all its devices share
SHARED = ("query", "key", "value", "projection", "gate", "up", "down")


def shared(layout: Layout, model: Block) -> dict[str, Stream]:
    """Return the streams of a decoder block on its other devices: the FC kernels."""
    return {name: stream for name, stream in block(layout, model, 1).items() if name in SHARED}


def embedding(layout: Layout, model: Block) -> dict[str, Stream]:
    """Return the streams before the first block and after the last: both embeddings as GEMVs, and the last norm."""
    row = Row("inputs")
    return {
        "embedding": gemv(layout, "embedding", model.vocabulary, model.width),
        "norm": squares(layout, model.width, row, stored=False)
        + normalise(layout, model.width, Row("copied inputs"), Row("norm weight"), (1,)),
        "head": gemv(layout, "head", model.width, model.vocabulary),
    }
