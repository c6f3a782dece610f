"""What is written is what the schema says, whatever the run."""

import json
from itertools import product

import pytest
from pydantic import ValidationError

from papisim.results.comparison import Comparison
from papisim.results.frames import frame, frames
from papisim.results.metrics import summarise
from papisim.results.schema import FRAMES, ComparisonSummary, RunSummary, Schema, columns

TRAFFIC = [(0.01 * i, 50, 1 + i) for i in range(4)]
REFUSED = [(0.0, 10_000_000, 5)]


def shape(value: object) -> object:
    """Return the nested keys of mappings."""
    return {key: shape(inner) for key, inner in value.items()} if isinstance(value, dict) else None


@pytest.fixture(scope="module")
def summaries(serve, run):
    return {
        "served": summarise(serve(TRAFFIC, set=["slo.ttft_s=1 s"])),
        "refused": summarise(serve(REFUSED)),
        "single tokens": summarise(serve([(0.0, 50, 1)])),
        "speculation": summarise(serve(TRAFFIC, set=["speculation={kind: fixed, tlp: 3}"])),
    }


def test_every_run_has_the_same_keys_and_what_it_has_not_is_null(summaries):
    policies = {"speculation", "batching", "routing"}
    shapes = [
        {key: shape(value) for key, value in summary.items() if key not in policies} for summary in summaries.values()
    ]
    assert all(each == shapes[0] for each in shapes)
    refused = summaries["refused"]
    assert refused["ttft_mean_s"] is refused["energy_per_token_j"] is None
    assert refused["energy_per_token_by_part_j"]["static_j"] is None
    assert refused["speculation_yield"]["emitted_tokens_per_round"] is None
    assert summaries["single tokens"]["tpot_p99_s"] is summaries["single tokens"]["itl_mean_s"] is None
    assert summaries["served"]["speculation_yield"]["acceptance_ratio"] is None


def test_streaming_metrics_have_the_same_keys(serve):
    pytest.importorskip("ddsketch")
    exact, streaming = (summarise(serve(TRAFFIC, metrics=kind)) for kind in ("exact", "streaming"))
    assert shape(exact) == shape(streaming)


def test_a_summary_survives_json_and_is_what_its_schema_describes(summaries):
    for summary in summaries.values():
        read = json.loads(json.dumps(summary))
        assert RunSummary.model_validate(read).as_json() == read
        with pytest.raises(ValidationError, match="another"):
            RunSummary.model_validate(read | {"another": 1})


def test_a_comparison_is_what_its_schema_describes(serve):
    comparison = Comparison(("a", "b"), (serve(TRAFFIC), serve([(0.0, 50, 1)])))
    summary = json.loads(json.dumps(comparison.summary))
    assert ComparisonSummary.model_validate(summary).as_json() == summary
    assert summary["comparison"][1]["tpot_mean_s"] is None


@pytest.mark.parametrize("schema", [RunSummary, ComparisonSummary, *FRAMES.values()], ids=lambda each: each.__name__)
def test_every_field_says_what_it_is(schema: type[Schema]):
    described = schema.model_json_schema(mode="serialization")
    for model in (described, *described.get("$defs", {}).values()):
        for name, field in model["properties"].items():
            assert field.get("description"), f"{schema.__name__}.{name}"


def test_frames_have_their_columns_and_those_of_the_machine(serve):
    finished = serve(TRAFFIC)
    tables = frames(finished)
    names = [*finished.machine.pools, *finished.machine.links, "host"]
    assert list(tables["requests"].columns) == columns("requests")
    assert list(tables["energy"].columns) == columns("energy")
    assert list(tables["steps"].columns) == [*columns("steps"), *(f"busy_{name}_s" for name in names)]


@pytest.mark.parametrize("name", FRAMES)
def test_a_frame_without_rows_has_its_columns_all_the_same(name):
    assert list(frame(name, [], ["busy_gpu_s"]).columns) == [*columns(name), "busy_gpu_s"]
    assert frame(name, []).empty


def test_the_frame_of_runs_has_one_column_for_each_figure(serve):
    finished = serve(TRAFFIC)
    summary, row = summarise(finished), frames(finished)["runs"].iloc[0]
    assert row["littles_law.lambda_w"] == summary["littles_law"]["lambda_w"]
    assert row["energy_per_token_by_part_j.static_j"] == summary["energy_per_token_by_part_j"]["static_j"]
    assert row["papers"] == len(summary["papers"])


def test_latencies_have_mean_and_four_percentiles_each():
    names = [f"{name}_{figure}_s" for name, figure in product(("ttft", "tpot", "itl", "e2e", "queueing"), ("mean", "p50", "p90", "p95", "p99"))]  # fmt: skip
    assert [name for name in RunSummary.model_fields if name in names] == names
