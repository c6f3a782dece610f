"""An engine's logs beside the simulator: what it would log itself agrees with it, and every difference has its place."""

import csv
import json

import numpy as np
import pytest

from papisim.calibration.engine.fit import TERMS, fit_host, fit_kernels, write_profile
from papisim.calibration.engine.log import read_log
from papisim.catalog import Shelf, find
from papisim.config.engine import load_engine
from papisim.config.yaml import load_yaml
from papisim.engine.run import simulate
from papisim.errors import InputError
from papisim.pricing.engine_step import Composition, Part, StepPricer
from papisim.validation.engine import Comparison, block_of
from papisim.validation.served import Simulator, listed

KERNELS = {Part.FC: "nvjet_a", Part.ATTENTION: "flash::b", Part.SMALL: "triton_c"}
CELLS = {
    "b1c256": Composition(1, 1, 256), "b8c1024": Composition(8, 8, 8192), "b32c1024": Composition(32, 32, 32768),
    "b64c256": Composition(64, 64, 16384), "p128": Composition(prompts=((0, 128),)), "p1024": Composition(prompts=((0, 1024),)),
    "p4096": Composition(prompts=((0, 4096),)), "mix8c256+512": Composition(8, 8, 2048, ((0, 512),)),
}  # fmt: skip
HOST = {"step_s": 1e-3, "request_s": 4e-5, "prompt_token_s": 2e-7, "launch_s": 5e-5}
#: a comparison takes the operand ratio from the weights of a log unless it is given
OPERANDS = "devices.gpu.part.fitted_energy.operand_ratio=0.8"
SIMULATOR = Simulator(
    None, None, "vllm", (OPERANDS, *(f"engine.host.{term}={value}" for term, value in HOST.items()))
)


def pricer(scheduling="synchronous"):
    return StepPricer(SIMULATOR.experiment("h100", "llama7b", {"engine.host.scheduling": scheduling}))


