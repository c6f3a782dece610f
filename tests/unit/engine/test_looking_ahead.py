"""An engine that prepares a step while one runs: what arrives joins a step later, and what completes leaves its place later."""

from __future__ import annotations

import pytest

from papisim.config.experiment import load_experiment, options_of
from papisim.engine.run import Run, simulate

LISTED = {"kind": "listed", "requests": [[0.0, 100, 400], [0.3, 100, 20]]}


def served(workload: dict[str, object], scheduling: str, *, fast_forward: bool = True, **options: object) -> Run:
    changes = [f"engine.host.scheduling={scheduling}", "engine.host.launch_s=0"]
    chosen = {"hw": "a100_single", "trace": "llama7b", "engine": "vllm", "workload": workload, **options}
    return simulate(load_experiment(options_of(**chosen, set=changes, fast_forward=fast_forward)))


@pytest.mark.parametrize("fast_forward", [True, False])
def test_a_request_that_arrives_in_a_step_joins_the_one_after_the_next(fast_forward):
    for scheduling, later in (("synchronous", 1), ("asynchronous", 2)):
        run = served(LISTED, scheduling, fast_forward=fast_forward)
        running = next(step for step in run.ledger.steps if step.start_s <= 0.3 < step.start_s + step.time_s)
        first = next(step for step in run.ledger.steps if step.start_s > 0.3 and step.prompt_tokens)
        assert first.index - running.index == later


def test_looking_ahead_is_the_same_step_by_step_and_at_once():
    at_once, each = (served(LISTED, "asynchronous", fast_forward=fast) for fast in (True, False))
    for one, other in zip(at_once.ledger.requests, each.ledger.requests, strict=True):
        assert one.finish_s == pytest.approx(other.finish_s, rel=1e-12)
        assert one.first_token_s == pytest.approx(other.first_token_s, rel=1e-12)
    assert sum(step.overlapped_s for step in at_once.ledger.steps) == pytest.approx(
        sum(step.overlapped_s for step in each.ledger.steps)
    )


def test_an_idle_engine_serves_what_arrives_at_once():
    workload = {"kind": "listed", "requests": [[0.0, 100, 4], [5.0, 100, 4]]}
    run = served(workload, "asynchronous")
    first, second = run.ledger.requests
    assert second.admitted_s == second.arrival_s == 5.0
    assert second.first_token_s - 5.0 == pytest.approx(first.first_token_s)


def test_the_place_of_a_request_that_completes_is_free_a_step_later():
    workload = {"kind": "listed", "requests": [[0.0, 100, 40], [0.0, 100, 10], [0.0, 100, 10]]}
    for scheduling, later in (("synchronous", 1), ("asynchronous", 2)):
        run = served(workload, scheduling, batch=2)
        last = max(run.ledger.requests, key=lambda row: row.admitted_s)
        ended = min(row.finish_s for row in run.ledger.requests)
        between = [step for step in run.ledger.steps if ended <= step.start_s + 1e-12 <= last.admitted_s + 2e-12]
        assert len(between) == later


def test_every_request_is_served_whatever_the_batch_holds():
    workload = {"kind": "listed", "requests": [[0.01 * number, 50, 5 + number] for number in range(12)]}
    for batch in (1, 2, 5):
        run = served(workload, "asynchronous", batch=batch)
        assert len(run.ledger.requests) == 12
        assert all(row.outcome == "served" for row in run.ledger.requests)


def test_time_is_conserved_with_a_host():
    run = served(LISTED, "asynchronous")
    for step in run.ledger.steps:
        assert step.time_s == pytest.approx(sum(step.time_by.values()) - step.overlapped_s + step.stalled_s, rel=1e-9)
        assert step.busy_by["host"] > 0
