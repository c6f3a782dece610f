"""The laws of workloads (:mod:`papisim.conformance.workload`) on every kind and shipped file, and every kind with all kinds of lengths."""

from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from papisim import catalog
from papisim.catalog import Shelf
from papisim.config.sections import load_section
from papisim.config.yaml import load_yaml
from papisim.conformance.law import Subject, laws_of
from papisim.workloads.base import WORKLOAD
from papisim.workloads.describe import describe, tabulate
from papisim.workloads.lengths import Lengths

FAMILY = "workload"
SHIPPED = list(catalog.shipped(Shelf.REQUESTS))


def test_law(law, subject):
    law(subject)


LENGTHS = {
    "uniform": {"input_tokens": 20, "output_tokens": 8, "min_ratio": 0.5},
    "fixed": {"input_tokens": 100, "output_tokens": 20},
    "listed": {"pairs": [[1, 2], [30, 4], [5, 600]]},
    "quantiles": {
        "probabilities": [0, 0.5, 1],
        "input_tokens": [1, 50, 900],
        "output_tokens": [1, 20, 400],
        "rank_correlation": 0.3,
    },
    "empirical": {"path": "lengths.csv"},
    "log_normal": {
        "input_tokens": {"median_tokens": 100, "sigma": 1.0, "max_tokens": 4096},
        "output_tokens": {"mean_tokens": 60, "cv": 0.7},
        "rank_correlation": -0.2,
    },
}
WITH_LENGTHS = [name for name in WORKLOAD.own() if "lengths" in WORKLOAD.load(name).options.model_fields]


def test_no_kind_of_lengths_is_left_out():
    union, _ = get_args(Lengths)
    assert {get_args(kind)[1].tag for kind in get_args(union)} == set(LENGTHS)


@pytest.mark.parametrize("law", laws_of(WORKLOAD), ids=lambda law: law.__name__)
@pytest.mark.parametrize("kind", WITH_LENGTHS)
@pytest.mark.parametrize("drawn", LENGTHS)
def test_law_with_every_kind_of_lengths(law, kind, drawn, tmp_path):
    file = tmp_path / "lengths.csv"
    file.write_text("input_tokens,output_tokens\n" + "".join(f"{n + 1},{n % 9 + 1}\n" for n in range(80)))
    lengths = {"kind": drawn, **LENGTHS[drawn]}
    if drawn == "empirical":
        lengths["path"] = str(file)
    options = load_section(
        "workload", {"kind": kind, **WORKLOAD.load(kind).example.fields, "lengths": lengths}
    ).options
    law(Subject(WORKLOAD, WORKLOAD.load(kind), kind, options, {}))


@pytest.mark.parametrize(
    "name", [name for name in SHIPPED if "rate_per_s" in load_yaml(catalog.shipped(Shelf.REQUESTS)[name]).data]
)
def test_a_shipped_rate_and_evenness_are_met_within_their_statistical_error(name):
    n = 20_000
    options = load_section("workload", name, [f"workload.n_requests={n}"]).options
    cv = getattr(options, "gap_cv", 1.0)
    arrivals = describe(tabulate(WORKLOAD.build(options, 5), options.kind), tpot_s=1.0, block_tokens=512)["arrivals"]
    assert arrivals["rate_per_s"] == pytest.approx(options.rate_per_s, rel=4 * cv / np.sqrt(n))
    # relative error of a gamma's sample coefficient of variation, from its fourth moment
    assert arrivals["gap_cv"] == pytest.approx(cv, rel=4 * np.sqrt((0.5 + 1.5 * cv**2) / n))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32), other=st.integers(0, 2**32))
@pytest.mark.parametrize("name", SHIPPED)
def test_another_seed_gives_other_lengths_of_the_same_kind(name, seed, other):
    options = load_section("workload", name, ["workload.n_requests=40"]).options
    one, two = list(WORKLOAD.build(options, seed)), list(WORKLOAD.build(options, other))
    assert (one == two) == (seed == other)
    longest = options.lengths.input_tokens[-1]
    assert all(request.input_tokens <= longest for request in one + two)
