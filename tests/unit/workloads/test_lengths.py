import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from papisim import catalog
from papisim.catalog import Shelf
from papisim.errors import PapisimError
from papisim.spec.base import parse
from papisim.spec.sections import load_section
from papisim.spec.yaml import parse_yaml
from papisim.workloads.lengths import Fixed, Listed, Quantiles
from papisim.workloads.streams import stream

WORKLOADS = sorted(catalog.shipped(Shelf.REQUESTS))


def table(**changes):
    fields = {"probabilities": [0, 0.5, 1], "input_tokens": [10, 20, 40], "output_tokens": [1, 100, 300]}
    return Quantiles(**{"kind": "quantiles", **fields, "rank_correlation": 0.0} | changes)


def spearman(pairs):
    ranks = [np.argsort(np.argsort(column, kind="stable"), kind="stable") for column in np.array(pairs).T]
    return np.corrcoef(*ranks)[0, 1]


def test_fixed_lengths_are_all_the_same():
    assert Fixed(kind="fixed", input_tokens=7, output_tokens=9).draw(3, stream(0)) == [(7, 9)] * 3


def test_listed_lengths_come_in_order_and_begin_again():
    listed = Listed(kind="listed", pairs=[(1, 2), (3, 4)])
    assert listed.draw(5, stream(0)) == [(1, 2), (3, 4), (1, 2), (3, 4), (1, 2)]
    assert listed.draw(1, stream(0)) == [(1, 2)]


def test_the_mean_of_many_draws_is_the_area_under_the_quantile_function():
    """Linear interpolation: each segment contributes its width times the mean of its ends."""
    pairs = np.array(table().draw(40_000, stream(0, "t")))
    assert pairs[:, 0].mean() == pytest.approx(0.5 * 15 + 0.5 * 30, rel=0.01)
    assert pairs[:, 1].mean() == pytest.approx(0.5 * 50.5 + 0.5 * 200, rel=0.01)


@pytest.mark.parametrize("workload", WORKLOADS)
def test_a_shipped_table_is_reproduced_in_its_quantiles_mean_and_correlation(workload):
    lengths = load_section("workload", workload).options.lengths
    pairs = np.array(lengths.draw(40_000, stream(0, "t")))
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
