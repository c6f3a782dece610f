"""Charts of values that are known: what is drawn, and what is said of it."""

import numpy as np
import pandas as pd
import pytest

from papisim.report.html.charts import activity, breakdown, crossover, latency, memory, parallelism, ratios, roofline

COLOURS = {"papi": "$c0", "gpu": "$c1", "fc_pim": "$c2"}


def series(chart, name: str) -> dict:
    return next(each for each in chart.figure["data"] if each.get("name") == name)


class TestRatios:
    def test_a_ratio_is_the_baselines_value_over_the_runs(self):
        chart = ratios.chart("speed-up", {"gpu": 6.0, "papi": 2.0}, {"gpu": "GPU-only (gpu)"}, "note")
        bars = series(chart, "over GPU-only (gpu)")
        assert list(bars["y"]) == [1, 3]
        assert bars["text"] == ["1.00×", "3.00×"]
        assert chart.title == "Speed-up"
        assert chart.figure["layout"]["yaxis"]["title"]["text"] == "speed-up (×)"
        assert chart.alt == "Over GPU-only (gpu): gpu 1.00×, papi 3.00×."


class TestMemory:
    STEPS = pd.DataFrame(
        {"server": "0", "start_s": [0.0, 1.0, 2.0], "kv_bytes": [1e9, 3e9, 2e9], "kv_tokens": [1, 3, 2]}
    )

    def test_the_caches_are_drawn_and_the_peak_is_said(self):
        chart = memory.chart(self.STEPS, 4e9, 100e9)
        assert list(series(chart, "0")["y"]) == [1e9, 3e9, 2e9]
        assert chart.alt == "At most 4 GB of 100 GB are in use, 4.00%."
        assert len(chart.figure["data"]) == 1, "the capacity is far above"

    def test_a_capacity_that_is_near_is_drawn(self):
        chart = memory.chart(self.STEPS, 4e9, 10e9)
        assert series(chart, "capacity per server")["y"] == [10e9, 10e9]


class TestLatency:
    def test_the_cumulative_distribution_ends_at_one(self):
        chart = latency.chart("TTFT", pd.Series([0.3, 0.1, 0.2, np.nan]))
        line = series(chart, "share at or below")
        assert list(line["x"]) == [0.1, 0.2, 0.3]
        assert list(line["y"]) == pytest.approx([1 / 3, 2 / 3, 1])
        assert sum(series(chart, "requests")["y"]) == 3
        assert chart.alt == "Of 3 requests, half take at most 200 ms and 99 % at most 298 ms."

    def test_nothing_is_drawn_of_no_request(self):
        assert latency.chart("TTFT", pd.Series([np.nan])) is None
        assert latency.compared("TTFT", {"papi": pd.Series([np.nan])}, COLOURS) is None


class TestParallelism:
    STEPS = pd.DataFrame({
        "kind": ["prefill", "decode", "decode", "mixed", "decode"], "index": [0, 0, 1, 2, 3], "rlp": [4, 4, 4, 3, 2],
        "tlp": [9, 2, 2, 2, 2], "rows": [36, 8, 8, 40, 4], "fc_device": ["gpu", "gpu", "gpu", "gpu", "fc_pim"],
    })  # fmt: skip

    def test_lines_are_of_decoding_and_prompts_are_points(self):
        chart = parallelism.chart("t", self.STEPS, 6.0, COLOURS)
        assert list(series(chart, "RLP·TLP")["y"]) == [8, 8, 4]
        assert list(series(chart, "token-rows with prompts")["y"]) == [40]
        assert series(chart, "α = 6")["y"] == [6, 6]
        assert "FC runs on gpu from iteration 0, on fc_pim from iteration 3. The threshold α is 6." in chart.alt

    def test_a_strip_says_which_device_ran_fc_for_how_long(self):
        chart = parallelism.chart("t", self.STEPS, None, COLOURS)
        strip = series(chart, "FC on gpu")
        assert (list(strip["base"]), list(strip["x"])) == ([0], [3])
        assert not any(str(each.get("name")).startswith("α") for each in chart.figure["data"])

    def test_a_run_without_decoding_has_no_chart(self):
        assert parallelism.chart("t", self.STEPS[self.STEPS["kind"] == "prefill"], None, COLOURS) is None


class TestActivity:
    STEPS = pd.DataFrame({
        "start_s": [0.0, 1.0], "time_s": [1.0, 1.0], "busy_gpu_s": [1.0, 0.5], "busy_fc_pim_s": [0.0, 0.5],
        "dram_access_j": [30.0, 10.0], "static_j": [1.0, 1.0],
    })  # fmt: skip

    @pytest.fixture(autouse=True)
    def all_parts(self, monkeypatch):
        monkeypatch.setattr(activity, "ENERGY_PARTS", ("dram_access_j", "static_j"))

    def test_utilisation_is_the_busy_share_of_each_span_over_all_servers(self):
        (one,) = activity.devices(self.STEPS, ["gpu", "fc_pim"]).figure["data"]
        gpu, fc_pim = (np.asarray(row) for row in one["z"])
        assert gpu[0] == pytest.approx(1)
        assert gpu[-1] == pytest.approx(0.5)
        assert fc_pim[0] == pytest.approx(0)
        (two,) = activity.devices(self.STEPS, ["gpu"], 2).figure["data"]
        assert two["z"][0] == pytest.approx(gpu / 2)

    def test_power_is_joules_over_seconds_with_the_static_power_below(self):
        chart = activity.power(self.STEPS, 5.0)
        assert set(series(chart, "static")["y"]) == {5.0}
        access = series(chart, "dram_access")["y"]
        assert (access[0], access[-1]) == (pytest.approx(30), pytest.approx(10))
        assert chart.alt.startswith("The mean power is 25 W, the highest over")
        assert chart.alt.endswith("35 W.")


