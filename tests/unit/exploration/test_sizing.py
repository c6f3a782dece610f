"""The least number of machines that meets latency targets, and the rate that they sustain."""

import pytest

from papisim.config.experiment import SloSpec, options_of
from papisim.errors import InputError
from papisim.exploration.sizing import Goal, Sizing, row_of, trial_rows

TRAFFIC = {
    "kind": "poisson", "n_requests": 60, "rate_per_s": 400.0, "lengths": {"kind": "fixed", "input_tokens": 64, "output_tokens": 8},
}  # fmt: skip


def sizing(ttft_s: float, attained: float = 0.9, most: int = 64, **more) -> Sizing:
    options = options_of(hw="gpu_only", trace="llama7b", workload=TRAFFIC | more, batch=4)
    return Sizing(options, Goal(SloSpec(ttft_s=ttft_s), attained, most))


@pytest.fixture(scope="module")
def sized() -> Sizing:
    found = sizing(0.02)
    row_of("gpu_only", found)
    return found


def test_the_number_of_machines_attains_the_goal_and_one_fewer_does_not(sized):
    enough = sized.machines()
    assert enough > 1
    assert sized.trial(enough).attained_ratio >= 0.9
    assert sized.trial(enough - 1).attained_ratio < 0.9
    assert sized.trial(enough - 1).worst == "ttft"


def test_the_knee_is_sustained_and_a_little_more_is_not(sized):
    enough = sized.machines()
    knee = sized.knee_per_s(enough)
    assert knee >= sized.rate_per_s
    assert sized.attains(enough, knee)
    beyond = min(each.rate_per_s for each in sized.in_order() if each.machines == enough and each.rate_per_s > knee)
    assert not sized.attains(enough, beyond)
    assert beyond < 1.021 * knee


def test_more_machines_are_compared_on_the_same_requests(sized):
    rows = trial_rows("a", sized)
    assert len({(row["machines"], row["rate_per_s"]) for row in rows}) == len(rows), "no run is made twice"
    for row in rows:
        assert row["attained_ratio"] + row["missed_ttft_ratio"] + row["missed_unserved_ratio"] == pytest.approx(1.0)


def test_the_row_of_a_machine_has_its_price_by_the_hour_and_by_the_token(sized):
    row = row_of("gpu_only", sized, price_per_h=10.0)
    machines = sized.machines()
    assert row["machines"] == machines
    assert row["devices"] == 6 * machines
    assert row["price_per_h"] == 10.0 * machines
    tokens_per_h = row["output_tokens_per_s"] * 3600
    assert row["price_per_million_tokens"] == pytest.approx(10.0 * machines / tokens_per_h * 1e6)
    assert row["fails_first"] == "ttft"


def test_a_target_that_no_number_of_machines_meets_has_no_size():
    row = row_of("gpu_only", sizing(1e-6, most=4))
    assert row["machines"] is None
    assert row["fails_first"] == "ttft"
    assert row["price_per_h"] is None


def test_more_machines_are_not_tried_where_requests_are_refused_and_all_others_are_in_time():
    lengths = {"kind": "fixed", "input_tokens": 3000, "output_tokens": 2}
    options = options_of(hw="gpu_only", trace="opt1.3b", workload=TRAFFIC | {"n_requests": 4, "lengths": lengths})
    found = Sizing(options, Goal(SloSpec(ttft_s=1.0), 0.9, 64))
    row = row_of("gpu_only", found)
    assert (row["machines"], row["fails_first"]) == (None, "unserved"), "the model has no positions for them"
    assert [each.machines for each in found.in_order()] == [1]


def test_requests_without_a_rate_of_arrivals_are_refused():
    options = options_of(hw="gpu_only", trace="llama7b", workload="creative_writing", batch=2)
    with pytest.raises(InputError, match="requests of kind 'closed_batch' have no rate of arrivals"):
        Sizing(options, Goal(SloSpec(ttft_s=1.0), 0.9, 4))
