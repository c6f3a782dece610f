"""``papisim validate --engine``, ``papisim calibrate engine`` and ``papisim replay``, as a user calls them."""

import csv
import io
import json
import subprocess
import sys

import pytest

from papisim.config.experiment import RunOptions, load_experiment
from papisim.pricing.engine_step import Composition, Part, StepPricer

CELLS = {
    "b1c256": Composition(1, 1, 256), "b8c256": Composition(8, 8, 2048), "b32c256": Composition(32, 32, 8192),
    "p128": Composition(prompts=((0, 128),)), "p512": Composition(prompts=((0, 512),)), "p1024": Composition(prompts=((0, 1024),)),
}  # fmt: skip
STEPS = (
    "gpu,engine,block,cell,dt_s,t_schedule_s,t_execute_s,t_sample_s,t_update_s,n_decode,decode_tokens,decode_ctx_sum,prefill_list,"
    "sched_tokens"
)


def papisim(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "papisim", *map(str, arguments)], capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    """Return the logs of an engine whose host takes 1 ms per step more than the shipped profile says."""
    folder = tmp_path_factory.mktemp("logs")
    overrides = ("engine.host.scheduling=synchronous",)
    price = StepPricer(
        load_experiment(RunOptions(hw="h100_single", trace="llama7b", engine="vllm", set=overrides))
    ).price
    steps, cells, kernels = [STEPS], ["gpu,engine,block,cell,batch,ctx,k,n,median_ms"], []
    for cell, step in CELLS.items():
        found = price(step)
        host_s = found.by_part[Part.HOST] + 1e-3
        time_s = found.time_s + 1e-3
        block = "prefill" if step.prompts else "decode"
        prompts = ";".join(f"{tokens}@{cached}" for cached, tokens in step.prompts)
        row = f"{time_s},0,0,{max(0, time_s - host_s)},0,{step.n_decode},{step.decode_rows},{step.cached_tokens},{prompts},{step.size.rows}"
        steps += [f"h100,llama7b_sync,{block},{cell},{row}", f"h100,llama7b_sync,profile,{cell}:prof,{row}"]
        cells.append(f"h100,llama7b_sync,{block},{cell},{max(1, step.n_decode)},256,0,3,{time_s * 1e3}")
        for part, name in ((Part.FC, "nvjet"), (Part.ATTENTION, "flash::fwd"), (Part.SMALL, "triton_norm")):
            time_us = found.by_part[part] * 1e6
            kernels.append(f"h100,llama7b_sync,{cell},1,{found.devices_s * 1e3},{name},1,{time_us}")
    (folder / "steps.csv").write_text("\n".join(steps) + "\n")
    told = {"kind": "engine", "gpu": "h100", "engine": "llama7b_sync", "settings": {"loads_weights": True}}
    (folder / "meta.jsonl").write_text(json.dumps(told) + "\n")
    (folder / "cells.csv").write_text("\n".join(cells) + "\n")
    (folder / "profile.csv").write_text(
        "\n".join(["gpu,engine,cell,steps,busy_ms_per_step,kernel,count_per_step,us_per_step", *kernels]) + "\n"
    )
    return folder


def test_parts_come_before_totals(logs, tmp_path):
    done = papisim("validate", "--engine", logs, "--cells", tmp_path / "cells.csv")
    assert done.returncode == 0, done.stderr
    assert done.stdout.index("Busy time of kernels by part") < done.stdout.index("Wall time of steps")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "cells.csv").read_text())))
    assert {row["part"] for row in rows} == {"fc", "attention", "small", "busy", "host", "total"}
    totals = {
        row["cell"]: float(row["measured_s"]) - float(row["predicted_s"]) for row in rows if row["part"] == "total"
    }
    assert totals["b1c256"] == pytest.approx(1e-3, rel=1e-6)


def test_the_document_is_what_its_schema_says(logs):
    done = papisim("validate", "--engine", logs, "--format", "json", "--gpu", "h100")
    found = json.loads(done.stdout)
    assert (found["schema"], found["profile"], found["trace"]) == ("papisim/engine-validation/1", "vllm", None)
    decode = next(row for row in found["steps"] if row["block"] == "decode")
    assert decode["total"]["bias"] < -0.05
    assert next(row for row in found["parts"] if row["block"] == "decode")["fc"]["mape"] < 1e-6


