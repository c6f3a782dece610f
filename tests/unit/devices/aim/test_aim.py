"""Instruction streams of GDDR6-AiM and their cycles.

Cycles of ``SIMULATED`` are those of the AiM simulator (aim_simulator, commit 2eb1ee0, test/example.yaml) on the traces of these streams.
"""

import io

import pytest

from papisim.config.system import load_part
from papisim.devices.aim import Pool, lowering
from papisim.devices.aim.commands import Command, Table
from papisim.devices.aim.deployment import Deployment, Sharing
from papisim.devices.aim.host import time_stream
from papisim.devices.aim.instructions import Instruction, Loop, Op, Row, unrolled
from papisim.devices.aim.layout import Layout, Slice
from papisim.devices.aim.lowering import Block, Heads
from papisim.devices.aim.trace import write_trace
from papisim.devices.link import Links
from papisim.errors import NotModelled
from papisim.ops.kernel import Attention, FcRole, Linear

PART = load_part("cent").part
TABLE = Table(PART.timing, PART.commands, PART.organisation.banks_per_group)
ONE, EIGHT, SLICE = PART.layout(1), PART.layout(8), PART.layout(1, 10)
MANY, GROUPED = Heads(32, 32, 128), Heads(64, 8, 128)
SMALL = Block(1024, Heads(8, 8, 128), 2048, 4096)


def cycles(stream, layout=ONE):
    return time_stream(stream, TABLE, layout).cycles


SIMULATED = [
    (lowering.gemv(EIGHT, "weights", 4096, 4096), EIGHT, 1_656, 0),
    (lowering.gemv(ONE, "weights", 4096, 11008, activates=True), ONE, 22_904, 0),
    (lowering.gemv(SLICE, "weights", 4096, 4096), SLICE, 24_756, 0),
    (lowering.score(ONE, GROUPED, 1500), ONE, 19_848, 0),
    (lowering.context(SLICE, MANY, 1500), SLICE, 16_880, 0),
    (lowering.scale(ONE, MANY, 1500), ONE, 9_435, 0),
    (lowering.scale(SLICE, GROUPED, 384), SLICE, 14_128, 0),
    (lowering.gate(ONE, 11008), ONE, 3_295, 0),
    (lowering.rotate(SLICE, {Row("queries"): 4096, Row("new keys"): 4096}), SLICE, 7_426, 0),
    (lowering.append(ONE, MANY, 384), ONE, 1_685, 0),
    (lowering.norm(SLICE, 4096, Row("inputs"), Row("copies"), (0, 1)), SLICE, 5_290, 0),
    (lowering.norm(ONE, 4096, Row("inputs"), Row("copies"), (0, 1)), ONE, 2_130, 50),
]


@pytest.mark.parametrize(("stream", "layout", "simulated", "apart"), SIMULATED)
def test_streams_take_the_cycles_of_the_aim_simulator(stream, layout, simulated, apart):
    """All are exact but the norm of few numbers per bank.

    That simulator takes an instruction while single accesses whose row is being opened wait, and switches modes twice.
    """
    assert abs(cycles(stream, layout) - simulated) <= apart


def test_a_gemv_is_the_sum_of_its_commands():
    """A row: 64 columns of inputs, bias, three mode switches but for the first, PRE, ACT, 64 MACs, and the sums, 5 cycles of turning."""
    timing, own = PART.timing, PART.commands
    row = 64 * 2 + 1 + own.mode_switch + timing.rp + timing.rcd + 64 * 2 + own.mode_switch + 5
    rows = 4
    assert cycles(lowering.gemv(EIGHT, "weights", 1024 * rows, 4096), EIGHT) == rows * row


def test_loops_take_what_their_repetitions_take():
    for stream in (lowering.gemv(ONE, "weights", 3000, 5000), lowering.context(ONE, GROUPED, 2100)):
        one_by_one = time_stream(tuple(unrolled(stream)), TABLE, ONE)
        assert time_stream(stream, TABLE, ONE) == one_by_one


def test_every_weight_is_multiplied_once():
    counts = time_stream(lowering.gemv(EIGHT, "weights", 4096, 8192), TABLE, EIGHT).counts
    numbers = counts[Command.MAC16] * EIGHT.banks * EIGHT.lanes * EIGHT.devices
    assert numbers == 4096 * 8192
    assert counts[Command.ACT16] * EIGHT.banks * EIGHT.row_numbers * EIGHT.devices == 4096 * 8192


