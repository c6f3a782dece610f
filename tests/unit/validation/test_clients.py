"""Results of benchmark clients in each of their forms, and what is refused. All files are made here."""

import json
import math

import pytest

from papisim.errors import InputError, NotModelled
from papisim.validation.clients import Client, Pace, read_results

VLLM = {
    "date": "20261128-120000", "backend": "vllm", "model_id": "shape-of-llama7b", "num_prompts": 4, "request_rate": 10.0,
    "burstiness": 1.0, "max_concurrency": None, "duration": 2.0, "completed": 4, "failed": 0, "total_input_tokens": 1000,
    "total_output_tokens": 40, "request_throughput": 2.0, "output_throughput": 20.0, "total_token_throughput": 520.0,
    "mean_ttft_ms": 30.0, "median_ttft_ms": 28.0, "std_ttft_ms": 5.0, "p99_ttft_ms": 50.0, "mean_tpot_ms": 8.0,
    "median_tpot_ms": 7.5, "p99_tpot_ms": 12.0, "mean_itl_ms": 8.1, "median_itl_ms": 7.4, "p99_itl_ms": 30.0,
    "mean_e2el_ms": 100.0, "median_e2el_ms": 95.0, "p90_e2el_ms": 140.0,
}  # fmt: skip
DETAILS = {
    "input_lens": [100, 200, 300, 400], "output_lens": [10, 0, 12, 8], "start_times": [50.5, 50.6, 50.0, 51.0],
    "ttfts": [0.02, 0.0, 0.03, 0.04], "itls": [[0.008] * 9, [], [0.008] * 11, [0.008] * 7], "errors": ["", "refused", "", ""],
}  # fmt: skip
SGLANG = {
    "backend": "sglang", "dataset_name": "random", "request_rate": "inf", "max_concurrency": 16, "random_input_len": 1024,
    "random_output_len": 128, "random_range_ratio": 0.5, "duration": 20.0, "completed": 64, "total_input_tokens": 49152,
    "total_output_tokens": 6144, "output_throughput": 307.2, "mean_e2e_latency_ms": 4000.0, "median_e2e_latency_ms": 3900.0,
    "mean_ttft_ms": 200.0, "p99_ttft_ms": 900.0, "mean_tpot_ms": 12.0, "p99_itl_ms": 40.0, "concurrency": 15.9,
}  # fmt: skip


def block(unit, **statistics):
    return {"unit": unit, **statistics}


AIPERF = {
    "input_config": {"endpoint": {"model_names": ["m"]}, "loadgen": {"concurrency": 8, "request_rate": None}},
    "request_count": block("requests", avg=80.0),
    "request_latency": block("ms", avg=900.0, p50=880.0, p90=1000.0, p99=1200.0),
    "time_to_first_token": block("ms", avg=45.0, p50=40.0, p99=90.0),
    "inter_token_latency": block("ms", avg=9.0, p50=8.9, p99=11.0),
    "output_token_throughput": block("tokens/sec", avg=800.0),
    "input_sequence_length": block("tokens", avg=512.0, std=0.0),
    "output_sequence_length": block("tokens", avg=96.4, std=3.0),
}


def record(start_s, ttft_ms, latency_ms, tokens, error=None, phase="profiling"):
    return {
        "metadata": {"request_start_ns": int((1e6 + start_s) * 1e9), "benchmark_phase": phase},
        "metrics": {
            "time_to_first_token": block("ms", value=ttft_ms), "request_latency": block("ms", value=latency_ms),
            "input_sequence_length": block("tokens", value=tokens[0]),
            "output_sequence_length": block("tokens", value=tokens[1]),
        },
        "error": error,
    }  # fmt: skip


@pytest.fixture
def read(tmp_path):
    def go(*documents, indent=None):
        path = tmp_path / "result.json"
        path.write_text("\n".join(json.dumps(each, indent=indent) for each in documents) + "\n")
        return read_results(path)

    return go


def test_a_summary_of_vllm_is_a_poisson_process_of_mean_lengths(read):
    (found,) = read(VLLM, indent=2)
    assert (found.form, found.model, found.output_tokens_per_s) == ("vllm", "shape-of-llama7b", 20.0)
    assert found.client.workload() == {
        "kind": "poisson", "rate_per_s": 10.0, "n_requests": 4,
        "lengths": {"kind": "fixed", "input_tokens": 250, "output_tokens": 10},
    }  # fmt: skip
    assert found.measured["ttft", "mean"] == pytest.approx(0.030)
    assert found.measured["tpot", "p50"] == pytest.approx(0.0075)
    assert found.measured["e2e", "p90"] == pytest.approx(0.140)
    assert ("ttft", "std") not in found.measured
    assert "each has the mean, 250 and 10 tokens" in found.notes[0]


def test_details_of_vllm_are_replayed_request_by_request_without_those_that_failed(read):
    (found,) = read(VLLM | DETAILS)
    assert found.client.workload() == {
        "kind": "listed", "requests": [[0.0, 300, 12], [0.5, 100, 10], [1.0, 400, 8]],
    }  # fmt: skip
    assert found.notes == ("1 requests failed and are left out",)


def test_burstiness_is_the_shape_of_gaps(read):
    (found,) = read(VLLM | {"burstiness": 4.0})
    assert found.client.workload()["kind"] == "gamma_burst"
    assert found.client.workload()["gap_cv"] == pytest.approx(0.5)