def test_a_calibrated_profile_removes_the_error(logs, tmp_path):
    done = papisim("calibrate", "engine", logs, "--out", tmp_path / "mine.yaml")
    assert done.returncode == 0, done.stderr
    assert "left out" in done.stdout
    checked = papisim("validate", "--engine", logs, "--profile", tmp_path / "mine.yaml", "--format", "json")
    totals = [row["total"]["mape"] for row in json.loads(checked.stdout)["steps"]]
    assert max(totals) < 0.01
    assert papisim("calibrate", "engine", logs, "--out", tmp_path / "mine.yaml").returncode == 2, "it is there"
    run = papisim(
        "run", "--hw", "h100_single", "--trace", "llama7b", "--engine", tmp_path / "mine.yaml", "--requests", "4"
    )
    assert run.returncode == 0, run.stderr


def test_calibration_as_json_has_the_fit(logs):
    found = json.loads(papisim("calibrate", "engine", logs, "--format", "json").stdout)
    assert found["schema"] == "papisim/engine-calibration/1"
    assert found["host"]["after"]["step_s"] - found["host"]["before"]["step_s"] == pytest.approx(1e-3, rel=0.02)
    assert {fit["part"]: fit["factor"] for fit in found["kernels"]} == pytest.approx(
        {"fc": 1, "attention": 1, "small": 1}
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--gpu", "h100"), "--gpu has a meaning with --engine alone"),
        (("--engine", "LOGS", "--fetch"), "--fetch does not go with --engine"),
        (("--engine", "LOGS", "--gpu", "b200"), "has no GPU 'b200'"),
        (("--engine", "LOGS", "--profile", "vlm"), "vllm"),
        (("--engine", "LOGS", "--trace", "llama8b"), "llama8b"),
    ],
)
def test_options_without_effect_and_wrong_names_are_refused(logs, arguments, said):
    done = papisim("validate", *(logs if each == "LOGS" else each for each in arguments))
    assert done.returncode == 2
    assert said in done.stderr


RESULT = {
    "backend": "vllm", "model_id": "m", "num_prompts": 16, "request_rate": "inf", "max_concurrency": 4, "duration": 4.0,
    "completed": 16, "total_input_tokens": 4096, "total_output_tokens": 512, "output_throughput": 128.0, "mean_ttft_ms": 30.0,
    "median_ttft_ms": 29.0, "p99_ttft_ms": 60.0, "mean_tpot_ms": 7.0, "mean_e2el_ms": 250.0,
}  # fmt: skip


def test_replay_prints_measured_beside_simulated(tmp_path):
    path = tmp_path / "result.json"
    path.write_text(json.dumps(RESULT))
    shown = papisim("replay", path, "--hw", "h100_single", "--trace", "llama7b")
    assert shown.returncode == 0, shown.stderr
    assert "16 requests of m on h100_single, llama7b, engine vllm, as closed_loop" in shown.stdout
    assert "each has the mean, 256 and 32 tokens" in shown.stderr
    rows = list(
        csv.DictReader(
            io.StringIO(
                papisim("replay", path, "--hw", "h100_single", "--trace", "llama7b", "--format", "csv").stdout
            )
        )
    )
    assert [(row["metric"], row["statistic"]) for row in rows][-1] == ("tokens_per_s", "mean")
    assert all(
        float(row["error"]) == pytest.approx(float(row["predicted"]) / float(row["measured"]) - 1) for row in rows
    )
    found = json.loads(
        papisim("replay", path, "--hw", "h100_single", "--trace", "llama7b", "--format", "json").stdout
    )
    assert found["schema"] == "papisim/replay/1"
    assert found["results"][0]["throughput"]["measured_tokens_per_s"] == 128.0


def test_replay_refuses_what_it_does_not_know(tmp_path):
    path = tmp_path / "result.json"
    path.write_text('{"a": 1}')
    done = papisim("replay", path, "--hw", "h100_single", "--trace", "llama7b")
    assert done.returncode == 2
    assert "is in no form that is known; expected JSON of vllm bench serve" in done.stderr
    path.write_text(json.dumps({
        "input_config": {"concurrency": 2}, "request_count": {"unit": "requests", "avg": 4},
        "request_latency": {"unit": "ms", "avg": 100}, "input_sequence_length": {"unit": "tokens", "avg": 64},
        "output_sequence_length": {"unit": "tokens", "avg": 8},
    }))  # fmt: skip
    done = papisim("replay", path, "--hw", "h100_single", "--trace", "llama7b")
    assert done.returncode == 2
    assert "--engine names its profile" in done.stderr
