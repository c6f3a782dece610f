import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from papisim import catalog
from papisim.catalog import Shelf
from papisim.config.base import parse
from papisim.config.sections import load_section
from papisim.config.yaml import parse_yaml
from papisim.errors import PapisimError
from papisim.streams import stream
from papisim.workloads.lengths.base import draw_in_chunks
from papisim.workloads.lengths.empirical import Empirical
from papisim.workloads.lengths.fixed import Fixed
from papisim.workloads.lengths.listed import Listed
from papisim.workloads.lengths.log_normal import LogNormal, LogNormalLength
from papisim.workloads.lengths.quantiles import Quantiles
from papisim.workloads.lengths.uniform import Uniform

WORKLOADS = sorted(catalog.shipped(Shelf.REQUESTS))


def table(**changes):
    fields = {"probabilities": [0, 0.5, 1], "input_tokens": [10, 20, 40], "output_tokens": [1, 100, 300]}
    return Quantiles(**{"kind": "quantiles", **fields, "rank_correlation": 0.0} | changes)


def spearman(pairs):
    ranks = [np.argsort(np.argsort(column, kind="stable"), kind="stable") for column in np.array(pairs).T]
    return np.corrcoef(*ranks)[0, 1]


def test_fixed_lengths_are_all_the_same():
    assert Fixed(kind="fixed", input_tokens=7, output_tokens=9).draw(3, stream(0)).tolist() == [[7, 9]] * 3


def test_listed_lengths_come_in_order_and_begin_again():
    listed = Listed(kind="listed", pairs=[(1, 2), (3, 4)])
    assert listed.draw(5, stream(0)).tolist() == [[1, 2], [3, 4], [1, 2], [3, 4], [1, 2]]
    assert listed.draw(2, stream(0), first=3).tolist() == [[3, 4], [1, 2]]


def test_the_mean_of_many_draws_is_the_area_under_the_quantile_function():
    """Linear interpolation: each segment contributes its width times the mean of its ends."""
    pairs = table().draw(40_000, stream(0, "t"))
    assert pairs[:, 0].mean() == pytest.approx(0.5 * 15 + 0.5 * 30, rel=0.01)
    assert pairs[:, 1].mean() == pytest.approx(0.5 * 50.5 + 0.5 * 200, rel=0.01)


@pytest.mark.parametrize("workload", WORKLOADS)
def test_a_shipped_table_is_reproduced_in_its_quantiles_mean_and_correlation(workload):
    lengths = load_section("workload", workload).options.lengths
    pairs = lengths.draw(40_000, stream(0, "t"))
    for column, quantiles in enumerate((lengths.input_tokens, lengths.output_tokens)):
        widths, ends = np.diff(lengths.probabilities), np.array(quantiles)
        drawn = pairs[:, column]
        standard_error = drawn.std() / np.sqrt(len(drawn))  # a few very long prompts make the mean uncertain
        assert drawn.mean() == pytest.approx((widths * (ends[:-1] + ends[1:]) / 2).sum(), abs=4 * standard_error)
        assert np.quantile(drawn, 0.5) == pytest.approx(np.interp(0.5, lengths.probabilities, ends), rel=0.05)
        assert drawn.min() >= ends[0]
        assert drawn.max() <= ends[-1]
    assert spearman(pairs) == pytest.approx(lengths.rank_correlation, abs=0.03)