def test_a_client_that_limits_its_requests_is_a_closed_loop(read):
    plain, detailed = read(
        VLLM | {"request_rate": "inf", "max_concurrency": 2},
        VLLM | DETAILS | {"request_rate": "inf", "max_concurrency": 2},
    )
    assert plain.client.workload()["kind"] == detailed.client.workload()["kind"] == "closed_loop"
    assert detailed.client.workload()["n_users"] == 2
    assert detailed.client.workload()["lengths"] == {"kind": "listed", "pairs": [[100, 10], [300, 12], [400, 8]]}


def test_a_limit_with_a_rate_needs_the_times_of_requests(read):
    limited = {"max_concurrency": 2}
    (detailed,) = read(VLLM | DETAILS | limited)
    assert detailed.client.workload()["kind"] == "listed"
    (plain,) = read(VLLM | limited)
    with pytest.raises(NotModelled, match="--save-detailed"):
        plain.client.workload()


def test_all_at_once_is_a_closed_batch():
    lengths = {"kind": "fixed", "input_tokens": 8, "output_tokens": 8}
    assert Client(3, lengths).workload() == {"kind": "closed_batch", "n_requests": 3, "lengths": lengths}
    assert Pace().rate_per_s == math.inf


def test_runs_of_sglang_are_lines_with_uniform_lengths(read):
    first, second = read(SGLANG, SGLANG | {"max_concurrency": 32})
    assert (first.form, second.client.pace.concurrency) == ("sglang", 32)
    assert first.client.workload() == {
        "kind": "closed_loop", "n_users": 16, "n_requests": 64,
        "lengths": {"kind": "uniform", "input_tokens": 1024, "output_tokens": 128, "min_ratio": 0.5},
    }  # fmt: skip
    assert first.measured["e2e", "p50"] == pytest.approx(3.9)
    assert first.measured["itl", "p99"] == pytest.approx(0.040)


def test_details_of_sglang_have_lengths_and_no_times(read):
    details = {name: DETAILS[name] for name in ("input_lens", "output_lens", "ttfts", "itls", "errors")}
    (found,) = read(SGLANG | details | {"request_rate": 4.0, "max_concurrency": None})
    assert found.client.workload()["kind"] == "poisson"
    assert found.client.workload()["lengths"]["pairs"] == [[100, 10], [300, 12], [400, 8]]


def test_statistics_of_aiperf_have_their_units_and_settings(read):
    (found,) = read(AIPERF, indent=2)
    assert found.client.workload() == {
        "kind": "closed_loop", "n_users": 8, "n_requests": 80,
        "lengths": {"kind": "fixed", "input_tokens": 512, "output_tokens": 96},
    }  # fmt: skip
    assert found.measured["tpot", "mean"] == pytest.approx(0.009), "its inter-token latency is a mean per request"
    assert found.measured["e2e", "p99"] == pytest.approx(1.2)
    assert found.output_tokens_per_s == 800.0
    assert "profile_export.jsonl has them" in found.notes[0]


def test_records_of_aiperf_are_replayed_as_they_were_sent(read):
    (found,) = read(
        record(2.0, 30.0, 120.0, (64, 10)), record(1.0, 20.0, 20.0, (32, 1)),
        record(0.0, 99.0, 99.0, (8, 8), phase="warmup"), record(1.5, 9.0, 9.0, (8, 8), error={"code": 500}),
    )  # fmt: skip
    assert found.client.workload()["requests"] == [[0.0, 32, 1], [pytest.approx(1.0), 64, 10]]
    assert found.measured["ttft", "mean"] == pytest.approx(0.025, rel=1e-5)
    assert found.measured["tpot", "mean"] == pytest.approx(0.010, rel=1e-5), "a single token has no time per token"
    assert found.output_tokens_per_s == pytest.approx(11 / 1.12, rel=1e-5)
    assert "2 requests failed or belong to the warm-up" in found.notes[1]


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"hello": 1}, "is in no form that is known; expected JSON of vllm bench serve"),
        ({"experiments": [{"requests": []}]}, "no numbers of tokens; give the file that GenAI-Perf makes of it"),
        (VLLM | {"output_throughput": "fast"}, "output_throughput: found 'fast', expected a number"),
        (VLLM | {"mean_ttft_ms": float("nan")}, "mean_ttft_ms: found nan, expected a number of at least 0"),
        (VLLM | DETAILS | {"output_lens": [1, 2, 3]}, "output_lens: found 3 numbers, expected 4"),
        (VLLM | DETAILS | {"start_times": [1.0]}, "start_times: found 1 numbers, expected 4"),
        (VLLM | DETAILS | {"input_lens": [1, 2, 3, -4]}, "input_lens: expected a list of numbers of at least 0"),
        (VLLM | DETAILS | {"output_lens": "many"}, "output_lens: expected a list of numbers"),
        (VLLM | DETAILS | {"output_lens": [0, 0, 0, 0]}, "output_lens: no request was served"),
        (AIPERF | {"request_latency": block("weeks", avg=1.0)}, "found 'weeks', expected one of ms"),
        ({key: value for key, value in AIPERF.items() if key != "request_count"}, "request_count: is missing"),
        (record(0, 1.0, 1.0, (1, 1), error={"code": 500}), "holds no request that was served"),
    ],
)
def test_what_is_no_result_is_refused_and_says_what_was_expected(read, document, said):
    with pytest.raises(InputError) as error:
        read(document)
    assert said in str(error.value)


@pytest.mark.parametrize("text", ["", "[1, 2]", "{}\nnot json", "a,b\n1,2\n"])
def test_files_of_other_kinds_are_refused(tmp_path, text):
    path = tmp_path / "result.json"
    path.write_text(text)
    with pytest.raises(InputError, match="expected JSON of vllm bench serve"):
        read_results(path)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_results(tmp_path / "none.json")
