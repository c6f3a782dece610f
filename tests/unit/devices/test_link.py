import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from papisim import catalog
from papisim.catalog import Shelf
from papisim.config.system import load_part, load_system
from papisim.devices.link import (
    AllReduce,
    AllToAll,
    BoardEnergy,
    Collective,
    Links,
    OneShot,
    Part,
    Ring,
    Rounds,
    Rows,
    Switch,
)
from papisim.errors import DoesNotFit, NotModelled
from papisim.ops.cost import Cost
from papisim.plan.machine import build_machine

PART = Part(
    kind="link",
    description="round numbers",
    bandwidth_bytes_per_s=100e9,
    latency_s=1e-6,
    energy_j_per_byte=10e-12,
    collective=Collective(latency_s=5e-6, efficiency_ratio=0.5),
)
SHIPPED = [name for name in catalog.shipped(Shelf.DEVICE) if load_part(name).part.kind == "link"]


def links(count=1, **changes):
    return Links("nvlink", PART.model_copy(update=changes), count)


@pytest.mark.parametrize(("count", "seconds"), [(1, 1e-6 + 10e-6), (2, 1e-6 + 5e-6), (10, 1e-6 + 1e-6)])
def test_a_transfer_takes_latency_and_payload_over_the_bandwidth_of_all_links(count, seconds):
    assert links(count).transfer(1e6).time_s == pytest.approx(seconds)


def test_a_message_is_bound_by_the_larger_of_its_latency_and_its_payload():
    """1 µs and 5 µs of latency, 10 ns and 35 ns a kilobyte on one link and among eight ranks."""
    assert [links().transfer(payload).bound for payload in (99e3, 101e3)] == ["link_latency", "link_bandwidth"]
    assert [links().all_reduce(payload, 8).bound for payload in (142e3, 144e3)] == ["link_latency", "link_bandwidth"]


def test_an_empty_transfer_takes_the_latency_and_no_energy():
    assert links().transfer(0) == Cost(1e-6, "link_latency")


@pytest.mark.parametrize(("ranks", "share"), [(2, 1.0), (4, 1.5), (6, 5 / 3), (8, 1.75)])
def test_an_all_reduce_sends_twice_all_but_one_share_of_the_payload_from_each_rank(ranks, share):
    cost = links(ranks).all_reduce(1e6, ranks)
    assert cost.time_s == pytest.approx(5e-6 + share * 1e6 / 50e9)
    assert cost.energy.link_j == pytest.approx(10e-12 * share * 1e6 * ranks)
    assert cost.energy.total_j == cost.energy.link_j


def summing(**algorithms):
    return links(collective=PART.collective.model_copy(update=algorithms))


@pytest.mark.parametrize(("ranks", "latency_s"), [(2, 1e-6), (3, 1.1e-6), (6, 1.4e-6), (8, 1.6e-6)])
def test_one_shot_reads_the_whole_tensor_of_every_other_rank_and_waits_longer_for_each_beyond_two(ranks, latency_s):
    direct = summing(one_shot=OneShot(latency_s=1e-6, rank_latency_s=1e-7, efficiency_ratio=0.8))
    assert direct.all_reduce(0, ranks).time_s == pytest.approx(latency_s)
    cost = direct.all_reduce(8e3, ranks)
    assert cost.time_s == pytest.approx(latency_s + (ranks - 1) * 8e3 / 80e9)
    assert cost.energy.link_j == pytest.approx(ranks * 10e-12 * (ranks - 1) * 8e3)


def test_the_faster_of_one_shot_and_two_shots_is_taken():
    """Among 8 ranks: 1.6 µs and 87.5 ps per byte against 5 µs and 35 ps per byte, equal at 64.8 kB."""
    direct = summing(one_shot=OneShot(latency_s=1e-6, rank_latency_s=1e-7, efficiency_ratio=0.8))
    for payload in (1e3, 60e3, 70e3, 1e6):
        expected = min(1.6e-6 + 7 * payload / 80e9, 5e-6 + 1.75 * payload / 50e9)
        assert direct.all_reduce(payload, 8).time_s == pytest.approx(expected)
    assert direct.all_reduce(60e3, 8).time_s < links().all_reduce(60e3, 8).time_s
    assert direct.all_reduce(70e3, 8).time_s == links().all_reduce(70e3, 8).time_s


