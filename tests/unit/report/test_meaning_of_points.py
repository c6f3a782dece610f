"""Sentences on sweeps: the best points, and the input that matters most with all else equal."""

import pandas as pd

from papisim.report.meaning_of_points import meaning_of_points

FRAME = pd.DataFrame({
    "point": [0, 1, 2, 3], "hw": ["a", "a", "b", "b"], "batch": [1, 4, 1, 4], "status": ["ok", "ok", "ok", "infeasible"],
    "throughput_tokens_per_s": [100.0, 300.0, 150.0, None], "energy_per_token_j": [2.0, 1.0, 0.5, None], "constraint": [None, None, None, "area"],
})  # fmt: skip


def test_the_best_points_and_the_largest_effect_are_told():
    assert meaning_of_points(FRAME, ["hw", "batch"]) == [
        "Fastest: hw a, batch 4 with 300 tokens/s.",
        "Least energy per token: hw b, batch 1 with 500 mJ.",
        "Throughput depends most on batch; with all else equal, batch up to 3.00×, hw up to 1.50×.",
        "1 point of 4 is infeasible or failed, most by 'area' (1).",
    ]


def test_models_do_unequal_work_so_that_none_is_the_fastest():
    frame = FRAME.assign(trace=["m", "n", "m", "n"], status="ok", throughput_tokens_per_s=[1.0, 2.0, 3.0, 4.0])
    assert meaning_of_points(frame, ["hw", "trace"]) == [
        "Throughput depends most on hw; with all else equal, hw up to 3.00×."
    ]


def test_without_results_the_reason_is_all_that_is_told():
    assert meaning_of_points(FRAME.assign(status="failed", constraint=None), ["hw"]) == [
        "4 points of 4 are infeasible or failed."
    ]
    assert meaning_of_points(FRAME[:1], ["hw"]) == []
