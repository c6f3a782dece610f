"""Rows of measured serving rates as experiments, and their errors by group."""

import csv
import gzip
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from papisim.config.experiment import load_experiment, options_of
from papisim.engine.run import simulate
from papisim.errors import InputError, InputErrors
from papisim.validation.serving import (
    PLAIN,
    QUEUED,
    SHORT,
    SUSPECT,
    Inexpressible,
    Predicted,
    ServingRow,
    grouped,
    part_of,
    point_of,
    read_serving_rows,
    refusals,
    sampled,
    serving_table,
    write_predictions,
)

ROW = ServingRow(
    source_row=7, model="meta-llama/Llama-3.1-8B", gpu="h100", tp=2, pp=1, dp=1, ep=0, backend="vllm", version="", suite="s",
    weight_bits=16, kv_bits=None, isl=100, osl=40, range_ratio=0.5, concurrency=4, ttft_s=0.1, tpot_s=0.01,
    kv_need_ratio=None, queued=False, reentered=False, suspect="",
)  # fmt: skip


def write(path: Path, rows: list[ServingRow], **changed: str) -> Path:
    with path.open("w", newline="") as file:
        lines = csv.DictWriter(file, asdict(rows[0]))
        lines.writeheader()
        for row in rows:
            lines.writerow({name: "" if value is None else value for name, value in asdict(row).items()} | changed)
    return path


def test_a_table_is_read_as_it_was_written_plain_or_gzipped(tmp_path: Path):
    rows = [ROW, replace(ROW, source_row=8, kv_bits=8, kv_need_ratio=0.5, dp=None, queued=True, suspect="odd")]
    plain = write(tmp_path / "rows.csv", rows)
    packed = tmp_path / "rows.csv.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert read_serving_rows(plain) == read_serving_rows(packed) == rows


@pytest.mark.parametrize(
    ("column", "cell", "said"),
    [
        ("tp", "two", r"rows.csv:2: tp: found 'two', expected a whole number"),
        ("ttft_s", "", r"ttft_s: found '', expected a number"),
        ("queued", "yes", r"queued: found 'yes', expected True or False"),
    ],
)
def test_a_wrong_cell_is_told_with_its_line_and_column(tmp_path: Path, column: str, cell: str, said: str):
    with pytest.raises((InputError, InputErrors), match=said):
        read_serving_rows(write(tmp_path / "rows.csv", [ROW], **{column: cell}))


def test_a_missing_column_is_named(tmp_path: Path):
    path = tmp_path / "rows.csv"
    path.write_text("model,gpu\nx,y\n")
    with pytest.raises(InputError, match="has no column source_row, tp, pp"):
        read_serving_rows(path)


def test_a_row_becomes_the_closed_loop_of_its_client():
    point = point_of(replace(ROW, weight_bits=8, kv_bits=8), with_engine=False)
    options = {name: value for name, value in point.items() if "." not in name}
    fields = {name: value for name, value in point.items() if "." in name}
    experiment = load_experiment(options_of(**options, set=fields))
    assert experiment.system.spec.devices["gpu"].count == experiment.system.spec.links["nvlink"].count == 2
    assert experiment.trace.name == "llama3-8b"
    assert (experiment.quantisation.weight_bits, experiment.quantisation.kv_bits) == (8, 8)
    assert (experiment.workload.n_users, experiment.workload.n_requests) == (4, 40)  # type: ignore[attr-defined]
    assert experiment.workload.lengths.min_ratio == 0.5  # type: ignore[attr-defined]
    rows = simulate(experiment).ledger.requests
    assert len(rows) == 40
    assert min(row.input_tokens for row in rows) >= 50
    assert max(row.output_tokens for row in rows) <= 40


def test_the_budget_of_a_launch_script_follows_from_its_rule_and_other_rows_have_the_engines_own_scheduler():
    launched = replace(ROW, suite="nvidia_gap", backend="trtllm", isl=2048, concurrency=64)
    assert point_of(launched, with_engine=True)["batching"] == {
        "kind": "continuous",
        "max_batch": 64,
        "step_tokens": 1500 + 64 + 2048,
    }
    assert point_of(ROW, with_engine=True)["batching"] is None
    assert point_of(ROW, with_engine=True)["engine"] == "vllm"


