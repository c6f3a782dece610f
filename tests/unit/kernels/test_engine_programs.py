"""The driver of engines, on an engine that schedules in earnest and computes nothing."""

import argparse
import csv
import json
import statistics
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from kernels.engine.__main__ import BLOCKS, _arguments, read_arrivals, run
from kernels.engine.blocks import Arrival, Measurement, mode_name
from kernels.engine.log import COLUMNS, Launch, LogFolder, Readings, Scheduled, Step, busy_and_span_ns
from papisim.calibration.engine.log import read_log


class Toy:
    """An engine with chunked prompts: first every decoding request, then prompts up to the budget."""

    def __init__(self, most: int = 128, drafts: int = 0, *, is_async: bool = False) -> None:
        self.drafts, self.is_async, self.cache_tokens = drafts, is_async, 1 << 20
        self._most, self._budget, self._n = most, 8192, 0
        self._live: dict[str, list[int]] = {}

    def add(self, input_tokens: int, output_tokens: int) -> str:
        self._n += 1
        self._live[f"r{self._n}"] = [input_tokens, output_tokens, 0, 0]  # prompt, answer, cached, emitted
        return f"r{self._n}"

    @property
    def busy(self) -> bool:
        return bool(self._live)

    def limit(self, tokens: int) -> None:
        self._budget = tokens

    def clear(self) -> None:
        self._live.clear()

    def step(self) -> Step:
        start = time.perf_counter()
        admitted = dict(list(self._live.items())[: self._most])
        decoding = {name: each for name, each in admitted.items() if each[2] >= each[0]}
        rows = len(decoding) * (1 + self.drafts)
        context = sum(each[2] for each in decoding.values())
        prompts, left, new = [], self._budget - rows, dict.fromkeys(decoding, 1)
        for name, each in admitted.items():
            tokens = min(each[0] - each[2], left)
            if name not in decoding and tokens > 0:
                prompts.append((tokens, each[2]))
                left -= tokens
                each[2] += tokens
                new[name] = int(each[2] == each[0])
        waiting = len(self._live) - len(admitted)
        scheduled = Scheduled(
            len(decoding), rows, context, tuple(prompts), len(decoding) * self.drafts, len(admitted), waiting
        )
        for each in decoding.values():
            each[2] += 1
        for name, tokens in new.items():
            self._live[name][3] += tokens
        ended = frozenset(name for name, each in admitted.items() if each[3] == each[1])
        for name in ended:
            del self._live[name]
        return Step(start, time.perf_counter() - start + 1e-4, 1e-5, 2e-5, 5e-5, 1e-5, scheduled, new, ended)

    def profile(self, run: Callable[[], None]) -> tuple[float, list[Launch]]:
        run()
        return 0.001, [Launch(0, 1000, "nvjet_a"), Launch(500, 1000, "flash::b"), Launch(3000, 500, "nvjet_a")]

    def sensors(self) -> Readings:
        return Readings(1980, 3201, 500.0, 40)


@pytest.fixture
def measurement(tmp_path: Path) -> Measurement:
    return Measurement(Toy(), LogFolder(tmp_path, "h100", "toy_sync"), lambda line: None)


def test_decoding_cells_hold_what_their_names_say(measurement: Measurement, tmp_path: Path) -> None:
    measurement.decode([1, 8], [64])
    log = read_log(tmp_path)
    assert [(cell.cell, cell.batch, cell.ctx, cell.n) for cell in log.cells] == [
        ("b1c64", 1, 64, 24),
        ("b8c64", 8, 64, 24),
    ]
    for cell in log.cells:
        steps = [step for step in log.steps if step.cell == cell.cell]
        assert {step.n_decode for step in steps} == {cell.batch}
        assert all(step.decode_ctx_sum >= cell.batch * cell.ctx for step in steps)
        assert [b.decode_ctx_sum - a.decode_ctx_sum for a, b in pairwise(steps)] == [cell.batch] * 23
        assert cell.median_ms == pytest.approx(1e3 * statistics.median(step.dt_s for step in steps), abs=1e-3)


def test_prompts_are_whole_or_in_chunks_and_the_first_warms_up(measurement: Measurement, tmp_path: Path) -> None:
    measurement.prefill([128, 1024], [256])
    log = read_log(tmp_path)
    assert [(cell.cell, cell.n) for cell in log.cells] == [("p128", 3), ("p1024", 3), ("chunk256of1024", 1)]
    chunks = [step.prompts for step in log.steps if step.cell == "chunk256of1024"]
    assert chunks[:4] == [((cached, 256),) for cached in (0, 256, 512, 768)]
    whole = [step.dt_s for step in log.steps if step.cell == "chunk256of1024"]
    assert log.cells[2].median_ms == pytest.approx(1e3 * sum(whole[4:]), abs=1e-3)


def test_a_mixed_cell_is_prompts_beside_a_full_batch(measurement: Measurement, tmp_path: Path) -> None:
    measurement.mixed(4, 64, [32])
    log = read_log(tmp_path)
    with_prompts = [step for step in log.steps if step.cell == "mix4c64+32" and step.prompts]
    assert {(step.n_decode, step.prompts) for step in with_prompts} == {(4, ((0, 32),))}
    assert log.cells[0].n == len(with_prompts) - 1


