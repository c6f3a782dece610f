import pandas as pd
import pytest

from papisim.ops.cost import Energy
from papisim.plan.phase import Category, Phase
from papisim.pricing import crossover
from papisim.pricing.crossover import BATCHES, TLPS, crossover_rows

FIXED = "workload.lengths={kind: fixed, input_tokens: 100, output_tokens: 2}"


def test_a_priced_step_is_the_step_that_a_run_takes(run):
    finished = run(hw="papi", batch=16, tlp=1, set=[FIXED])
    (step,) = [each for each in finished.ledger.steps if each.kind == "decode"]
    rows = pd.DataFrame(crossover_rows(("papi",), (finished,))).set_index(["batch", "tlp"])
    assert rows.loc[(16, 1), "kv_tokens"] == 100
    assert rows.loc[(16, 1), "step_s"] == pytest.approx(step.time_s)
    assert rows.loc[(16, 1), "fc_device"] == step.fc_device


def test_the_map_covers_its_grid_for_each_machine_once_whatever_the_speculation(run):
    runs = (run(hw="papi", batch=2), run(hw="papi", batch=2, tlp=2), run(hw="gpu_only", batch=2))
    rows = pd.DataFrame(crossover_rows(("a", "b", "c"), runs))
    assert list(rows["machine"].unique()) == ["a", "c"]
    assert len(rows) == 2 * len(BATCHES) * len(TLPS)


def test_more_work_in_flight_never_makes_a_step_shorter_where_fc_is_pinned(run):
    rows = pd.DataFrame(crossover_rows(("gpu",), (run(hw="gpu_only", batch=2),)))
    by_batch = rows.pivot_table(index="batch", columns="tlp", values="step_s")
    assert (by_batch.diff().iloc[1:] >= -1e-12).all(axis=None)
    assert (by_batch.T.diff().iloc[1:] >= -1e-12).all(axis=None)


def test_caches_that_do_not_fit_have_no_time(run):
    long = "workload.lengths={kind: fixed, input_tokens: 4000, output_tokens: 2}"
    crowded = run(
        hw="gpu_only",
        trace="llama65b",
        batch=1,
        set=[long, "devices.gpu.count=2"],
    )
    rows = pd.DataFrame(crossover_rows(("gpu",), (crowded,)))
    fits = rows[rows["tlp"] == 1].set_index("batch")["step_s"].notna()
    assert fits[1]
    assert not fits[128]
    assert fits.is_monotonic_decreasing


def test_a_step_fits_only_with_its_new_tokens(run):
    """LLaMA-7B on one A100: caches of 128 requests that fill the memory to less than a token each leave no room for another."""
    token_bytes = 2 * 32 * 4096 * 2
    capacity = run("a100_single", batch=1, set=[FIXED]).ledger.kv_capacity_bytes
    longest = int(capacity // (128 * token_bytes))
    lengths = f"workload.lengths={{kind: fixed, input_tokens: {longest}, output_tokens: 2}}"
    rows = pd.DataFrame(crossover_rows(("a",), (run("a100_single", batch=1, set=[lengths]),)))
    by_size = rows.set_index(["batch", "tlp"])
    assert (rows.kv_tokens == longest).all()
    assert 128 * longest * token_bytes <= capacity, "the caches as they are fit"
    assert by_size.step_s[128].isna().all(), "with a new token they do not"
    assert by_size.step_s[96].notna().all()
    assert (rows.fc_device.isna() == rows.step_s.isna()).all()


def test_caches_are_as_long_as_on_average_over_requests_and_iterations(run):
    """Two requests of 100 and 9 answers: iterations start with 100 … 107 tokens each, 103.5 on average."""
    lengths = "workload.lengths={kind: fixed, input_tokens: 100, output_tokens: 8}"
    (tokens,) = {row["kv_tokens"] for row in crossover_rows(("a",), (run("gpu_only", batch=2, set=[lengths]),))}
    assert tokens == 103


def test_where_no_rows_are_kept_the_average_is_over_time(run):
    pytest.importorskip("ddsketch")
    lengths = "workload.lengths={kind: fixed, input_tokens: 1000, output_tokens: 101}"
    kept, drawn = (
        {
            row["kv_tokens"]
            for row in crossover_rows(("a",), (run("gpu_only", batch=2, metrics=metrics, set=[lengths]),))
        }
        for metrics in ("exact", "streaming")
    )
    assert kept == {1050}
    assert 0.9 * 1050 < min(drawn) <= 1050, "prefill, too, counts in time"


def test_caches_that_fill_the_memory_to_the_last_byte_fit(run):
    """128 requests with 100 cached tokens and a new one each."""
    token_bytes = 2 * 32 * 4096 * 2
    shipped = run("a100_single", batch=1, set=[FIXED])
    weights = shipped.machine.pools["gpu"].part.capacity_bytes - shipped.ledger.kv_capacity_bytes
    full = f"devices.gpu.part.capacity_bytes={weights + 128 * 101 * token_bytes!r}"
    rows = pd.DataFrame(crossover_rows(("a",), (run("a100_single", batch=1, set=[FIXED, full]),)))
    fits = rows.set_index(["batch", "tlp"]).step_s.notna()
    assert fits[128, 1]
    assert not fits[128, 2]


class Planned:
    """A planner of one step, whatever is asked for."""

    def decode(self, shape, lengths):
        del shape, lengths
        phases = [
            ("gpu", Category.FC, 7.0),
            ("pim", Category.FC, 2.0),
            ("pim", Category.FC, 3.0),
            ("pim", Category.ATTENTION, 90.0),
        ]
        return [Phase(device, category, 0.5, Energy(), flop=flop, repeats=2) for device, category, flop in phases]


def test_a_step_is_named_after_the_device_with_most_of_its_fc():
    assert crossover._price(Planned(), 1, 1, 100) == (4.0, "gpu")