class TestBreakdown:
    def test_time_is_by_kind_of_step_and_category(self):
        steps = pd.DataFrame({
            "kind": ["prefill", "decode", "decode"], "fc_s": [3.0, 1.0, 1.0], "attention_s": [0.0, 2.0, 3.0],
            "communication_s": 0.0, "other_s": 0.0, "draft_s": 0.0,
        })  # fmt: skip
        chart = breakdown.time(steps)
        assert list(series(chart, "fc")["x"]) == [3, 2]
        assert list(series(chart, "attention")["x"]) == [0, 5]
        assert chart.alt == "Of all steps' time, fc 50.0%, attention 50.0%."

    def test_energy_is_by_resource_and_part(self):
        rows = [("gpu", "static_j", 3.0), ("gpu", "gpu_compute_j", 1.0), ("fc_pim", "static_j", 4.0)]
        energy = pd.DataFrame(rows, columns=["resource", "part", "energy_j"])
        chart = breakdown.energy(energy, ["fc_pim", "gpu"])
        assert series(chart, "static")["y"] == ["fc_pim", "gpu"]
        assert list(series(chart, "static")["x"]) == [4, 3]
        assert chart.alt.endswith("by device, fc_pim 50.0%, gpu 50.0%.")


class TestCrossover:
    ROWS = pd.DataFrame([
        {"machine": machine, "batch": batch, "tlp": 1, "step_s": step_s, "fc_device": "gpu", "kv_tokens": 512}
        for machine, times in (("papi", (1.0, 6.0)), ("gpu", (3.0, 4.0)))
        for batch, step_s in zip((1, 64), times, strict=True)
    ])  # fmt: skip

    def test_the_fastest_has_its_lead_over_the_second(self):
        best = crossover.fastest(self.ROWS)
        assert best["winner"].tolist() == ["papi", "gpu"]
        assert best["lead"].tolist() == [3, 1.5]

    def test_a_machine_that_does_not_fit_is_no_rival(self):
        rows = self.ROWS.copy()
        rows.loc[rows["machine"] == "gpu", "step_s"] = np.nan
        assert crossover.fastest(rows)["winner"].tolist() == ["papi", "papi"]
        assert crossover.fastest(rows)["lead"].isna().all()

    def test_the_map_and_its_words(self):
        chart = crossover.crossover_map(self.ROWS, COLOURS)
        assert chart.figure["data"][0]["text"].tolist() == [["3.00×", "1.50×"]]
        assert chart.alt.startswith(
            "Of 2 points the fastest is papi at 1, gpu at 1; at TLP 1 the fastest is papi from batch 1, gpu from"
        )

    def test_step_times_are_a_line_per_machine(self):
        chart = crossover.step_times(self.ROWS, 1, COLOURS)
        assert list(series(chart, "papi")["y"]) == [1, 6]
        assert chart.alt == "At batch 1: papi 1 s, gpu 3 s. At batch 64: papi 6 s, gpu 4 s."


class TestRoofline:
    KERNELS = pd.DataFrame([
        {"resource": "gpu", "category": "fc", "kernel": "gemm", "shape": "s", "kind": "decode", "index": 0, "rows": 4,
         "flop": 200.0, "moved_bytes": 100.0, "time_s": 2.0, "n_times": 3, "bound": "memory"},
        {"resource": "gpu", "category": "other", "kernel": "copy", "shape": "s", "kind": "decode", "index": 0, "rows": 4,
         "flop": 0.0, "moved_bytes": 9.0, "time_s": 1.0, "n_times": 1, "bound": "memory"},
    ])  # fmt: skip
    DEVICES = pd.DataFrame([{"device": "gpu", "peak_flop_per_s": 1000.0, "bandwidth_bytes_per_s": 100.0}])

    def test_a_kernel_lies_at_its_intensity_and_rate_below_its_roof(self):
        (point,) = roofline.placed(self.KERNELS, self.DEVICES).to_dict("records")
        assert (point["intensity"], point["achieved_flop_per_s"]) == (2, 100)
        assert point["of_roof_ratio"] == "50.0%"
        assert point["of_step_s"] == 6

    def test_the_roof_turns_at_the_ridge(self):
        chart = roofline.chart(self.KERNELS, self.DEVICES, COLOURS)
        roof = chart.figure["data"][0]
        at_the_ridge = list(roof["x"]).index(10.0)
        assert roof["y"][at_the_ridge] == 1000
        assert max(roof["y"]) == 1000
        assert roof["y"][0] == pytest.approx(100 * roof["x"][0])
        assert "gpu turns from memory- to compute-bound at 10 FLOP/B" in chart.alt


def test_latencies_that_differ_by_rounding_alone_are_drawn():
    drawn = latency.chart("Time to first token", pd.Series([0.1 + 0.2, 0.3]))
    assert sum(drawn.figure["data"][0]["y"]) == 2
