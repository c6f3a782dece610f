"""The clock of a board at its power limit: closed forms, and two boards as measured."""

import csv
from pathlib import Path

import pytest

from papisim.config.system import load_part
from papisim.devices.base import DEVICE
from papisim.devices.gpu.clock import NOTHING, slowed
from papisim.devices.gpu.energy import kernel_energy
from papisim.errors import InputErrors, PapisimError
from papisim.ops.cost import Energy
from papisim.ops.kernel import Attention, FcRole, Linear
from papisim.pricing.kernel import pool_of

MEASURED = Path(__file__).parents[3] / "kernels" / "measured" / "h200"
K, N = 4096, 12288


def h200(*overrides):
    return load_part("h200", overrides).part


def product(part, rows, time_s, n=N, k=K, input_bytes=2.0):
    moved = 2 * (rows * n + rows * k + n * k)
    return kernel_energy(part, 2.0 * rows * n * k, moved, time_s, input_bytes=input_bytes)


def test_work_below_the_limit_keeps_its_clock():
    assert slowed(h200(), 1e-3, Energy(gpu_compute_j=0.3, gpu_memory_j=0.1)) == NOTHING
    assert slowed(h200("clock=null"), 1e-3, Energy(gpu_compute_j=3.0)) == NOTHING


def test_padded_rows_of_decoding_attention_compute_and_prompts_have_none():
    def joules(causal, *overrides):
        pool = pool_of(load_part("h200", overrides), 1)
        rows = 1024 if causal else 64
        return pool.price(Attention(64, rows, 64 * 1024, 1024, 64 * 1024, 32, 8, 128, causal=causal)).energy

    decoding, prompts = (
        joules(causal).total_j - joules(causal, "fitted_energy.padded_j_per_byte=0").total_j
        for causal in (False, True)
    )
    caches = 64 * 1024 * 8 * 128 * 4
    assert decoding == pytest.approx(38e-12 * caches, rel=0.01)
    assert prompts == 0


def test_arithmetic_alone_settles_where_cubic_power_meets_the_limit():
    """No traffic and no power of its own: ``C·x² = L·T/x``, so that x is the cube root of limit over power."""
    part = h200("fitted_energy.active_w=0")
    above_w = part.settled_w - part.static_w
    added_s, change = slowed(part, 1e-3, Energy(gpu_compute_j=8 * above_w * 1e-3))
    assert added_s == pytest.approx(1e-3, rel=1e-6)  # half the clock
    assert change.gpu_compute_j == pytest.approx(-0.75 * 8 * above_w * 1e-3, rel=1e-6)


@pytest.mark.parametrize("idle_s", [0.0, 1e-4])
def test_a_board_at_its_limit_draws_it(idle_s):
    part, time_s = h200(), 270e-6
    energy = product(part, 2048, time_s)
    added_s, change = slowed(part, time_s, energy, idle_s=idle_s)
    assert added_s > 0
    drawn_j = energy.total_j + change.total_j + part.static_w * (time_s + added_s + idle_s)
    assert drawn_j == pytest.approx(part.settled_w * (time_s + added_s + idle_s), rel=1e-6)


def test_another_limit_than_the_measured_one_is_told_for_every_kernel():
    kernel = Linear(FcRole.FEED_FORWARD_UP, 2048, N, K, 2.0)
    at_400, at_700 = (DEVICE.make(DEVICE.load("gpu"), "gpu", h200(f"board_w={limit} W"), 1) for limit in (400, 700))
    assert at_700.outside(kernel) is None
    assert at_400.outside(kernel) == "power limit of 400 W, not 700 W"
    unlimited = DEVICE.make(DEVICE.load("gpu"), "gpu", h200("board_w=400 W", "clock=null"), 1)
    assert unlimited.outside(kernel) is None


def test_pauses_give_the_clock_back():
    part, time_s = h200(), 270e-6
    energy = product(part, 2048, time_s)
    added = [slowed(part, time_s, energy, idle_s=share * time_s).added_s for share in (0, 0.1, 0.3, 1)]
    assert added == sorted(added, reverse=True)
    assert added[-1] == 0  # power.csv: as much pause as load


def table(name):
    with (MEASURED / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_products_without_a_pause_take_as_long_as_on_two_boards():
    part, errors = h200(), []
    for row in table("sustained"):
        rows, n, k, burst_s = int(row["rows"]), int(row["n"]), int(row["k"]), float(row["burst_s"])
        added_s = slowed(part, burst_s, product(part, rows, burst_s, n, k)).added_s
        errors.append(abs((burst_s + added_s) / float(row["sustained_s"]) - 1))
    assert sum(errors) / len(errors) < 0.045
    assert max(errors) < 0.09
    alone = [
        row for row in table("power") if row["pattern"] == row["load"] + ":20" and row["load"].startswith("product_")
    ]
    bursts = {row["load"]: float(row["launch_s"]) for row in alone if row["to_s"] == "0.02"}
    settled = {row["load"]: float(row["launch_s"]) for row in alone if row["from_s"] == "0.64"}
    found = {
        load: burst_s + slowed(part, burst_s, product(part, int(load.removeprefix("product_")), burst_s)).added_s
        for load, burst_s in bursts.items()
    }
    assert max(abs(found[load] / settled[load] - 1) for load in found) < 0.05


@pytest.mark.parametrize(("rows", "burst_s", "settled_s"), [(512, 43.2e-6, 51.6e-6), (4096, 296.1e-6, 348.7e-6)])
def test_arithmetic_on_eight_bits_takes_half_the_energy(rows, burst_s, settled_s):
    """power.csv: product8_512 and product8_4096."""
    part, moved = h200(), rows * K + N * K + 2 * rows * N
    energy = kernel_energy(part, 2.0 * rows * N * K, moved, burst_s, input_bytes=1)
    assert burst_s + slowed(part, burst_s, energy).added_s == pytest.approx(settled_s, rel=0.05)


def test_a_limit_below_what_the_board_draws_without_work_is_refused():
    with pytest.raises((PapisimError, InputErrors), match="expected more than the 129"):
        h200("board_w=130")


def test_products_of_dummy_weights_take_less_energy_unless_the_user_says_otherwise():
    part = h200()
    assert part.with_dummy_weights().fitted_energy.operand_ratio == part.clock.dummy_weights_ratio < 1
    given = h200("fitted_energy.operand_ratio=0.9")
    assert given.with_dummy_weights() is given
    assert h200("clock=null").with_dummy_weights().fitted_energy.operand_ratio == 1