def test_a_service_logs_each_request_with_all_its_tokens(tmp_path: Path) -> None:
    measurement = Measurement(Toy(most=2), LogFolder(tmp_path, "h100", "toy_sync"), lambda line: None)
    arrivals = [Arrival(0.0, 100, 5), Arrival(0.001, 50, 1), Arrival(0.02, 10, 3), Arrival(0.02, 10, 3)]
    measurement.serve("few", arrivals, budget=64, most_requests=2)
    log = read_log(tmp_path)
    assert [(row.tokens_in, row.tokens_out) for row in log.requests] == [
        (a.input_tokens, a.output_tokens) for a in arrivals
    ]
    for row, arrival in zip(log.requests, arrivals, strict=True):
        assert arrival.arrival_s <= row.first_token_s <= row.end_s
        assert (row.first_token_s == row.end_s) == (row.tokens_out == 1)
    assert max(step.sched_tokens for step in log.steps) == 64
    assert log.limits(("h100", "toy_sync"), "few") == (64, 2)


def test_kernels_are_summed_by_name_and_overlapping_ones_are_busy_once(
    measurement: Measurement, tmp_path: Path
) -> None:
    measurement.profile([(1, 64)], [])
    rows = read_log(tmp_path).kernels
    assert {row.kernel: (row.count_per_step, row.us_per_step) for row in rows} == {
        "nvjet_a": (0.5, 0.38), "flash::b": (0.25, 0.25),
    }  # fmt: skip
    assert {row.busy_ms_per_step for row in rows} == {0.0005}  # 2 µs of 3.5 in four steps


def test_busy_time_is_the_union_of_kernels() -> None:
    assert busy_and_span_ns([Launch(0, 10, ""), Launch(2, 3, ""), Launch(8, 4, ""), Launch(20, 1, "")]) == (13, 21)
    assert busy_and_span_ns([]) == (0, 0)


def test_steps_of_prompts_are_not_timed_where_calls_return_before_they_have_run(tmp_path: Path):
    said: list[str] = []
    engine = Measurement(Toy(is_async=True), LogFolder(tmp_path, "h100", "toy_async"), said.append)
    engine.prefill([64], [])
    engine.mixed(2, 64, [32])
    assert [line.partition(":")[0] for line in said] == ["prefill", "mixed"]
    assert not list(tmp_path.glob("cells.csv"))


def test_drafts_are_a_block_of_their_own(tmp_path: Path) -> None:
    Measurement(Toy(drafts=3), LogFolder(tmp_path, "h100", "toy_ngram3"), lambda line: None).decode([2], [64])
    log = read_log(tmp_path)
    assert [(cell.block, cell.k) for cell in log.cells] == [("spec", 3)]
    assert {step.decode_tokens for step in log.steps if step.cell == "b2c64"} == {8}


def test_modes_of_one_folder_share_a_header(tmp_path: Path) -> None:
    for name in ("toy_sync", "toy_async"):
        log = LogFolder(tmp_path, "h100", name)
        Measurement(Toy(), log, lambda line: None).decode([1], [64])
        log.describe("engine", async_scheduling=name == "toy_async")
    with (tmp_path / "cells.csv").open() as file:
        rows = list(csv.reader(file))
    assert rows[0] == list(COLUMNS["cells"])
    assert [row[1] for row in rows[1:]] == ["toy_sync", "toy_async"]
    records = [json.loads(line) for line in (tmp_path / "meta.jsonl").read_text().splitlines()]
    assert [record["engine"] for record in records] == ["toy_sync", "toy_async"]


def test_a_batch_whose_caches_do_not_fit_is_left_out(tmp_path: Path) -> None:
    engine, said = Toy(), list[str]()
    engine.cache_tokens = 1000
    Measurement(engine, LogFolder(tmp_path, "h100", "toy_sync"), said.append).decode([1, 16], [64])
    assert said[-1].startswith("b16c64: left out")
    assert len(read_log(tmp_path).cells) == 1


def test_names_carry_the_mode_and_models_may_not() -> None:
    assert mode_name("llama7b", is_async=True, drafts=0) == "llama7b_async"
    assert mode_name("llama7b", is_async=False, drafts=3) == "llama7b_ngram3"
    with pytest.raises(ValueError, match="without a mode"):
        mode_name("llama_sync", is_async=False, drafts=0)


def test_every_block_can_be_asked_for(measurement: Measurement, tmp_path: Path) -> None:
    requests = tmp_path / "burst.csv"
    requests.write_text("arrival_s,input_tokens,output_tokens\n0.02,8,2\n0.0,8,2\n")
    assert read_arrivals(requests, 2.0) == [(0.0, 8, 2), (0.01, 8, 2)]
    arguments = argparse.Namespace(
        batches=[2], contexts=[64], requests=[requests], rate_scale=1.0, service_budget=64, max_requests=2, drafts=0
    )
    for block in BLOCKS:
        run(measurement, block, arguments)
    assert {step.block for step in read_log(tmp_path).steps} == {"decode", "prefill", "mixed", "burst", "profile"}


def test_an_unknown_block_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        _arguments(["--model", "m", "--name", "n", "--out", "o", "--blocks", "decode,prefil"])
    assert "found block 'prefil'" in capsys.readouterr().err