@pytest.mark.parametrize("rho", [-0.9, -0.3, 0.0, 0.5, 0.9])
def test_the_rank_correlation_is_the_one_asked_for(rho):
    wide = {"input_tokens": [1, 10**6, 2 * 10**6], "output_tokens": [1, 10**6, 9 * 10**6]}
    pairs = table(rank_correlation=rho, **wide).draw(20_000, stream(0, "t"))
    assert spearman(pairs) == pytest.approx(rho, abs=0.03)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(1, 5000), min_size=2, max_size=6).map(sorted),
    st.lists(st.integers(1, 5000), min_size=6, max_size=6).map(sorted),
    st.integers(0, 2**32),
    st.integers(1, 50),
)
def test_draws_stay_within_their_table(inputs, outputs, seed, n_requests):
    outputs = outputs[: len(inputs)]
    steps = np.linspace(0, 1, len(inputs)).tolist()
    pairs = table(probabilities=steps, input_tokens=inputs, output_tokens=outputs).draw(n_requests, stream(seed))
    assert len(pairs) == n_requests
    assert all(inputs[0] <= i <= inputs[-1] and outputs[0] <= o <= outputs[-1] for i, o in pairs)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("probabilities: [0, 0.5, 0.9]", "'probabilities' must ascend from 0 to 1"),
        ("probabilities: [0.1, 0.5, 1]", "'probabilities' must ascend from 0 to 1"),
        ("probabilities: [0, 0, 1]", "'probabilities' must ascend from 0 to 1"),
        ("probabilities: [0, 2, 1]", "probabilities[1]: found 2, expected less than or equal to 1"),
        ("probabilities: [0, true, 1]", "probabilities[1]: found true, expected a number"),
        ("input_tokens: [1, 2]", "found 2 entries in 'input_tokens', expected 3, one a probability"),
        ("output_tokens: [1, 3, 2]", "'output_tokens' must not descend"),
        ("output_tokens: [0, 1, 2]", "output_tokens[0]: found 0, expected greater than or equal to 1"),
        ("output_tokens: [true, 1, 2]", "output_tokens[0]: found true, expected a whole number"),
        ("rank_correlation: -1", "rank_correlation: found -1"),
    ],
)
def test_a_table_that_is_no_quantile_function_is_refused(change, said):
    fields = {
        "probabilities": "[0, 0.5, 1]",
        "input_tokens": "[1, 2, 3]",
        "output_tokens": "[1, 2, 3]",
        "rank_correlation": "0",
    }
    name, _, value = change.partition(": ")
    text = "\n".join(f"{field}: {given}" for field, given in ({"kind": "quantiles"} | fields | {name: value}).items())
    parse(Quantiles, parse_yaml(text.replace(change, f"{name}: {fields[name]}"), "f.yaml"))
    with pytest.raises(PapisimError) as error:
        parse(Quantiles, parse_yaml(text, "f.yaml"))
    assert said in str(error.value)


@pytest.mark.parametrize("pairs", ["[]", "[[1]]", "[[1, 2, 3]]", "[[0, 1]]", "[[1, true]]", "[5]"])
def test_a_list_that_holds_no_pairs_of_lengths_is_refused(pairs):
    with pytest.raises(PapisimError, match=r"f\.yaml:2:\d+: pairs"):
        parse(Listed, parse_yaml(f"kind: listed\npairs: {pairs}", "f.yaml"))


def log_normal(**changes):
    fields = {
        "input_tokens": {"median_tokens": 300, "sigma": 0.8},
        "output_tokens": {"mean_tokens": 200, "cv": 1.2},
    }
    return LogNormal(kind="log_normal", **fields | changes)


def test_log_normal_lengths_have_the_median_the_spread_the_mean_and_the_variation_they_are_given():
    pairs = log_normal(rank_correlation=0.4).draw(60_000, stream(1)).astype(float)
    assert np.median(pairs[:, 0]) == pytest.approx(300, rel=0.02)
    assert np.log(pairs[:, 0]).std() == pytest.approx(0.8, rel=0.02)
    assert pairs[:, 1].mean() == pytest.approx(200, rel=0.03)
    assert pairs[:, 1].std() / pairs[:, 1].mean() == pytest.approx(1.2, rel=0.08)
    assert spearman(pairs) == pytest.approx(0.4, abs=0.02)


def test_a_truncated_log_normal_is_the_whole_one_without_what_lies_beyond():
    """Conditioned, not clipped: no heap at the bounds."""
    whole = log_normal().draw(200_000, stream(2))[:, 0]
    cut = log_normal(input_tokens={"median_tokens": 300, "sigma": 0.8, "min_tokens": 200, "max_tokens": 500})
    drawn = cut.draw(50_000, stream(3))[:, 0]
    inside = whole[(whole >= 200) & (whole <= 500)]
    assert (drawn.min(), drawn.max()) == (200, 500)
    assert (drawn == 500).mean() < 0.01
    for quantile in (0.1, 0.25, 0.5, 0.75, 0.9):
        assert np.quantile(drawn, quantile) == pytest.approx(np.quantile(inside, quantile), rel=0.02)