def test_a_ring_takes_large_messages_even_where_two_shots_are_faster():
    ring = Ring(above_bytes=1e6, latency_s=50e-6, rank_latency_s=2e-6, efficiency_ratio=0.7)
    rings = summing(ring=ring)
    assert rings.all_reduce(1e6, 4).time_s == pytest.approx(54e-6 + 1.5e6 / 70e9)
    assert rings.all_reduce(1e6, 4).energy.link_j == pytest.approx(4 * 10e-12 * 1.5e6)
    assert rings.all_reduce(1e6 - 1, 4).time_s == links().all_reduce(1e6 - 1, 4).time_s


@pytest.mark.parametrize("rate", [1e9, 1e11, 1e12])
def test_rounds_are_one_less_than_the_ranks_and_carry_a_share_each(rate):
    round_s = 2e-6 + 1e5 / rate
    rounds = summing(rounds=Rounds(fixed_s=2e-6, bytes_per_s=rate))
    cost = rounds.all_reduce(4e5, 4)
    assert cost.time_s == pytest.approx(3 * max(round_s, 1e5 / 100e9))
    assert cost.energy.link_j == pytest.approx(4 * 10e-12 * 3 * 1e5)


def test_a_round_is_never_faster_than_the_link():
    rounds = summing(rounds=Rounds(fixed_s=0.0, bytes_per_s=1e30))
    assert rounds.all_reduce(4e5, 4).time_s == pytest.approx(3 * 1e5 / 100e9)


def test_measured_boards_draw_power_while_they_sum_and_energy_for_what_they_send():
    energy = {"active_w": 50.0, "j_per_byte": 300e-12}
    measured = links(collective=Collective(latency_s=5e-6, efficiency_ratio=0.5, energy=energy))
    cost = measured.all_reduce(1e6, 4)
    sent_bytes = 1.5e6
    assert cost.energy.total_j == pytest.approx(4 * (50.0 * cost.time_s + 300e-12 * sent_bytes))
    assert cost.energy.link_j == pytest.approx(4 * 10e-12 * sent_bytes), "the link's part of it is told apart"
    assert cost.time_s == links().all_reduce(1e6, 4).time_s


def test_one_rank_has_nothing_to_sum_even_where_no_collective_is_known():
    assert links(collective=None).all_reduce(1e6, 1) == Cost(0.0, "link_latency")


def test_without_figures_an_all_reduce_is_refused_and_not_guessed():
    with pytest.raises(NotModelled, match=r"link 'nvlink' \(round numbers\) has no 'collective' figures"):
        links(collective=None).all_reduce(1e6, 2)


@settings(max_examples=60, deadline=None)
@given(st.floats(0, 1e12), st.floats(0, 1e12), st.integers(1, 64), st.integers(2, 64))
def test_more_payload_is_never_faster_and_more_links_are_never_slower(payload, more, count, ranks):
    assert links(count).transfer(payload).time_s <= links(count).transfer(payload + more).time_s
    assert links(count + 1).transfer(payload).time_s <= links(count).transfer(payload).time_s
    assert links().all_reduce(payload, ranks).time_s <= links().all_reduce(payload + more, ranks).time_s
    assert links().all_reduce(payload, ranks).time_s <= links().all_reduce(payload, ranks + 1).time_s


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_link_at_f_times_the_rate_and_a_fth_of_the_latency_takes_a_fth_of_the_time(name):
    part = load_part(name).part
    faster = {"bandwidth_bytes_per_s": 4 * part.bandwidth_bytes_per_s, "latency_s": part.latency_s / 4}
    if part.switch is not None:
        faster["switch"] = part.switch.model_copy(update={"latency_s": part.switch.latency_s / 4})
    fast = part.model_copy(update=faster)
    slow_s, fast_s = (Links(name, each, 6).transfer(1e6).time_s for each in (part, fast))
    assert fast_s == pytest.approx(slow_s / 4)


@pytest.mark.parametrize("name", sorted(catalog.shipped(Shelf.SYSTEM)))
def test_the_tensor_parallel_link_of_every_shipped_system_can_all_reduce(name):
    system = load_system(name)
    parallel = system.spec.roles.tensor_parallel
    group = Links(parallel.link, system.parts[parallel.link], system.spec.links[parallel.link].count)
    time_s = group.all_reduce(1e6, parallel.ranks).time_s
    assert time_s > 0 if parallel.ranks > 1 else time_s == 0