def write(folder, name, rows):
    with (folder / f"{name}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def step_row(cell, step, price, block, engine="llama7b_sync"):
    waiting_s = max(0.0, price.time_s - price.by_part[Part.HOST])
    return {
        "gpu": "h100", "engine": engine, "block": block, "cell": cell, "dt_s": price.time_s, "t_schedule_s": 0, "t_execute_s": 0,
        "t_sample_s": waiting_s, "t_update_s": 0, "n_decode": step.n_decode, "decode_tokens": step.decode_rows,
        "decode_ctx_sum": step.cached_tokens, "prefill_list": ";".join(f"{tokens}@{cached}" for cached, tokens in step.prompts),
        "sched_tokens": step.size.rows, "running": step.size.requests, "waiting": 0,
    }  # fmt: skip


def cell_row(cell, step, price, block, engine="llama7b_sync", k=0):
    return {
        "gpu": "h100", "engine": engine, "block": block, "cell": cell, "batch": step.n_decode or 1, "ctx": 0, "k": k, "n": 3,
        "median_ms": price.time_s * 1e3,
    }  # fmt: skip


def kernel_rows(cell, price, factors):
    times = {part: price.by_part[part] * factors.get(part, 1.0) for part in KERNELS}
    return [
        {
            "gpu": "h100", "engine": "llama7b_sync", "cell": cell, "steps": 1, "busy_ms_per_step": 1e3 * sum(times.values()),
            "kernel": KERNELS[part], "count_per_step": 1, "us_per_step": 1e6 * time_s,
        }
        for part, time_s in times.items()
    ]  # fmt: skip


def block(step):
    return "mixed" if step.prompts and step.n_decode else "prefill" if step.prompts else "decode"


def tell_weights(folder, *, loads_weights):
    record = {"kind": "engine", "engine": "llama7b_sync", "settings": {"loads_weights": loads_weights}}
    (folder / "meta.jsonl").write_text(json.dumps(record) + "\n")


@pytest.fixture
def log_of(tmp_path):
    """Return a function that writes the logs of an engine which takes what the simulator says, times factors per part."""

    def make(**factors):
        price = pricer().price
        prices = {cell: (step, price(step)) for cell, step in CELLS.items()}
        write(tmp_path, "steps", [
            step_row(f"{cell}{suffix}", step, each, where)
            for cell, (step, each) in prices.items() for suffix, where in (("", block(step)), (":prof", "profile"))
        ])  # fmt: skip
        write(tmp_path, "cells", [cell_row(cell, step, each, block(step)) for cell, (step, each) in prices.items()])
        by_part = {Part(part): factor for part, factor in factors.items()}
        write(
            tmp_path,
            "profile",
            [row for cell, (_, each) in prices.items() for row in kernel_rows(cell, each, by_part)],
        )
        tell_weights(tmp_path, loads_weights=True)
        return read_log(tmp_path)

    return make


def test_what_the_simulator_would_log_has_no_error(log_of):
    comparison = Comparison(log_of(), SIMULATOR)
    parts, steps = list(comparison.parts()), list(comparison.steps())
    assert (
        [row.block for row in parts]
        == [row.block for row in steps]
        == ["decode", "prompts_1024", "prompts_beyond", "mixed"]
    )
    assert [row.n for row in parts] == [4, 2, 1, 1]
    for row in parts:
        assert max(each.mape for each in (row.fc, row.attention, row.small, row.busy)) < 1e-5
        assert not row.cancelling
    assert max(row.total.mape for row in steps) < 1e-9
    assert max(row.host.mape for row in steps if row.host) < 1e-9
    assert not comparison.notes


def test_an_error_is_in_its_part_and_has_its_sign(log_of):
    rows = list(Comparison(log_of(fc=1.25), SIMULATOR).parts())
    for row in rows:
        assert row.fc.bias == pytest.approx(1 / 1.25 - 1, abs=1e-5)
        assert row.attention.mape < 1e-5
        assert row.busy.bias < -0.05
        assert not row.cancelling, "one part is off, and the total shows it"
        assert row.cancelled_ratio < 1e-5


def test_parts_that_cancel_in_the_total_are_marked(log_of):
    """FC of a decoding step is as long here as it is there shorter: the total is right and means nothing."""
    price = pricer().price(CELLS["b32c1024"])
    swapped = 0.2 * price.by_part[Part.FC] / price.by_part[Part.ATTENTION]
    log = log_of(fc=0.8, attention=1 + swapped)
    row = next(each for each in Comparison(log, SIMULATOR).parts() if each.block == "decode")
    assert row.cancelling
    assert row.fc.bias == pytest.approx(0.25, abs=1e-4)
    assert row.attention.bias < 0
    assert row.cancelled_ratio > 0.02


def test_steps_are_sorted_into_blocks():
    assert block_of(Composition(2, 2, 10)) == "decode"
    assert block_of(Composition(2, 8, 10)) == "drafts"
    assert block_of(Composition(2, 8, 10, ((0, 5),))) == "mixed"
    assert block_of(Composition(prompts=((0, 512), (0, 512)))) == "prompts_1024"
    assert block_of(Composition(prompts=((0, 512), (0, 513)))) == "prompts_beyond"


def test_time_of_drafts_is_that_of_waiting(tmp_path):
    price = pricer().price
    steps = {k: Composition(32, 32 * (1 + k), 32 * 1024) for k in (1, 3, 7)}
    of = {k: f"llama7b_ngram{k}" for k in steps}
    write(tmp_path, "steps", [step_row("b32c1024", step, price(step), "spec", of[k]) for k, step in steps.items()])
    write(tmp_path, "cells", [cell_row("b32c1024", step, price(step), "spec", of[k], k) for k, step in steps.items()])
    (added,) = Comparison(read_log(tmp_path), SIMULATOR).drafts()
    assert (added.from_drafts, added.to_drafts, added.of) == (1, 7, "waiting")
    assert added.measured_s == pytest.approx(price(steps[7]).slowed_s - price(steps[1]).slowed_s)
    assert added.error == pytest.approx(0, abs=1e-9)


def test_a_cell_without_steps_is_priced_by_its_name(tmp_path):
    """The middle of its steps is five tokens and half its steps further than the name says."""
    step = Composition(4, 8, 4 * (256 + 5 + 1))
    write(tmp_path, "steps", [step_row("other", step, pricer().price(step), "spec")])
    write(tmp_path, "cells", [
        cell_row("b4c256", step, pricer().price(step), "spec", "llama7b_ngram1", 1),
        cell_row("odd", step, pricer().price(step), "spec", "llama7b_ngram1", 1),
    ])  # fmt: skip
    comparison = Comparison(read_log(tmp_path), SIMULATOR)
    assert [(row.part, row.predicted_s) for row in comparison.cells] == [
        ("total", pytest.approx(pricer().price(step).time_s))
    ]
    assert any("no steps of the cell odd" in note for note in comparison.notes)


def test_a_service_is_simulated_with_the_arrivals_and_limits_of_the_log(tmp_path):
    asked = [(0.002 * index, 200 + index, 20) for index in range(12)]
    settings = {"engine.host.scheduling": "synchronous", "batching.max_batch": 4, "batching.chunk_tokens": 512}
    run = simulate(SIMULATOR.experiment("h100", "llama7b", settings, listed(asked)))
    write(tmp_path, "requests", [
        {
            "gpu": "h100", "engine": "llama7b_sync", "block": "burst", "arrival_s": each.arrival_s, "first_token_s": each.first_token_s,
            "end_s": each.finish_s, "tokens_in": each.input_tokens, "tokens_out": each.output_tokens,
        }
        for each in run.ledger.requests
    ])  # fmt: skip
    full = Composition(4, 4, 1000)
    row = step_row("serve", full, pricer().price(full), "burst") | {"sched_tokens": 512, "running": 4, "waiting": 8}
    write(tmp_path, "steps", [row])
    comparison = Comparison(read_log(tmp_path), SIMULATOR)
    (found,) = comparison.services()
    assert (found.requests, found.chunk_tokens, found.max_batch) == (12, 512, 4)
    assert {(each.metric, each.statistic) for each in found.figures} == {
        (metric, name) for metric in ("ttft", "tpot", "e2e") for name in ("mean", "p50", "p99")
    }
    assert max(abs(each.error) for each in found.figures) < 1e-9
    assert found.request_mape == pytest.approx({"ttft": 0, "tpot": 0, "e2e": 0}, abs=1e-9)
    assert [(row.cell, row.measured_s) for row in comparison.requests if row.part == "e2e"] == [
        (str(each.request_id), pytest.approx(each.finish_s - each.arrival_s)) for each in run.ledger.requests
    ]
    assert [each.block for each in comparison.service_steps()] == ["decode", "all"]


def test_the_fit_of_the_host_finds_the_times_that_made_the_log(log_of):
    log = log_of()
    fit = fit_host(log, lambda fields: Simulator(None, None, "vllm").experiment("h100", "llama7b", fields))
    assert fit.before == {term: getattr(load_engine("vllm").spec.host, term) for term in TERMS}
    assert fit.after == {term: pytest.approx(value, rel=1e-3) for term, value in (fit.before | HOST).items()}
    assert fit.explained.mape_after < 1e-6 < fit.explained.mape_before
    assert fit.explained.mape_left_out < 1e-3
    assert fit.explained.r2_ratio == pytest.approx(1)


def test_the_fit_of_the_host_finds_what_drafts_add(tmp_path):
    drafts = {"draft_step_s": 3e-4, "draft_token_s": 5e-6}

    def variant(fields):
        return Simulator(None, None, "vllm").experiment("h100", "llama7b", fields)

    terms = {f"engine.host.{term}": value for term, value in (HOST | drafts).items()}
    price = StepPricer(variant(terms | {"engine.host.scheduling": "synchronous", "engine.graphs.batches": 8})).price
    decoding = {f"b{n}c256": Composition(n, n, n * 256) for n in (1, 8, 64)}
    drafting = {f"b{n}c256": Composition(n, 4 * n, n * 256) for n in (1, 8, 64)}
    prompts = {f"p{n}": Composition(prompts=((0, n),)) for n in (128, 2048, 4096)}
    write(tmp_path, "steps", [
        step_row(cell, step, price(step), block(step), engine)
        for engine, steps in (("llama7b_sync", decoding | prompts), ("llama7b_ngram3", drafting))
        for cell, step in steps.items()
    ])  # fmt: skip
    found = fit_host(read_log(tmp_path), variant).after
    assert {term: found[term] for term in drafts} == pytest.approx(drafts, rel=1e-3)


def test_a_fitted_profile_removes_errors_of_parts_and_keeps_what_is_right(log_of, tmp_path):
    """The engine's FC takes 1.25 times as long as its library's; its attention is as fast on average, and no factor helps it."""
    log = log_of(fc=1.25)
    start = Simulator(None, None, "vllm")
    fit = fit_host(log, lambda fields: start.experiment("h100", "llama7b", fields))
    cells = [row for row in Comparison(log, start).profiled if row.part == Part.FC]
    predicted, measured = (np.array([getattr(row, name) for row in cells]) for name in ("predicted_s", "measured_s"))
    fc = fit_kernels(Part.FC, predicted, measured)
    assert fc.factor == pytest.approx(1.25, rel=1e-5)
    assert fc.helps
    noise = np.where(np.arange(len(predicted)) % 2, 0.9, 1 / 0.9)
    attention = fit_kernels(Part.ATTENTION, predicted, predicted * noise)
    assert not attention.helps
    file = tmp_path / "mine.yaml"
    file.write_text(write_profile(load_yaml(find(Shelf.ENGINE, "vllm").path).data, fit, [fc, attention], log))
    read = load_engine(str(file))
    assert {term: getattr(read.spec.host, term) for term in TERMS} == pytest.approx(fit.after)
    assert (read.spec.kernels.fc_ratio, read.spec.kernels.attention_ratio) == (pytest.approx(1.25, rel=1e-5), 1.0)
    assert read.spec.fusion == load_engine("vllm").spec.fusion
    assert any("papisim calibrate engine" in str(source) for source in read.sources)
    fitted = Comparison(log, Simulator(None, None, str(file)))
    assert max(row.fc.mape for row in fitted.parts()) < 1e-4


def test_too_few_compositions_are_no_fit(tmp_path):
    step = CELLS["b1c256"]
    write(tmp_path, "steps", [step_row("b1c256", step, pricer().price(step), "decode")])
    log = read_log(tmp_path)
    with pytest.raises(InputError, match="1 compositions of steady synchronous steps, expected more than 2"):
        fit_host(log, lambda fields: Simulator(None, None, "vllm").experiment("h100", "llama7b", fields))


def test_a_log_without_gpus_needs_a_machine():
    with pytest.raises(InputError, match="--hw names the machine"):
        Simulator(None, None, "vllm").experiment("", "llama7b", {})


@pytest.mark.shared_data
def test_measured_engines_are_met_within_bounds(data):
    """vLLM 0.24, Llama-2-7B shape, H100 and H200: bounds are those of the model when this was written, with some slack."""
    comparison = Comparison(read_log(data("engine")), Simulator(None, None, "vllm"))
    decode = [row for row in comparison.steps() if row.block == "decode" and "v1runner" not in row.engine]
    assert {(row.gpu, row.engine) for row in decode} == {
        (gpu, f"llama7b_{mode}") for gpu in ("h100", "h200") for mode in ("sync", "async")
    }
    assert max(row.total.mape for row in decode) < 0.07
    assert max(row.fc.mape for row in comparison.parts() if row.block == "decode") < 0.04
    means = {
        (row.gpu, row.engine, figure.metric): abs(figure.error)
        for row in comparison.services()
        for figure in row.figures
        if figure.statistic == "mean"
    }
    assert max(error for (*_, metric), error in means.items() if metric in ("tpot", "e2e")) < 0.10


@pytest.mark.parametrize(("meta", "is_dummy"), [(None, True), (False, True), (True, False)])
def test_arithmetic_is_that_of_the_weights_that_the_engine_had(tmp_path, meta, is_dummy):
    step = Composition(prompts=((0, 4096),))
    plain = StepPricer(Simulator(None, None, "vllm").experiment("h100", "llama7b", {})).price(step)
    write(tmp_path, "steps", [step_row("p4096", step, plain, "prefill")])
    if meta is not None:
        tell_weights(tmp_path, loads_weights=meta)
    compared = Comparison(read_log(tmp_path), Simulator(None, None, "vllm"))
    clock_s = compared.price(compared.log.steps[0]).by_part[Part.CLOCK]
    assert (clock_s < 0.5 * plain.by_part[Part.CLOCK]) == is_dummy
    assert any("dummy weights" in note for note in compared.notes) == (meta is None)
