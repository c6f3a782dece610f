"""What a power meter shows after steady steps: the energy of its last second, whatever ran in it."""

import csv

import pytest

from papisim.calibration.engine.log import read_log
from papisim.pricing.engine_step import Composition, StepPricer
from papisim.validation.engine import Comparison
from papisim.validation.served import Simulator
from papisim.validation.watts import metered, watts

#: with an operand ratio, which a comparison otherwise takes from the weights of a log
SIMULATOR = Simulator(None, None, "vllm", ("devices.gpu.part.fitted_energy.operand_ratio=0.8",))
LARGE, SMALL = Composition(32, 32, 32768), Composition(1, 1, 256)


@pytest.fixture(scope="module")
def pricer():
    return StepPricer(SIMULATOR.experiment("h200", "llama7b", {"engine.host.scheduling": "synchronous"}))


def steps_of(cell, step, dt_s, first_s, n):
    return [
        {
            "gpu": "h200", "engine": "llama7b_sync", "block": "decode", "cell": cell, "dt_s": dt_s, "t_schedule_s": 0,
            "t_execute_s": 0, "t_sample_s": 0, "t_update_s": 0, "n_decode": step.n_decode, "decode_tokens": step.decode_rows,
            "decode_ctx_sum": step.cached_tokens, "prefill_list": "", "sched_tokens": step.decode_rows,
            "t0_s": first_s + place * dt_s,
        }
        for place in range(n)
    ]  # fmt: skip


@pytest.fixture
def compared(tmp_path):
    """Return a function that writes a log of steps and readings, and compares it."""

    def make(steps, **readings):
        cells = [
            {"gpu": "h200", "engine": "llama7b_sync", "block": "decode", "cell": cell, "batch": 1, "ctx": 0, "k": 0, "n": 3,
             "median_ms": 10, "power_w": power_w}
            for cell, power_w in readings.items()
        ]  # fmt: skip
        for name, rows in (("steps", steps), ("cells", cells)):
            with (tmp_path / f"{name}.csv").open("w", newline="") as file:
                writer = csv.DictWriter(file, list(rows[0]))
                writer.writeheader()
                writer.writerows(rows)
        return Comparison(read_log(tmp_path), SIMULATOR)

    return make


def test_a_meter_of_equal_steps_shows_their_energy_per_time_and_idle_power(compared, pricer):
    steps = steps_of("b32c1024", LARGE, 0.01, 5.0, 200)
    power_w = pricer.price(LARGE).energy_j / 0.01 + pricer.static_w
    (reading,) = metered(compared(steps, b32c1024=power_w))
    assert reading.predicted_w == pytest.approx(power_w)
    (errors,) = watts(compared(steps, b32c1024=power_w / 1.25))
    assert errors.bias == pytest.approx(0.25)
    assert (errors.n, errors.measured_w) == (1, pytest.approx(power_w / 1.25))


def test_a_meter_still_shows_what_ran_within_the_last_second(compared, pricer):
    """Of the last second, 0.2 s are small steps and 0.8 s large ones."""
    steps = [*steps_of("b32c1024", LARGE, 0.01, 0.0, 300), *steps_of("b1c256", SMALL, 0.005, 3.0, 40)]
    reading = next(each for each in metered(compared(steps, b1c256=400, b32c1024=500)) if each.cell == "b1c256")
    seen_j = 40 * pricer.price(SMALL).energy_j + 80 * pricer.price(LARGE).energy_j
    assert reading.predicted_w == pytest.approx(seen_j + pricer.static_w)


def test_a_meter_shows_idle_power_where_nothing_ran_and_a_new_clock_begins_with_nothing(compared, pricer):
    before = steps_of("b32c1024", LARGE, 0.01, 50.0, 200)
    steps = [*before, *steps_of("b1c256", SMALL, 0.005, 1.0, 20)]
    (reading,) = metered(compared(steps, b1c256=100))
    assert reading.predicted_w == pytest.approx(20 * pricer.price(SMALL).energy_j + pricer.static_w)


def test_cells_without_a_reading_or_without_times_are_not_compared(compared):
    untimed = [
        {name: value for name, value in row.items() if name != "t0_s"}
        for row in steps_of("b1c256", SMALL, 0.01, 0, 9)
    ]
    assert list(metered(compared(untimed, b1c256=100))) == []