def test_a_row_hit_opens_nothing():
    mac = Instruction(Op.MAC, 8, Row("keys"))
    counts = time_stream((Loop(5, (mac,)),), TABLE, ONE).counts
    assert counts[Command.ACT16] == ONE.channels
    assert counts[Command.MAC16] == 40 * ONE.channels


def test_vectors_fill_channels_in_turn():
    assert Slice.of(ONE, 4096, 4) == Slice(32, 32)
    assert Slice.of(ONE, 100, 4) == Slice(1, 25), "a number to a bank, four banks of a channel"
    assert Slice.of(SLICE, 4096, 4).lanes == SLICE.blocks * SLICE.channels


def test_rows_of_a_vector_are_full_but_for_the_last():
    layout = Layout(1, 1, 1, 16, 4, 64, 16, 32, 4096)
    assert layout.chunks(1024) == (64,)
    assert layout.chunks(1025) == (64, 1)


def test_refresh_takes_its_share():
    kernel = Linear(FcRole.QKV, 1, 4096, 4096)
    none, sustained = (Pool("aim", load_part("cent", [f"refresh={each}"]).part, 1) for each in ("none", "sustained"))
    share = PART.timing.rfc / PART.timing.refi
    assert none.price(kernel).time_s == pytest.approx(sustained.price(kernel).time_s * (1 - share))


def test_token_rows_are_passes_of_their_own():
    pool = Pool("aim", PART, 1)
    one, four = (pool.price(Linear(FcRole.QKV, m, 4096, 4096)) for m in (1, 4))
    assert four.time_s == pytest.approx(4 * one.time_s, rel=0.01)
    assert four.energy.total_j == pytest.approx(4 * one.energy.total_j, rel=0.01)


def test_a_trace_has_the_instructions_in_order():
    file = io.StringIO()
    pool = Pool("aim", PART, 8)
    lines, _ = pool.write_commands(Linear(FcRole.QKV, 1, 1024, 4096), file, "aim")
    written = file.getvalue().splitlines()
    assert lines == len(written)
    assert written == [
        "AiM WR_GB 64 0 0xffffffff", "AiM WR_BIAS 0 0xffffffff", "AiM MAC_ABK 64 0xffffffff 0", "AiM RD_MAC 0 0xffffffff", "AiM EOC",
    ]  # fmt: skip


def test_accesses_of_a_trace_go_round_the_channels():
    file = io.StringIO()
    store = Instruction(Op.STORE, 2, Row("scores", 3), (0, 4), 2)
    write_trace((store, Instruction(Op.WRITE_ALL, 1, Row("values"), (), 2)), ONE, file)
    assert file.getvalue().splitlines() == [
        *["W MEM 0 0 3", "W MEM 0 4 3", "W MEM 1 0 3", "W MEM 1 4 3"] * 2,
        "AiM WR_ABK 0 0x80000000 4", "AiM WR_ABK 0 0x40000000 4", "AiM EOC",
    ]  # fmt: skip


def test_what_the_units_cannot_compute_is_refused():
    pool = Pool("aim", PART, 1)
    with pytest.raises(NotModelled, match="latent"):
        pool.price(Attention(1, 1, 100, 100, 100, 8, 8, 128, latent=True))
    with pytest.raises(NotModelled, match="instructions"):
        pool.write_commands(Linear(FcRole.QKV, 1, 1024, 4096), io.StringIO())


@pytest.fixture
def deployed():
    links = Links("cxl", load_part("cxl_cent").part, 1)
    return lambda ranks, channels, stages: Deployment(PART, links, SMALL, 8, Sharing(ranks, channels, stages), 1e-4)


def test_more_ranks_shorten_a_block_and_lengthen_its_messages(deployed):
    one, four = deployed(1, 32, 4), deployed(4, 32, 1)
    assert four.block(512).time_s < one.block(512).time_s
    assert four.links_s > one.links_s


def test_blocks_side_by_side_take_longer_and_share_the_units(deployed):
    whole, half = deployed(1, 32, 4), deployed(1, 16, 8)
    assert half.block(512).time_s > whole.block(512).time_s
    assert half.units_s(512) == pytest.approx(2 * whole.units_s(512))


def test_a_token_is_its_blocks_and_what_is_around_them(deployed):
    one = deployed(1, 32, 8)
    blocks_s = 8 * (one.block(512).time_s + one.units_s(512) + one.links_s)
    assert one.token_s(512) == pytest.approx(blocks_s + one.embedding.time_s + 1e-4)
    assert one.token_j(512) > 8 * one.block(512).energy.total_j