def test_every_row_says_all_fields_that_any_row_sets_so_that_no_setting_leaks_from_one_to_the_next():
    points = [point_of(replace(ROW, weight_bits=bits), with_engine=False) for bits in serving_table().quantisation]
    assert len({tuple(point) for point in points}) == 1
    assert len({repr(point) for point in points}) == len(points)


def test_experts_that_are_dealt_out_to_all_ranks_are_so_in_the_plan():
    assert point_of(ROW, with_engine=True)["parallel.expert_ranks"] == 1
    assert point_of(replace(ROW, tp=8, ep=8), with_engine=True)["parallel.expert_ranks"] == 8


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"gpu": "b200"}, "no machine of b200"),
        ({"model": "x/y"}, "no trace of x/y"),
        ({"weight_bits": 2}, "no quantisation of weight bits 2"),
        ({"backend": "tgi"}, "no engine profile of tgi"),
        ({"pp": 2}, "pp 2"),
        ({"ep": 8}, "ep 8"),
        ({"reentered": True}, "the same measurement entered again"),
    ],
)
def test_what_cannot_be_expressed_is_refused_with_the_reason(change: dict[str, object], reason: str):
    with pytest.raises(Inexpressible, match=reason):
        point_of(replace(ROW, **change), with_engine=False)  # type: ignore[arg-type]


def test_implausible_rows_and_those_short_of_room_are_kept_apart():
    assert part_of(ROW) == PLAIN
    assert part_of(replace(ROW, queued=True)) == QUEUED
    assert part_of(replace(ROW, queued=True, kv_need_ratio=0.95)) == SHORT
    assert part_of(replace(ROW, kv_need_ratio=0.95, suspect="odd")) == SUSPECT


def test_the_rate_of_a_closed_loop_is_users_times_answers_per_cycle():
    assert ROW.output_tokens == 30
    assert ROW.tokens_per_s(0.1, 0.01) == pytest.approx(4 * 30 / (0.1 + 29 * 0.01))


def test_errors_are_those_of_each_group_and_unsimulated_rows_are_in_none():
    slow = Predicted(ROW, PLAIN, ttft_s=0.11, tpot_s=0.012)
    fast = Predicted(replace(ROW, tp=4), PLAIN, ttft_s=0.09, tpot_s=0.009)
    other = Predicted(replace(ROW, gpu="h200"), SUSPECT, ttft_s=0.2, tpot_s=0.02)
    none = Predicted(replace(ROW, tp=8), PLAIN, reason="does not fit")
    errors = list(grouped([slow, fast, other, none]))
    plain = [each for each in errors if each.part == PLAIN]
    assert [(each.engine, each.tp) for each in plain] == [(None, None), ("vllm", None), ("vllm", 2), ("vllm", 4)]
    assert plain[1].tpot.mape == pytest.approx((0.2 + 0.1) / 2)
    assert plain[1].tpot.bias == pytest.approx((0.2 - 0.1) / 2)
    assert plain[2].ttft.bias == pytest.approx(0.1)
    assert plain[2].throughput.bias < 0 < plain[3].throughput.bias, "slower is less"
    assert [each.part for each in errors][-3:] == [SUSPECT] * 3
    assert refusals([slow, none, none]) == [("does not fit", 2)]


def test_a_sample_has_so_many_rows_of_every_stratum_and_is_the_same_each_time():
    rows = [replace(ROW, source_row=n, tp=1 + n % 3, queued=n % 2 == 0) for n in range(60)]
    chosen = sampled(rows, 4)
    assert len(chosen) == 2 * 3 * 4
    assert chosen == sampled(rows, 4) == sorted(chosen, key=lambda row: row.source_row)
    assert sampled(rows, None) == rows
    assert sampled(rows, 100) == rows


def test_predictions_are_written_row_by_row(tmp_path: Path):
    file = tmp_path / "serving.csv"
    write_predictions([Predicted(ROW, PLAIN, 0.11, 0.012), Predicted(ROW, PLAIN, reason='no, "really"')], file)
    with file.open(newline="") as lines:
        first, second = csv.DictReader(lines)
    assert (float(first["predicted_tpot_s"]), float(first["tpot_s"])) == (0.012, 0.01)
    assert (second["predicted_tpot_s"], second["reason"]) == ("", 'no, "really"')
