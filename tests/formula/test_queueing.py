"""Against queueing theory: one request at a time on one machine is a single-server queue, whose waits are known.

Kleinrock, Queueing Systems I (1975): Lindley's recursion, the Pollaczek–Khinchine formula, Little's law.
"""

from functools import cache

import numpy as np
import pytest

from papisim.config.experiment import RunOptions, load_experiment
from papisim.engine.run import simulate

FIXED = "{kind: fixed, input_tokens: 100, output_tokens: 1}"
SPREAD = (
    "{kind: log_normal, input_tokens: {median_tokens: 600, sigma: 0.6, max_tokens: 4000}, "
    "output_tokens: {median_tokens: 1, sigma: 0}}"
)
ANSWERS = (
    "{kind: log_normal, input_tokens: {median_tokens: 200, sigma: 1, max_tokens: 4000}, "
    "output_tokens: {mean_tokens: 30, cv: 1.5}}"
)


def serve(arrivals, lengths, n_requests, seed=0, **options):
    """Simulate a machine that serves requests one after another, and return them in the order of their arrival."""
    workload = f"workload={{{arrivals}, n_requests: {n_requests}, lengths: {lengths}}}"
    options = {"batching": "static", "batch": 1} | options
    run = simulate(load_experiment(RunOptions(hw="gpu_only", trace="llama7b", set=[workload], seed=seed, **options)))
    assert len(run.ledger.requests) == n_requests
    return run


def times(run):
    """Return when requests arrive, wait until, and leave; each of shape [n]."""
    return np.array([(row.arrival_s, row.admitted_s, row.finish_s) for row in run.ledger.requests]).T


@cache
def mean_service_s(lengths):
    """Return how long a request takes by itself, on average."""
    _, admitted_s, finish_s = times(serve("kind: poisson, rate_per_s: 1", lengths, 2000))
    return (finish_s - admitted_s).mean()


@pytest.mark.parametrize("lengths", [FIXED, SPREAD, ANSWERS], ids=["fixed", "prompts", "answers"])
@pytest.mark.parametrize(
    "arrivals", ["kind: poisson", "kind: gamma_burst, gap_cv: 3", "kind: gamma_burst, gap_cv: 0.3"]
)
@pytest.mark.parametrize("load", [0.3, 0.95])
def test_every_single_wait_is_lindleys(arrivals, lengths, load):
    """A request waits for what is left of those before it: W' = max(0, W + S - gap)."""
    rate = load / mean_service_s(lengths)
    arrival_s, admitted_s, finish_s = times(serve(f"{arrivals}, rate_per_s: {rate}", lengths, 400))
    waited, expected = admitted_s - arrival_s, 0.0
    services, gaps = finish_s - admitted_s, np.diff(arrival_s)
    assert waited[0] == 0
    for index in range(1, len(waited)):
        expected = max(0.0, expected + services[index - 1] - gaps[index - 1])
        assert waited[index] == pytest.approx(expected, abs=1e-9 * finish_s[-1])


@pytest.mark.slow
@pytest.mark.parametrize(("lengths", "load"), [(FIXED, 0.5), (SPREAD, 0.3)], ids=["M/D/1", "M/G/1"])
def test_the_mean_wait_is_pollaczeks_and_khinchines(lengths, load):
    """W = λ·E[S²] / (2·(1 - ρ)); of 100,000 requests the standard error is about 1 %."""
    rate = load / mean_service_s(lengths)
    arrival_s, admitted_s, finish_s = times(serve(f"kind: poisson, rate_per_s: {rate}", lengths, 100_000, seed=1))
    services = finish_s - admitted_s
    rate = (len(arrival_s) - 1) / (arrival_s[-1] - arrival_s[0])
    rho = rate * services.mean()
    assert rho == pytest.approx(load, rel=0.02)
    expected = rate * np.mean(services**2) / (2 * (1 - rho))
    assert (admitted_s - arrival_s).mean() == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("batching", ["continuous", "chunked_prefill"])
@pytest.mark.parametrize(
    "arrivals", ["kind: poisson, rate_per_s: 20", "kind: gamma_burst, rate_per_s: 20, gap_cv: 4"]
)
def test_littles_law_holds_of_those_who_decode(batching, arrivals):
    """L = λ·T: requests in decoding steps over time, against how fast they come and how long each decodes."""
    run = serve(arrivals, ANSWERS, 1000, batching=batching, batch=64)
    ledger = run.ledger
    in_steps = sum(segment.plan.decoding * segment.time_s for segment in ledger.segments) / ledger.makespan_s
    decoding_s = np.array([row.finish_s - row.first_token_s for row in ledger.requests])
    rate = len(ledger.requests) / ledger.makespan_s
    assert in_steps > 0.5
    assert in_steps == pytest.approx(rate * decoding_s.mean(), rel=0.01)


@pytest.mark.parametrize("load", [0.2, 0.7])
def test_the_machine_is_busy_as_much_as_it_is_loaded(load):
    """Utilisation: ρ = λ·E[S]."""
    rate = load / mean_service_s(FIXED)
    run = serve(f"kind: poisson, rate_per_s: {rate}", FIXED, 10_000)
    arrival_s, admitted_s, finish_s = times(run)
    busy = sum(segment.time_s for segment in run.ledger.segments) / run.ledger.makespan_s
    measured = len(arrival_s) / (arrival_s[-1] - arrival_s[0]) * (finish_s - admitted_s).mean()
    assert busy == pytest.approx(measured, rel=0.01)
    assert busy == pytest.approx(load, rel=0.04)


@pytest.mark.parametrize("n_users", [1, 3, 20])
def test_users_who_wait_and_think_obey_the_response_time_law(n_users):
    """N = X·(R + Z): users are either waiting for an answer or thinking (Denning and Buzen, 1978)."""
    loop = f"kind: closed_loop, n_users: {n_users}, think_time: {{mean_s: 0.02, cv: 1}}"
    arrival_s, _, finish_s = times(serve(loop, FIXED, 6000))
    throughput = len(finish_s) / finish_s.max()
    response_s = (finish_s - arrival_s).mean()
    assert throughput * (response_s + 0.02) == pytest.approx(n_users, rel=0.03)
