"""The fast path equals the literal scheduler, cycle for cycle."""

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from papisim.config.system import load_part
from papisim.devices.pim import Pool
from papisim.devices.pim.commands import stream
from papisim.devices.pim.fast_path import time_program
from papisim.devices.pim.host import Host
from papisim.devices.pim.level import Level
from papisim.devices.pim.mapping.phases import ChannelPhase, Moves, Repeat
from papisim.devices.pim.part import FurtherLevel
from papisim.devices.pim.scheduler import Channel
from papisim.devices.pim.timing import CommandCounts, Sweep, Timing
from papisim.ops.kernel import Attention, FcRole, Linear

NAMES = ("attacc", "fc_pim", "attn_pim", "hbm_pim", "hbm4_pim", "hbm4_base_pim")
PARTS = {name: load_part(name).part for name in NAMES}


@st.composite
def timings(draw):
    rfc = draw(st.integers(1, 500))
    ras, rp = draw(st.integers(1, 60)), draw(st.integers(1, 30))
    return Timing(
        tck_s=1e-9, rcd=draw(st.integers(1, 30)), rp=rp, ras=ras, rc=draw(st.integers(1, ras + rp)),
        rtp=draw(st.integers(1, 30)), wr=1, cwl=1, burst=draw(st.integers(1, 6)), turnaround=draw(st.integers(0, 40)),
        column_gap=draw(st.integers(1, 8)), refi=rfc + draw(st.integers(50, 3000)), rfc=rfc,
        rrd=draw(st.integers(1, 9)), faw=draw(st.integers(1, 50)), act_cycles=draw(st.integers(1, 3)),
        pre_cycles=draw(st.integers(1, 3)), column_cycles=draw(st.integers(1, 3)),
    )  # fmt: skip


counts = st.builds(CommandCounts, st.integers(1, 12), st.integers(1, 4), st.integers(1, 12))


def issuable(sweep):
    """Return the sweep as mappings issue it: the host reads one column per command, and the command bus keeps up."""
    macs = 1 if sweep.host else sweep.counts.macs
    gap = max(sweep.gap, 3 * macs if macs > 1 else 1)
    return sweep._replace(gap=gap, counts=sweep.counts._replace(macs=macs))


sweeps = st.builds(Sweep, st.integers(0, 50), st.integers(1, 20), st.integers(1, 90), counts, st.booleans()).map(
    issuable
)
bursts = st.integers(0, 20)
moves = st.builds(Moves, bursts, bursts, st.integers(0, 300), bursts, st.integers(0, 40), bursts).map(
    lambda some: some if any((*some[:4], some.reads)) else Moves()
)
phases = st.builds(ChannelPhase, sweeps, moves)
programs = st.lists(st.one_of(phases, st.builds(Repeat, st.lists(phases, max_size=2), st.integers(0, 4))), max_size=4)


@settings(max_examples=100, deadline=None)
@given(timing=timings(), program=programs)
def test_any_program_of_phases_is_timed_as_it_is_issued(timing, program):
    channel = Channel(timing)
    literal = channel.run(stream(program, timing))
    fast = time_program(timing, program)
    assert (fast.cycles + fast.refreshes * timing.rfc, fast.refreshes) == (literal, channel.refreshes)


def kernels():
    linear = st.builds(Linear, st.just(FcRole.QKV), st.integers(1, 20), st.integers(1, 600), st.integers(1, 1500))

    def attention(requests, tlp, kv, kv_heads, group, head_dim):
        tokens = requests * kv
        return Attention(requests, requests * tlp, tokens, kv, tokens * tlp, kv_heads * group, kv_heads, head_dim)

    sizes = st.integers(1, 20), st.integers(1, 4), st.integers(1, 300), st.integers(1, 4), st.integers(1, 4)
    return st.one_of(linear, st.builds(attention, *sizes, st.sampled_from([64, 80, 128])))


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(NAMES),
    kernel=kernels(),
    count=st.integers(1, 6),
    timing=timings(),
    gap=st.booleans(),
    fpus=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    host=st.none() | st.builds(Host, mode=st.sampled_from(["blocked", "interleaved"]), share=st.floats(0.01, 0.4)),
)
def test_any_kernel_on_any_stack_is_timed_as_it_is_issued(name, kernel, count, timing, gap, fpus, host):
    fpu = PARTS[name].fpu.model_copy(update={"at": Level.BANK, "fpus": fpus[0], "per_banks": fpus[1]})
    update = {"timing": timing, "power_limited": gap, "fpu": fpu, "refresh": "from_idle", "host": host}
    pool = Pool(name, PARTS[name].model_copy(update=update), count)
    commands, rules = pool.commands(kernel)
    channel = Channel(timing, rules)
    literal = channel.run(commands)
    priced = pool.priced(kernel)
    assert (priced.cycles, priced.refreshes) == (literal, channel.refreshes)