def test_a_log_normal_without_spread_is_its_median():
    drawn = log_normal(input_tokens={"median_tokens": 64, "sigma": 0}, output_tokens={"mean_tokens": 7.4, "cv": 0})
    assert drawn.draw(3, stream(0)).tolist() == [[64, 7]] * 3


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ("{}", "found nothing, expected median_tokens and sigma, or mean_tokens and cv"),
        ("{median_tokens: 3, cv: 1}", "found median_tokens, cv, expected"),
        ("{median_tokens: 3, sigma: 1, mean_tokens: 4, cv: 1}", "expected median_tokens and sigma"),
        ("{mean_tokens: 3, cv: 1, max_tokens: 4, min_tokens: 5}", "expected at least min_tokens 5"),
        ("{mean_tokens: 0, cv: 1}", "found 0, expected greater than 0"),
    ],
)
def test_a_log_normal_that_is_described_twice_or_not_at_all_is_refused(fields, said):
    text = f"kind: log_normal\ninput_tokens: {fields}\noutput_tokens: {{mean_tokens: 1, cv: 1}}"
    with pytest.raises(PapisimError) as error:
        parse(LogNormal, parse_yaml(text, "f.yaml"))
    assert said in str(error.value)


def test_empirical_lengths_are_pairs_of_the_file_as_often_as_they_stand_there(tmp_path):
    file = tmp_path / "lengths.csv"
    file.write_text("category,input_tokens,output_tokens\na,1,10\na,1,10\na,2,20\nb,3,30\n")
    empirical = Empirical(kind="empirical", path=str(file), where={"category": "a"})
    pairs = empirical.draw(30_000, stream(0))
    assert {tuple(pair) for pair in pairs.tolist()} == {(1, 10), (2, 20)}
    assert (pairs[:, 0] == 1).mean() == pytest.approx(2 / 3, abs=4 * np.sqrt(2 / 9 / 30_000))


def test_uniform_lengths_are_whole_numbers_between_both_ratios_each_as_likely_and_independent():
    uniform = Uniform(kind="uniform", input_tokens=10, output_tokens=20, min_ratio=0.75)
    pairs = uniform.draw(40_000, stream(0))
    inputs, outputs = np.unique(pairs[:, 0], return_counts=True), np.unique(pairs[:, 1], return_counts=True)
    assert inputs[0].tolist() == [7, 8, 9, 10], "7.5 tokens are 7"
    assert outputs[0].tolist() == list(range(15, 21))
    assert inputs[1] / 40_000 == pytest.approx(1 / 4, abs=0.01)
    assert outputs[1] / 40_000 == pytest.approx(1 / 6, abs=0.01)
    assert abs(np.corrcoef(pairs.T)[0, 1]) < 0.02


def test_uniform_lengths_have_at_least_one_token_and_may_exceed_the_nominal_ones():
    around = Uniform(kind="uniform", input_tokens=1, output_tokens=100, min_ratio=0.0, max_ratio=2.0)
    pairs = around.draw(20_000, stream(0))
    assert pairs.min(axis=0).tolist() == [1, 1]
    assert pairs.max(axis=0).tolist() == [2, 200]
    with pytest.raises(ValueError, match=r"found min_ratio 0\.9, expected at most max_ratio, 0\.5"):
        Uniform(kind="uniform", input_tokens=1, output_tokens=1, min_ratio=0.9, max_ratio=0.5)


@pytest.mark.parametrize(
    "lengths",
    [log_normal(), table(), Uniform(kind="uniform", input_tokens=9, output_tokens=9, min_ratio=0.2), Fixed(kind="fixed", input_tokens=1, output_tokens=1), Listed(kind="listed", pairs=[(1, 2), (3, 4)])],
    ids=lambda lengths: lengths.kind,
)  # fmt: skip
def test_chunks_hold_as_many_lengths_as_are_wanted(lengths):
    chunks = list(draw_in_chunks(lengths, 40_000, stream(0)))
    assert sum(len(chunk) for chunk in chunks) == 40_000
    assert max(len(chunk) for chunk in chunks) < 20_000
    assert min(chunk.min() for chunk in chunks) >= 1


@pytest.mark.parametrize(
    ("median", "sigma"), [(1e30, 1), (10, 1e30), (10, 90), (1e-30, 1), (10, 1e-30), (1e30, 0), (1e25, 50)]
)
def test_log_normal_lengths_stay_within_what_a_request_may_have(median, sigma):
    length = LogNormalLength(median_tokens=median, sigma=sigma)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lengths = length.invert(np.linspace(0, 1, 101))
    assert lengths.min() >= 1
    assert lengths.max() <= 2**31 - 1
    assert (np.diff(lengths) >= 0).all()
