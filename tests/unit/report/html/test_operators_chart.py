"""The chart of operators: lanes are the spans that operators spent on devices."""

import numpy as np
import pandas as pd
import pytest

from papisim.report.html.charts import operators

COLOURS = {"gpu": "$c0", "pim": "$c1"}
STEPS = pd.DataFrame(
    {
        "kind": ["prefill", "decode", "decode", "mixed", "decode", "decode"], "start_s": [0.0, 1.0, 2.0, 3.0, 9.0, 10.0],
        "time_s": [1.0, 1.0, 1.0, 2.0, 1.0, 1.0], "rlp": [4, 4, 4, 5, 2, 1], "tlp": [9, 2, 2, 8, 2, 2], "rows": [36, 8, 8, 40, 4, 2],
        "placed_fc": ["gpu", "gpu", "mixed", "gpu", "pim", "pim"], "placed_attention": [None, "pim", "pim", "pim", "pim", "gpu"],
    }
)  # fmt: skip


def operator(name: str, candidates: list[str], on: dict[str, float], switches: int = 0) -> dict[str, object]:
    rows = [{"device": device, "iteration_ratio": share, "step_time_ratio": share} for device, share in on.items()]
    return {"operator": name, "candidates": candidates, "n_switches": switches, "on": rows}


FC = operator("fc", ["gpu", "pim"], {"gpu": 0.5, "mixed": 1 / 6, "pim": 1 / 3}, 3)
ATTENTION = operator("attention", ["pim", "gpu"], {"pim": 5 / 6, "gpu": 1 / 6}, 1)


def series(chart, name: str) -> dict:
    return next(each for each in chart.figure["data"] if each["name"] == name)


@pytest.fixture
def chart():
    return operators.chart("t", STEPS, [FC, ATTENTION], 4.0, COLOURS)


def test_a_lane_has_the_spans_of_its_device_and_pauses_are_in_none(chart):
    """FC: gpu 1 to 2 s and 3 to 5 s, mixed 2 to 3 s, pim 9 to 11 s; attention: pim 1 to 5 s and 9 to 10 s, gpu to 11 s."""
    drawn = {
        name: sorted(zip(each["y"], each["base"], each["x"], strict=True))
        for name in ("on gpu", "on pim", "mixed")
        for each in [series(chart, name)]
    }
    assert drawn == {
        "on gpu": [("FC", 1, 1), ("FC", 3, 2), ("attention", 10, 1)],
        "on pim": [("FC", 9, 2), ("attention", 1, 4), ("attention", 9, 1)],
        "mixed": [("FC", 2, 1)],
    }
    assert series(chart, "on pim")["marker"]["color"] == "$c1"


def test_the_intensity_of_attention_is_tlp_times_that_of_one_token_without_prompts(chart):
    assert list(series(chart, "intensity of attention")["y"]) == [8, 8, 8, 8]
    assert list(series(chart, "RLP·TLP, intensity of FC")["y"]) == [8, 8, 4, 2]
    without = operators.chart("t", STEPS, [FC], None, COLOURS)
    assert "intensity of attention" not in [each["name"] for each in without.figure["data"]]


def test_the_message_has_each_operator_its_devices_and_its_moves(chart):
    assert chart.alt == (
        "FC is on gpu for 50.0%, on mixed for 16.7%, on pim for 33.3% of the decoding time and moves 3 times. "
        "Attention is on pim for 83.3%, on gpu for 16.7% of the decoding time and moves once."
    )
    assert list(chart.table["placed_attention"]) == ["pim", "pim", "pim", "pim", "gpu"]


def test_nothing_is_drawn_where_nothing_can_move_or_nothing_decodes():
    assert operators.chart("t", STEPS, [operator("fc", ["gpu"], {"gpu": 1.0})], 1.0, COLOURS) is None
    assert operators.chart("t", STEPS, [], 1.0, COLOURS) is None
    assert operators.chart("t", STEPS[STEPS.kind == "prefill"], [FC], 1.0, COLOURS) is None


def test_of_an_operator_that_moves_all_the_time_each_span_has_the_device_of_most_of_its_time():
    """Of every three steps two are on the GPU for the first half of the run, and one for the second half."""
    n = 6000
    third = np.arange(n) % 3
    device = np.where(third < np.where(np.arange(n) < n // 2, 2, 1), "gpu", "pim")
    steps = pd.DataFrame({"start_s": np.arange(n) * 1.0, "time_s": 1.0, "placed_fc": device})
    found = operators.spans(steps, "placed_fc")
    assert list(found["device"]) == ["gpu", "pim"]
    assert list(found["from_s"]) == pytest.approx([0, n / 2])
    assert found["time_s"].sum() == pytest.approx(n)


def test_the_table_of_a_long_run_has_the_device_of_most_steps():
    n = 400
    steps = pd.DataFrame(
        {
            "kind": "decode", "start_s": np.arange(n) * 1.0, "time_s": 1.0, "rlp": 1, "tlp": 1.0, "rows": 1,
            "placed_fc": ["gpu"] * (n // 2) + ["pim"] * (n // 2),
        }
    )  # fmt: skip
    table = operators.chart("t", steps, [FC], None, COLOURS).table
    assert len(table) == 40
    assert list(table["placed_fc"]) == ["gpu"] * 20 + ["pim"] * 20
