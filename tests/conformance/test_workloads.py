"""What every workload must do, whatever its kind; a new file or a new kind is tested by being there."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from papisim import catalog
from papisim.catalog import Shelf
from papisim.config.sections import load_section
from papisim.config.yaml import load_yaml
from papisim.workloads.base import WORKLOAD, ClosedLoop
from papisim.workloads.describe import describe, tabulate

LENGTHS = {"kind": "fixed", "input_tokens": 100, "output_tokens": 20}
#: kind → the fields of an example
EXAMPLES = {
    "closed_batch": {"n_requests": 50, "lengths": LENGTHS},
    "closed_loop": {"n_requests": 50, "n_users": 8, "think_time": {"mean_s": 2}, "lengths": LENGTHS},
    "gamma_burst": {"n_requests": 50, "rate_per_s": 4, "gap_cv": 2, "lengths": LENGTHS},
    "listed": {"requests": [[index // 3 * 0.5, index + 1, index % 9 + 1] for index in range(50)]},
    "poisson": {"n_requests": 50, "rate_per_s": 4, "lengths": LENGTHS},
    "replay": {"path": None, "n_requests": 50},
}
LENGTH_KINDS = {
    "fixed": LENGTHS,
    "listed": {"kind": "listed", "pairs": [[1, 2], [30, 4], [5, 600]]},
    "quantiles": {
        "kind": "quantiles",
        "probabilities": [0, 0.5, 1],
        "input_tokens": [1, 50, 900],
        "output_tokens": [1, 20, 400],
        "rank_correlation": 0.3,
    },
    "empirical": {"kind": "empirical", "path": None},
    "log_normal": {
        "kind": "log_normal",
        "input_tokens": {"median_tokens": 100, "sigma": 1.0, "max_tokens": 4096},
        "output_tokens": {"mean_tokens": 60, "cv": 0.7},
        "rank_correlation": -0.2,
    },
}


@pytest.fixture(scope="module")
def trace(tmp_path_factory):
    path = tmp_path_factory.mktemp("trace") / "t.csv"
    arrivals = np.cumsum(np.random.default_rng(0).exponential(0.3, 80))
    rows = "".join(f"{at:.6f},{index + 1},{index % 9 + 1}\n" for index, at in enumerate(arrivals))
    path.write_text(f"arrival_s,input_tokens,output_tokens\n{rows}")
    return str(path)


def build(choice, trace, seed=0, overrides=()):
    if isinstance(choice, dict):
        choice = {name: with_path(value, trace) for name, value in choice.items()} | {"kind": choice["kind"]}
        if "path" in choice:
            choice["path"] = trace
    options = load_section("workload", choice, overrides).options
    return options, WORKLOAD.build(options, seed)


def with_path(value, trace):
    return value | {"path": trace} if isinstance(value, dict) and "path" in value else value


def everything(workload):
    """Return all requests; those of a closed loop as if each took a second."""
    requests = list(workload)
    if isinstance(workload, ClosedLoop):
        for request in requests:
            after = workload.follow(request, request.arrival_s + 1)
            requests += [after] if after else []
    return requests


SHIPPED = list(catalog.shipped(Shelf.REQUESTS))
KINDS = [{"kind": kind, **fields} for kind, fields in EXAMPLES.items()]
WITH_LENGTHS = [
    {"kind": kind, **EXAMPLES[kind], "lengths": lengths}
    for kind in EXAMPLES
    if "lengths" in EXAMPLES[kind]
    for lengths in LENGTH_KINDS.values()
]
each_workload = pytest.mark.parametrize(
    "choice",
    [*SHIPPED, *KINDS, *WITH_LENGTHS],
    ids=lambda c: c if isinstance(c, str) else f"{c['kind']}-{c.get('lengths', {}).get('kind', 'file')}",
)


def test_every_kind_has_an_example():
    assert sorted(EXAMPLES) == WORKLOAD.own()


@each_workload
def test_the_same_seed_gives_the_same_requests_however_often_they_are_asked_for(trace, choice):
    _, workload = build(choice, trace, seed=11)
    _, again = build(choice, trace, seed=11)
    assert everything(workload) == everything(workload) == everything(again)


@each_workload
def test_requests_arrive_in_order_are_numbered_and_have_something_to_say(trace, choice):
    _, workload = build(choice, trace)
    first = list(workload)
    arrivals = [request.arrival_s for request in first]
    assert arrivals == sorted(arrivals)
    assert arrivals[0] >= 0
    requests = everything(workload)
    assert sorted(request.request_id for request in requests) == list(range(len(requests)))
    assert min(min(request.input_tokens, request.output_tokens) for request in requests) >= 1
    assert all(type(value) is int for r in requests for value in (r.request_id, r.input_tokens, r.output_tokens))
    assert all(type(request.arrival_s) is float for request in requests)


@each_workload
def test_there_are_as_many_requests_as_its_options_say(trace, choice):
    options, workload = build(choice, trace)
    assert len(everything(workload)) == options.n_requests
    fewer, workload = build(choice, trace, overrides=["workload.n_requests=3"])
    assert len(everything(workload)) == fewer.n_requests == 3


@each_workload
def test_its_options_survive_being_written_down_and_read_again(trace, choice):
    options, workload = build(choice, trace)
    again = type(options).model_validate_json(options.model_dump_json())
    assert again == options
    assert everything(WORKLOAD.build(again, 0)) == everything(workload)


@pytest.mark.parametrize(
    "name", [name for name in SHIPPED if "rate_per_s" in load_yaml(catalog.shipped(Shelf.REQUESTS)[name]).data]
)
def test_a_shipped_rate_and_evenness_are_met_within_their_statistical_error(name):
    n = 20_000
    options = load_section("workload", name, [f"workload.n_requests={n}"]).options
    cv = getattr(options, "gap_cv", 1.0)
    workload = WORKLOAD.build(options, 5)
    arrivals = describe(tabulate(workload, options.kind), tpot_s=1.0)["arrivals"]
    assert arrivals["rate_per_s"] == pytest.approx(options.rate_per_s, rel=4 * cv / np.sqrt(n))
    # relative error of a gamma's sample coefficient of variation, from its fourth moment
    assert arrivals["gap_cv"] == pytest.approx(cv, rel=4 * np.sqrt((0.5 + 1.5 * cv**2) / n))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32), other=st.integers(0, 2**32))
@pytest.mark.parametrize("name", SHIPPED)
def test_another_seed_gives_other_lengths_of_the_same_kind(name, seed, other):
    options = load_section("workload", name, ["workload.n_requests=40"]).options
    build_one = WORKLOAD.build
    one, two = list(build_one(options, seed)), list(build_one(options, other))
    assert (one == two) == (seed == other)
    longest = options.lengths.input_tokens[-1]
    assert all(request.input_tokens <= longest for request in one + two)
