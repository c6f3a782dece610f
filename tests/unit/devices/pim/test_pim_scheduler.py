"""The oracle: every constraint binds exactly, never a cycle early and not a cycle late."""

import io

import pytest

from papisim.config.system import load_part
from papisim.devices.pim import Pool
from papisim.devices.pim.commands import Command, Op, export, stream
from papisim.devices.pim.mapping.phases import ChannelPhase, Moves, Repeat
from papisim.devices.pim.scheduler import Channel, Rules, constraints
from papisim.devices.pim.timing import Sweep, Timing
from papisim.ops.kernel import FcRole, Linear

TIMING = Timing(tck_s=1e-9, rcd=19, rp=19, ras=45, rc=63, rtp=8, wr=21, cwl=6, burst=2, column_gap=4, refi=5070, rfc=456)  # fmt: skip


def at(program, timing=TIMING):
    """Return {op: cycles it is issued in} of a program."""
    channel = Channel(timing)
    channel.run(stream(program, timing))
    cycles = {}
    for cycle, command in channel.issued:
        cycles.setdefault(command.op, []).append(cycle)
    return cycles


def row(columns, gap=6):
    return ChannelPhase(Sweep(columns, 32, gap), Moves())


def test_a_row_is_activated_read_and_closed_as_early_as_its_timing_allows():
    issued = at([row(10)])
    assert issued[Op.ACTIVATE] == [0]
    assert issued[Op.MAC] == [19 + 6 * column for column in range(10)]
    assert issued[Op.PRECHARGE] == [19 + 6 * 9 + 8]


@pytest.mark.parametrize(
    ("columns", "gap", "binds"),
    [(1, 1, "ras"), (5, 1, "ras"), (18, 1, "ras"), (19, 1, "rtp"), (20, 1, "rtp"), (32, 6, "rtp")],
)
def test_a_row_closes_after_tras_or_after_its_last_read_whichever_is_later(columns, gap, binds):
    last_mac = 19 + (columns - 1) * gap
    expected = {"ras": 45, "rtp": last_mac + 8}
    assert expected[binds] == max(expected.values())
    assert at([row(columns, gap)])[Op.PRECHARGE] == [expected[binds]]


@pytest.mark.parametrize(
    ("gap", "first_of_second_row"), [(6, 19 + 6 * 31 + 46), (46, 19 + 46 * 32), (60, 19 + 60 * 32)]
)
def test_opening_the_next_row_hides_behind_units_that_are_busy_longer(gap, first_of_second_row):
    assert at([row(40, gap)])[Op.MAC][32] == first_of_second_row


@pytest.mark.parametrize("pair", constraints(TIMING))
def test_every_row_of_the_table_is_obeyed_from_both_sides(pair):
    """One cycle more in the table is one cycle later wherever the row binds, and never earlier."""
    before, after = pair
    longer = constraints(TIMING)[pair] + 200
    channel, base = Channel(TIMING), Channel(TIMING)
    channel._table = {**channel._table, pair: longer}
    program = [row(40), row(3)]
    commands = list(stream(program, TIMING))
    assert channel.run(commands) >= base.run(commands)
    last = {}
    for cycle, command in sorted(channel.issued):
        if command.op is after and before in last:
            assert cycle >= last[before] + longer
        last[command.op] = cycle


def test_moves_keep_their_distance_and_run_beside_macs():
    issued = at([ChannelPhase(Sweep(32, 32, 6), Moves(results_out=3, operands_in=4, softmax=5, scores_in=2))])
    assert issued[Op.MOVE_RESULTS] == [0, 2, 4]
    assert issued[Op.WRITE_OPERANDS] == [6, 8, 10, 12]
    assert issued[Op.SOFTMAX] == [14]
    assert issued[Op.MOVE_SCORES] == [19, 21]


def test_a_barrier_holds_until_rows_are_closed_and_data_has_moved():
    issued = at([ChannelPhase(Sweep(1, 32, 4), Moves()), ChannelPhase(Sweep(0, 1, 1), Moves(operands_in=2)), row(1)])
    assert issued[Op.WRITE_OPERANDS] == [45 + 19, 45 + 19 + 2]
    assert issued[Op.ACTIVATE][1] == 45 + 19 + 4


@pytest.mark.parametrize(("start", "served"), [(5069, 0), (5070, 1), (5071, 1)])
def test_a_refresh_is_served_at_the_first_activation_from_its_due_cycle_on(start, served):
    wait = ChannelPhase(Sweep(0, 1, 1), Moves(softmax=start))
    channel = Channel(TIMING)
    cycles = channel.run(stream([wait, row(1)], TIMING))
    assert channel.refreshes == served
    assert cycles == start + 64 + 456 * served


def test_postponed_refreshes_are_all_made_up_for():
    channel = Channel(TIMING)
    channel.run(stream([ChannelPhase(Sweep(0, 1, 1), Moves(softmax=3 * 5070)), row(1)], TIMING))
    assert channel.refreshes == 3


def test_runs_are_unrolled():
    once, thrice = at([row(5)]), at([Repeat((row(5),), 3)])
    assert len(thrice[Op.MAC]) == 3 * len(once[Op.MAC])


def test_a_move_behind_many_macs_is_unseen_until_the_queue_has_room():
    commands = [Command(Op.ACTIVATE, 0), *(Command(Op.MAC, 0, 4) for _ in range(10)), Command(Op.MOVE_RESULTS, 0, 2)]
    issued = {}
    for depth in (None, 11, 10, 3):
        channel = Channel(TIMING, Rules(depth=depth))
        channel.run(commands)
        issued[depth] = next(cycle for cycle, command in channel.issued if command.op is Op.MOVE_RESULTS)
    assert issued == {None: 0, 11: 0, 10: 19 + 1, 3: 19 + 4 * 7 + 1}


def test_rows_may_pass_a_barrier_where_the_rules_say_so():
    commands = [Command(Op.WRITE_OPERANDS, 0, 100), Command(Op.ACTIVATE, 1), Command(Op.MAC, 1, 4)]
    assert Channel(TIMING).run(commands) == 100 + 19 + 4
    assert Channel(TIMING, Rules(rows_pass_barriers=True)).run(commands) == 100 + 4


def test_an_exported_stream_has_a_line_a_command_in_order_of_time():
    pool = Pool("attacc", load_part("attacc").part, 1)
    commands, rules = pool.commands(Linear(FcRole.QKV, 2, 300, 5000))
    channel = Channel(pool.part.timing, rules)
    channel.run(commands)
    file = io.StringIO()
    count = export(sorted(channel.issued), file)
    lines = file.getvalue().splitlines()[1:]
    assert len(lines) == count == len(channel.issued)
    assert [int(line.split()[0]) for line in lines] == sorted(int(line.split()[0]) for line in lines)
    assert {line.split()[1] for line in lines} == {"ACTAB", "MACAB", "PREAB", "WRGB", "MVSB"}
