"""What papers leave open about a device can be chosen, and each choice moves the cost as its physics says."""

import pytest

from papisim.config.system import load_part
from papisim.devices.gpu import Pool as GpuPool
from papisim.devices.link import Links
from papisim.devices.pim import Pool
from papisim.ops.kernel import Attention, Elementwise, FcRole, KernelClass, Linear

CHARGED = ["charged={normalisation: {fixed_s: 6.87 us, bytes_per_s: 1 TB/s}}"]
ROUNDS = "collective={latency_s: 0, efficiency_ratio: 1, rounds: {fixed_s: 6.06 us, bytes_per_s: 111 GB/s}}"


def pim(name, *overrides, count=30):
    return Pool(name, load_part(name, overrides).part, count)


def fc(rows):
    return Linear(FcRole.QKV, rows, 8192, 8192)


def attention(tlp, requests=4, kv=2048):
    return Attention(requests, requests * tlp, requests * kv, kv, requests * tlp * kv, 64, 64, 128)


def norm(moved=32768):
    return Elementwise(KernelClass.NORMALISATION, 0, moved // 2, moved // 2)


class TestWeightReuse:
    def test_without_it_a_weight_is_read_and_its_rows_opened_once_a_token_row(self):
        reread, once = (pim("attacc", *o).priced(fc(8)).activity for o in (["weight_reuse_rows=1"], []))
        assert reread.columns == pytest.approx(8 * once.columns)
        assert reread.activations == pytest.approx(8 * once.activations)
        assert reread.macs == pytest.approx(once.macs)

    def test_without_it_time_grows_with_rows_from_the_first(self):
        device = pim("attacc", "weight_reuse_rows=1")
        assert device.price(fc(8)).time_s == pytest.approx(8 * device.price(fc(1)).time_s, rel=0.05)

    def test_reading_again_is_slower_and_costs_energy(self):
        again, once = pim("attacc", "weight_reuse_rows=1").price(fc(16)), pim("attacc").price(fc(16))
        assert again.time_s > once.time_s
        assert again.energy.total_j > once.energy.total_j

    def test_one_row_cannot_tell(self):
        assert pim("attacc", "weight_reuse_rows=1").price(fc(1)) == pim("attacc").price(fc(1))

    def test_more_than_the_buffers_hold_changes_nothing(self):
        assert pim("fc_pim", "weight_reuse_rows=4096").price(fc(64)) == pim("fc_pim").price(fc(64))


class TestQueryReuse:
    def test_without_it_caches_are_read_once_a_draft_token(self):
        device = pim("attacc", "query_reuse_rows=1", count=60)
        columns = [device.priced(attention(tlp)).activity.columns for tlp in (1, 4)]
        assert columns[1] == 4 * columns[0]

    def test_with_it_caches_are_read_once_for_all(self):
        device = pim("attacc", count=60)
        assert device.priced(attention(4)).activity.columns == device.priced(attention(1)).activity.columns

    def test_a_single_token_cannot_tell(self):
        other, kernel = pim("attacc", "query_reuse_rows=1"), attention(1)
        assert other.price(kernel) == pim("attacc").price(kernel)


class TestPace:
    def test_every_use_waits_for_the_gap_of_an_unshared_column(self):
        free, paced = pim("attacc"), pim("attacc", "fpu.paced_by_gap=true")
        gap = free.column_gap(1)
        assert [paced.occupancy(uses) for uses in (1, 4, 16)] == [gap, 4 * gap, 16 * gap]
        assert free.occupancy(16) < paced.occupancy(16)

    def test_a_unit_slower_than_the_gap_still_sets_the_pace(self):
        slow = ["fpu.cycles_per_column=8"]
        assert pim("attacc", *slow, "fpu.paced_by_gap=true").occupancy(4) == pim("attacc", *slow).occupancy(4)

    def test_four_units_a_bank_share_each_wait(self):
        paced = pim("fc_pim", "fpu.paced_by_gap=true", "timing.column_gap=6", "power_limited=false")
        assert [paced.occupancy(uses) for uses in (1, 4, 8)] == [6, 6, 12]


class TestCharges:
    def gpu(self, *overrides):
        return GpuPool("gpu", load_part("a100_hbm3", overrides).part, 6)

    def test_a_charge_is_a_fixed_time_and_a_rate_on_any_device(self):
        expected = 6.87e-6 + 32768 / 1e12
        assert self.gpu(*CHARGED).price(norm()).time_s == pytest.approx(expected)
        assert pim("attacc", *CHARGED).price(norm()).time_s == pytest.approx(expected, rel=1e-3)

    def test_energy_stays_the_devices_own(self):
        for price in (lambda o: self.gpu(*o).price(norm()), lambda o: pim("attacc", *o).price(norm())):
            assert price(CHARGED).energy == price([]).energy

    def test_other_classes_keep_the_devices_own_time(self):
        kernel = Elementwise(KernelClass.RESIDUAL, 100, 1000, 1000)
        assert self.gpu(*CHARGED).price(kernel) == self.gpu().price(kernel)

    def test_a_charge_without_a_rate_does_not_grow(self):
        device = self.gpu("charged={normalisation: {fixed_s: 7 us}}")
        assert device.price(norm(64)).time_s == device.price(norm(10**9)).time_s == 7e-6


class TestRounds:
    def links(self, *overrides):
        return Links("nvlink", load_part("nvlink3", overrides).part, 6)

    def test_small_tensors_take_a_fixed_time_a_round(self):
        cost = self.links(ROUNDS).all_reduce(16384, 6)
        assert cost.time_s == pytest.approx(5 * (6.06e-6 + 16384 / 6 / 111e9))
        assert cost.bound == "link_latency"

    def test_a_bandwidth_below_the_rate_sets_the_time_of_large_ones(self):
        slow = self.links(ROUNDS, "bandwidth_bytes_per_s=50 GB/s").all_reduce(6e9, 6)
        assert slow.time_s == pytest.approx(5 * 1e9 / 50e9)

    def test_one_rank_has_nothing_to_sum(self):
        assert self.links(ROUNDS).all_reduce(1e6, 1).time_s == 0

    def test_half_a_ring_sends_half_the_bytes(self):
        rounds, shots = (
            self.links(ROUNDS).all_reduce(1e6, 6),
            self.links("collective.one_shot=null").all_reduce(1e6, 6),
        )
        assert rounds.energy.link_j == pytest.approx(shots.energy.link_j / 2)