@settings(max_examples=40, deadline=None)
@given(
    heads=st.integers(1, 70),
    kv=st.integers(1, 700),
    head_dim=st.sampled_from([64, 80, 128, 256]),
    timing=timings(),
    depth=st.integers(2, 40),
    limited=st.booleans(),
)
def test_the_released_schedule_is_timed_as_it_is_issued(heads, kv, head_dim, timing, depth, limited):
    part = load_part("attacc", ["mapping=attacc_released", f"generator.queue_depth={depth}"]).part
    pool = Pool("attacc", part.model_copy(update={"timing": timing, "power_limited": limited}), 1)
    assume(timing.rfc + timing.rp + timing.ras + timing.rcd + 200 < timing.refi)
    kernel = Attention(heads, heads, heads * kv, kv, heads * kv, 1, 1, head_dim)
    commands, rules = pool.commands(kernel)
    channel = Channel(timing, rules)
    literal = channel.run(commands)
    priced = pool.priced(kernel)
    assert (priced.cycles, priced.refreshes) == (literal, channel.refreshes)


@settings(max_examples=30, deadline=None)
@given(timing=timings(), program=programs)
def test_no_command_is_issued_before_one_it_depends_on(timing, program):
    channel = Channel(timing)
    channel.run(stream(program, timing))
    open_row, last_mac, activated = False, -1000, -1000
    for cycle, command in channel.issued:
        if command.op == "ACTAB":
            assert not open_row
            open_row, activated = True, cycle
        elif command.op == "MACAB":
            assert open_row
            assert cycle >= activated + timing.rcd
            last_mac = cycle
        elif command.op == "PREAB":
            assert cycle >= max(activated + timing.ras, last_mac + timing.rtp)
            open_row = False
        elif command.op == "REFAB":
            assert not open_row


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(NAMES),
    at=st.sampled_from(list(Level)),
    kernel=kernels(),
    count=st.integers(1, 3),
    timing=timings(),
    fpus=st.integers(1, 20),
)
def test_every_level_is_timed_as_it_is_issued_and_no_faster_than_its_ports(name, at, kernel, count, timing, fpus):
    part = PARTS[name]
    fpu = part.fpu.model_copy(update={"at": at, "fpus": fpus, "per_banks": at.banks(part.organisation)})
    update = {"timing": timing, "fpu": fpu, "refresh": "from_idle", "power_limited": False}
    if at is Level.BASE_DIE:
        update["moves_beside_macs"] = True
    pool = Pool(name, part.model_copy(update=update), count)
    commands, rules = pool.commands(kernel)
    channel = Channel(timing, rules)
    literal = channel.run(commands)
    priced = pool.priced(kernel)
    assert (priced.cycles, priced.refreshes) == (literal, channel.refreshes)
    read = kernel.weight_bytes if isinstance(kernel, Linear) else kernel.kv_bytes
    ports = count * part.organisation.banks / at.banks(part.organisation)
    through = ports * part.organisation.column_bytes / at.gap(part.organisation, timing)
    assert pool.bandwidth_bytes_per_s <= through / timing.tck_s * (1 + 1e-12)
    assert priced.cycles >= read / through * (1 - 1e-9)


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(NAMES),
    levels=st.lists(st.sampled_from(list(Level)), min_size=2, max_size=3, unique=True),
    kernel=kernels(),
    timing=timings(),
    fpus=st.lists(st.integers(1, 20), min_size=3, max_size=3),
)
def test_several_levels_are_as_fast_as_the_best_of_them_and_no_faster_than_all_together(
    name, levels, kernel, timing, fpus
):
    part = PARTS[name].model_copy(
        update={"timing": timing, "refresh": "from_idle", "power_limited": False, "moves_beside_macs": True}
    )
    alone = [
        part.model_copy(update={"fpu": part.fpu.model_copy(update={"at": at, "fpus": n, "per_banks": at.banks(part.organisation)})})
        for at, n in zip(levels, fpus, strict=False)
    ]  # fmt: skip
    further = {one.fpu.at: FurtherLevel(fpu=one.fpu, buffers=one.buffers) for one in alone[1:]}
    pool = Pool(name, alone[0].model_copy(update={"further_levels": further}), 1)
    costs = [Pool(name, one, 1).price(kernel) for one in alone]
    together = pool.price(kernel)
    assert together.time_s == min(cost.time_s for cost in costs)
    assert together.time_s >= 1 / sum(1 / cost.time_s for cost in costs)
    assert together in costs
    commands, rules = pool.commands(kernel)
    assert Channel(timing, rules).run(commands) == pool.priced(kernel).cycles