SWITCHED = PART.model_copy(update={"switch": Switch(ports=4, latency_s=1e-7), "most_devices": 64})


@pytest.mark.parametrize(("devices", "levels"), [(0, 1), (4, 1), (5, 2), (16, 2), (17, 3), (64, 3)])
def test_a_message_through_a_fabric_passes_as_many_switches_as_its_devices_need(devices, levels):
    fabric = Links("cxl", SWITCHED, 2, devices)
    assert fabric.transfer(0).time_s == pytest.approx(1e-6 + levels * 1e-7)


def test_a_bus_holds_so_many_devices_on_each_link_and_not_one_more():
    bus = PART.model_copy(update={"most_devices": 32})
    assert Links("pcie", bus, 2, 64).reached == 32
    with pytest.raises(DoesNotFit, match="33 devices needed, 32 devices there"):
        Links("pcie", bus, 2, 65)


def test_a_fabric_reaches_all_devices_from_each_link():
    assert Links("cxl", SWITCHED, 8, 64).reached == 64
    with pytest.raises(DoesNotFit, match="65 devices needed"):
        Links("cxl", SWITCHED, 8, 65)


def test_papi_grows_beyond_its_bus_with_cxl_alone_up_to_what_the_paper_says():
    def links(count, part):
        return build_machine(
            load_system("papi", [f"devices.attn_pim.count={count}", f"links.pcie.part={part}"])
        ).links

    with pytest.raises(DoesNotFit, match="33 devices"):
        links(193, "pcie5_x16")  # six buses of 32
    few, many = links(32, "cxl3_x16")["pcie"], links(4096, "cxl3_x16")["pcie"]
    assert many.transfer(0).time_s > few.transfer(0).time_s
    with pytest.raises(DoesNotFit, match="4,097 devices"):
        links(4097, "cxl3_x16")


def test_the_collective_of_a_library_replaces_the_figures_beside_it_and_keeps_their_boards():
    direct = AllReduce(latency_s=1e-6, efficiency_ratio=0.5)
    energy = BoardEnergy(active_w=10.0, j_per_byte=1e-9)
    own = Collective(latency_s=9e-6, efficiency_ratio=0.5, energy=energy, libraries={"direct": direct})
    used = own.model_copy(update={"use": "direct"}).used
    assert own.used is own
    assert used == direct.model_copy(update={"energy": energy})


def test_a_collective_uses_no_library_that_it_lacks():
    with pytest.raises(ValueError, match="'use' names no library: found 'direkt'"):
        Collective(
            latency_s=1e-6,
            efficiency_ratio=0.5,
            use="direkt",
            libraries={"direct": AllReduce(latency_s=0, efficiency_ratio=1)},
        )


def test_an_engines_one_shot_all_reduce_of_one_mebibyte_on_two_h200_takes_what_was_measured():
    """kernels/measured/h200/all_reduce_vllm.csv: 4.0 us at 1 KiB, 8.17 us at 1 MiB, 19.7 us at 4 MiB; the fit is to another table."""
    part = load_part("nvlink4").part
    part = part.model_copy(update={"collective": part.collective.model_copy(update={"use": "vllm_one_shot"})})
    links = Links("nvlink", part, 2)
    for n_bytes, time_s in ((1024, 4.0e-6), (2**20, 8.17e-6), (2**22, 19.75e-6)):
        assert links.all_reduce(n_bytes, 2).time_s == pytest.approx(time_s, rel=0.12)


# --- parts of sums, and rows to experts ---------------------------------------------------------------------------


def test_a_reduce_scatter_is_half_of_an_all_reduce_in_two_shots():
    whole, half = links().all_reduce(1e6, 8), links().reduce_scatter(1e6, 8)
    assert half.time_s == pytest.approx(whole.time_s / 2)
    assert half.energy.link_j == pytest.approx(whole.energy.link_j / 2)
    assert links().reduce_scatter(1e6, 1).time_s == 0


def test_a_library_that_sums_in_one_shot_has_no_half():
    one_shot = PART.collective.model_copy(
        update={"one_shot": OneShot(latency_s=0, rank_latency_s=0, efficiency_ratio=1)}
    )
    assert links(collective=one_shot).all_reduce(1e3, 8).time_s < links().all_reduce(1e3, 8).time_s
    assert links(collective=one_shot).reduce_scatter(1e3, 8) == links().reduce_scatter(1e3, 8)


