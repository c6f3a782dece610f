import pandas as pd
import pytest

from papisim.report.facets import Layout, facets, with_ratios

INPUTS = ["hw", "trace", "batch"]
POINTS = pd.DataFrame(
    [
        ("a", "small", 1, 10.0, 4.0, 8.0),
        ("a", "small", 4, 40.0, 1.0, 2.0),
        ("a", "large", 1, 5.0, 8.0, 9.0),
        ("a", "large", 4, 20.0, 2.0, 3.0),
        ("b", "small", 1, 20.0, 2.0, 16.0),
        ("b", "small", 4, 30.0, 2.0, 1.0),
        ("b", "large", 1, 10.0, 4.0, 9.0),
        ("b", "large", 4, None, None, None),
    ],
    columns=[*INPUTS, "throughput_tokens_per_s", "makespan_s", "energy_j"],
)


def test_the_batch_is_across_machines_are_lines_and_each_model_is_a_facet_of_its_own():
    layout = Layout.of(POINTS, INPUTS)
    assert layout == Layout("batch", ("hw",), ("trace",))
    small, large = facets(POINTS, layout, "throughput_tokens_per_s")
    assert (small.title, large.title) == ("trace small", "trace large")
    assert small.across == [1, 4]
    assert small.lines == {"a": [10.0, 40.0], "b": [20.0, 30.0]}
    assert large.lines["b"] == [10.0, None], "a point without a result is an empty place"


def test_ratios_are_to_the_first_line_at_the_same_place_and_above_one_where_better():
    layout = Layout.of(POINTS, INPUTS)
    rate, *_ = facets(POINTS, layout, "throughput_tokens_per_s")
    energy, *_ = facets(POINTS, layout, "energy_j")
    assert rate.ratios == {"a": [1.0, 1.0], "b": [2.0, 0.75]}
    assert energy.ratios["b"] == [0.5, 2.0], "less energy is better"


def test_ratios_of_a_grid_are_those_of_a_comparison():
    ratios = with_ratios(POINTS, Layout.of(POINTS, INPUTS))
    assert ratios["speed_up_ratio"].tolist()[:7] == [1, 1, 1, 1, 2.0, 0.5, 2.0]
    assert ratios["energy_efficiency_ratio"].tolist()[4:7] == pytest.approx([0.5, 2.0, 1.0])
    assert pd.isna(ratios["speed_up_ratio"].iloc[7])


def test_without_numbers_the_first_other_input_is_across_and_without_inputs_there_is_no_layout():
    assert Layout.of(POINTS, ["hw", "trace"]) == Layout("trace", ("hw",), ())
    assert Layout.of(POINTS, ["hw"]) is None


def test_a_placement_and_a_policy_are_part_of_the_name_of_a_line():
    points = pd.DataFrame({
        "hw": ["papi", "papi"], "placement": [None, "pinned:gpu"], "speculation": ["off", "off"], "batch": [1, 1],
        "energy_j": [1.0, 2.0],
    })  # fmt: skip
    (facet,) = facets(points, Layout.of(points, ["hw", "placement", "speculation", "batch"]), "energy_j")
    assert list(facet.lines) == ["papi + off", "papi@pinned:gpu + off"]
