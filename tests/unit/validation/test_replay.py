"""A benchmark of the simulator itself is replayed without error, in whatever form it is written."""

import json

import numpy as np
import pytest

from papisim.engine.run import simulate
from papisim.validation.clients import read_results
from papisim.validation.replay import replay
from papisim.validation.served import Simulator, listed

SIMULATOR = Simulator("h100_single", "llama7b", "vllm", ("batching.max_batch=8", "batching.chunk_tokens=512"))
ASKED = [(0.01 * index, 100 + 17 * index, 8 + index) for index in range(20)]


def result_of(run):
    """Return what vllm bench serve --save-detailed would have written of a simulation."""
    rows = run.ledger.requests
    latencies = {name: np.array([row.latencies_s[name] for row in rows]) * 1e3 for name in ("ttft", "tpot", "e2e")}
    emitted = sum(row.emitted_tokens for row in rows)
    figures = {}
    for name, values in latencies.items():
        key = "e2el" if name == "e2e" else name
        figures |= {
            f"mean_{key}_ms": values.mean(),
            f"median_{key}_ms": np.median(values),
            f"p99_{key}_ms": np.percentile(values, 99),
        }
    return {
        "backend": "vllm", "model_id": "m", "num_prompts": len(rows), "request_rate": 100.0, "duration": run.ledger.makespan_s,
        "completed": len(rows), "total_input_tokens": 1, "total_output_tokens": emitted,
        "output_throughput": emitted / run.ledger.makespan_s, **figures,
        "input_lens": [row.input_tokens for row in rows], "output_lens": [row.output_tokens for row in rows],
        "start_times": [1e9 + row.arrival_s for row in rows],
    }  # fmt: skip


def replayed(tmp_path, run, concurrency=None, **changes):
    path = tmp_path / "result.json"
    path.write_text(json.dumps(result_of(run) | changes))
    (result,) = read_results(path)
    return replay(result, SIMULATOR, concurrency)


def test_open_arrivals_are_met_exactly(tmp_path):
    run = simulate(SIMULATOR.experiment("", "", {}, listed(ASKED)))
    found = replayed(tmp_path, run)
    assert (found.workload, found.requests, found.engine, found.machine) == ("listed", 20, "vllm", "h100_single")
    assert len(found.latencies) == 9
    assert max(abs(each.error) for each in found.latencies) < 1e-6
    assert abs(found.throughput.error) < 1e-6


def test_a_closed_loop_is_met_exactly(tmp_path):
    workload = {
        "kind": "closed_loop", "n_users": 4, "n_requests": 20,
        "lengths": {"kind": "listed", "pairs": [[tokens, answer] for _, tokens, answer in ASKED]},
    }  # fmt: skip
    run = simulate(SIMULATOR.experiment("", "", {}, workload))
    rows = sorted(run.ledger.requests, key=lambda row: row.request_id)
    order = {"input_lens": [row.input_tokens for row in rows], "output_lens": [row.output_tokens for row in rows]}
    found = replayed(tmp_path, run, request_rate="inf", max_concurrency=4, **order)
    assert found.workload == "closed_loop"
    assert max(abs(each.error) for each in found.latencies) < 1e-6
    assert replayed(tmp_path, run, concurrency=4, **order).latencies == found.latencies


def test_a_slower_measurement_shows_as_a_negative_error(tmp_path):
    run = simulate(SIMULATOR.experiment("", "", {}, listed(ASKED)))
    slow = result_of(run)["mean_tpot_ms"] * 2
    found = replayed(tmp_path, run, mean_tpot_ms=slow)
    (figure,) = [each for each in found.latencies if (each.metric, each.statistic) == ("tpot", "mean")]
    assert figure.error == pytest.approx(-0.5, abs=1e-6)
