"""Command streams in the formats of other simulators: what they say, and that they come back."""

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from papisim.api.kernel_sizes import kernel_of
from papisim.config.system import load_part
from papisim.devices.pim import Pool
from papisim.devices.pim.commands import ROW_OPS, Op
from papisim.devices.pim.scheduler import Channel
from papisim.devices.pim.traces import FORMATS
from papisim.errors import InputError, NotModelled
from papisim.ops.kernel import FcRole, Linear


def pool(name="attacc", *overrides):
    return Pool(name, load_part(name, overrides).part, 1)


RELEASED, PHYSICAL = pool("attacc", "mapping=attacc_released"), pool("attacc")


def attention(kv, heads=16):
    return kernel_of("attention", {"heads_per_stack": heads, "kv": kv}, 1)


def written(stacks, kernel, form):
    file = io.StringIO()
    FORMATS[form].write(stacks.commands(kernel)[0], stacks.part.organisation, stacks.spacing, file)
    return file.getvalue()


def read(stacks, text, form, tmp_path):
    (tmp_path / "trace").write_text(text, encoding="utf-8")
    return list(FORMATS[form].read(tmp_path / "trace", stacks.part.organisation, stacks.spacing))


@pytest.mark.parametrize(("kv", "heads"), [(33, 3), (700, 16), (2048, 40), (4096, 17)])
def test_a_stream_in_ramulators_format_comes_back_command_by_command_and_takes_the_same(kv, heads, tmp_path):
    kernel = attention(kv, heads)
    stream, rules = RELEASED.commands(kernel)
    commands = list(stream)
    back = read(RELEASED, written(RELEASED, kernel, "ramulator"), "ramulator", tmp_path)
    ends = len(commands) - len(back)
    assert back == commands[: len(back)]
    assert {command.op for command in commands[len(commands) - ends :]} <= ROW_OPS
    timing = RELEASED.part.timing
    assert Channel(timing, rules).run(back) == Channel(timing, rules).run(commands)


@settings(max_examples=15, deadline=None)
@given(kv=st.integers(1, 900), heads=st.integers(1, 40), form=st.sampled_from(sorted(FORMATS)))
def test_what_is_read_is_written_as_it_was(kv, heads, form, tmp_path_factory):
    for stacks in (RELEASED, PHYSICAL):
        text = written(stacks, attention(kv, heads), form)
        file = io.StringIO()
        back = read(stacks, text, form, tmp_path_factory.mktemp("trace"))
        FORMATS[form].write(back, stacks.part.organisation, stacks.spacing, file)
        assert file.getvalue() == text


@pytest.mark.parametrize("form", sorted(FORMATS))
def test_every_mac_and_every_move_is_in_the_trace(form, tmp_path):
    kernel = Linear(FcRole.QKV, 1, 2048, 4096)
    commands = list(PHYSICAL.commands(kernel)[0])
    back = read(PHYSICAL, written(PHYSICAL, kernel, form), form, tmp_path)
    for op in (Op.MAC, Op.ACTIVATE, Op.MOVE_RESULTS):
        assert sum(each.op is op for each in back) == sum(each.op is op for each in commands), op
    rows = [each.row for each in commands if each.op is Op.MAC]
    assert [each.row for each in back if each.op is Op.MAC] == rows


def test_addresses_are_those_of_attaccs_simulator():
    """Channel 4 bits, pseudo-channel 1, rank 1, bank group 2, bank 2, row 14, column 5, 32 bytes: columns 0x20 apart, rows 0x400."""
    lines = written(RELEASED, attention(2048), "ramulator").splitlines()
    macs = [int(line.split()[1], 16) for line in lines if line.startswith("PIM_MAC_AB")]
    first_row = [place for place in macs if place < 0x400]
    assert sorted(set(first_row)) == list(range(0, 0x400, 0x20))
    assert all(place < 0x2000000 for place in macs), "an all-bank command names the first bank"
    assert lines[0] == "PIM_WR_GB 0x00000000"
    sections = 1 + 8 + 1 + 2 + 1
    assert lines.count("PIM_BARRIER 0x00000000") == sections - 1, (
        "query, 8 batches of scores, softmax, 2 parts of context, end"
    )


def test_columns_of_a_row_are_one_instruction_of_aim():
    lines = written(RELEASED, attention(2048), "aim").splitlines()
    assert lines[0] == "AiM WR_GB 8 0 1"
    assert "AiM MAC_ABK 32 1 0" in lines
    assert lines[-1] == "AiM EOC"
    assert sum(int(line.split()[2]) for line in lines if "MAC_ABK" in line) == 512


def test_a_trace_of_several_channels_is_read_as_that_of_the_busiest(tmp_path):
    text = written(RELEASED, attention(64), "ramulator")
    other = "".join(f"PIM_MAC_AB 0x{(1 << 30) + 0x20 * column:x}\n" for column in range(3))
    assert read(RELEASED, other + text, "ramulator", tmp_path) == read(RELEASED, text, "ramulator", tmp_path)


def test_the_pool_writes_the_same_and_says_when_the_commands_end():
    file, own = io.StringIO(), io.StringIO()
    lines, cycles = RELEASED.write_commands(attention(100), file, "ramulator")
    assert file.getvalue() == written(RELEASED, attention(100), "ramulator")
    assert lines == file.getvalue().count("\n")
    assert RELEASED.write_commands(attention(100), own)[1] == cycles


def test_what_other_simulators_cannot_express_is_refused():
    with pytest.raises(NotModelled, match="bank groups are 3"):
        written(pool("fc_pim"), Linear(FcRole.QKV, 1, 512, 512), "ramulator")
    with pytest.raises(NotModelled, match="more than one token-row in turn"):
        written(PHYSICAL, Linear(FcRole.QKV, 8, 512, 512), "ramulator")


@pytest.mark.parametrize(
    ("form", "text", "message"),
    [
        ("ramulator", "", "holds no requests"),
        ("ramulator", "PIM_MAC_ABK 0x20\n", ":1: found 'PIM_MAC_ABK'.*did you mean 'PIM_MAC_AB'"),
        ("ramulator", "PIM_MAC_AB 0x20\nPIM_MAC_AB zero\n", ":2: found 'zero', expected an address"),
        ("ramulator", "PIM_MAC_AB\n", "expected a request and an address"),
        ("aim", "AiM MAC_ABK 1 1 0\n", "ends without 'AiM EOC'"),
        ("aim", "AiM MAC_ABK 1 1\nAiM EOC\n", ":1: found 'AiM MAC_ABK 1 1' with another number of fields"),
        ("aim", "AiM EWMUL 1 1 0\n", "found 'EWMUL'"),
        ("aim", "W MEM 0 2 8\n", "expected an AiM instruction"),
        ("aim", "# a comment\nAiM WR_GB two 0 1\n", ":2: found 'AiM WR_GB two 0 1', expected whole numbers"),
    ],
)
def test_a_line_that_is_none_is_refused_with_its_number(form, text, message, tmp_path):
    with pytest.raises(InputError, match=message):
        read(PHYSICAL, text, form, tmp_path)


def test_instructions_may_have_their_prefix_and_hexadecimal_masks(tmp_path):
    back = read(PHYSICAL, "AiM ISR_MAC_ABK 2 0xffffffff 5\nAiM EOC\n", "aim", tmp_path)
    assert [(each.op, each.row) for each in back] == [(Op.ACTIVATE, 5), (Op.MAC, 5), (Op.MAC, 5)]