def test_figures_of_a_reduce_scatter_replace_the_half():
    own = PART.collective.model_copy(
        update={"scatter": OneShot(latency_s=2e-6, rank_latency_s=1e-6, efficiency_ratio=0.5)}
    )
    assert links(collective=own).reduce_scatter(1e6, 4).time_s == pytest.approx(2e-6 + 2e-6 + 0.75e6 / 50e9)
    assert links(collective=own).all_reduce(1e6, 4) == links().all_reduce(1e6, 4)


def to_all(once_per, latency_s, efficiency_ratio):
    out = OneShot(latency_s=latency_s, rank_latency_s=0, efficiency_ratio=efficiency_ratio)
    return AllToAll(once_per=once_per, dispatch=out, combine=out.model_copy(update={"latency_s": 2 * latency_s}))


def test_rows_go_by_the_fastest_library():
    """1 MB to each expert at 100 GB/s after 1 us, or 0.5 MB once per rank after 6 us."""
    group = links(all_to_all={"direct": to_all("expert", 1e-6, 1.0), "once": to_all("rank", 6e-6, 1.0)})
    few, many = Rows(1e5, 0.5e5, 4e5, 2e5), Rows(2e6, 1e6, 8e6, 4e6)
    assert group.all_to_all(few, back=False).time_s == pytest.approx(1e-6 + 1e-6)
    assert group.all_to_all(few, back=False).energy.link_j == pytest.approx(10e-12 * 4e5)
    assert group.all_to_all(many, back=False).time_s == pytest.approx(6e-6 + 10e-6)
    assert group.all_to_all(many, back=False).energy.link_j == pytest.approx(10e-12 * 4e6)
    assert group.all_to_all(few, back=True).time_s == pytest.approx(2e-6 + 1e-6)


def test_links_without_figures_send_no_rows():
    with pytest.raises(NotModelled, match="has no 'all_to_all' figures"):
        links().all_to_all(Rows(1, 1, 1, 1), back=False)
    with pytest.raises(NotModelled, match="has no 'collective' figures"):
        links(collective=None).reduce_scatter(1, 2)


@pytest.mark.parametrize(
    ("ranks", "dispatch_us", "combine_us"),
    [(16, 118, 195), (32, 155, 273), (64, 173, 314), (128, 192, 369), (256, 194, 360)],
)
def test_rows_between_nodes_take_what_deepep_publishes(ranks, dispatch_us, combine_us):
    """Its table of low-latency kernels: 128 rows per rank of 7,168 elements to 8 experts; those within a node of eight stay."""
    network, rows = Links("ib", load_part("infiniband_ndr").part, ranks), 128 * 8 * (1 - 8 / ranks)
    times = []
    for row_bytes, back in ((7168 * (1 + 4 / 128), False), (7168 * 2, True)):
        sent = rows * row_bytes
        times.append(network.all_to_all(Rows(sent, sent, sent * ranks, sent * ranks), back=back).time_s)
    assert times == pytest.approx([dispatch_us * 1e-6, combine_us * 1e-6], rel=0.06)


@pytest.mark.parametrize(
    ("rows", "dispatch_us", "combine_us"),
    [(1, 11.9, 12.6), (64, 23.0, 38.8), (256, 60.5, 124.5), (1024, 211.1, 481.0)],
)
def test_rows_among_eight_h200_take_what_aiconfigurator_publishes(rows, dispatch_us, combine_us):
    """DeepEP's low-latency kernels in SGLang 0.5.12, 7,168 elements to 8 of 256 experts: in-sample."""
    part, library = load_part("nvlink4").part, "deepep_low_latency"
    nvlink = Links("nvlink", part.model_copy(update={"all_to_all": {library: part.all_to_all[library]}}), 8)
    times = []
    for row_bytes, back in ((7168 * (1 + 4 / 128), False), (7168 * 2, True)):
        sent = rows * 8 * 7 / 8 * row_bytes
        times.append(nvlink.all_to_all(Rows(sent, sent, 8 * sent, 8 * sent), back=back).time_s)
    assert times == pytest.approx([dispatch_us * 1e-6, combine_us * 1e-6], rel=0.17)
