"""Logs of engines are read whole, and what is wrong in them is named with its file, line and column."""

import gzip
import json

import pytest

from papisim.calibration.engine.log import composition_of, read_log
from papisim.config.engine import Scheduling
from papisim.errors import InputError
from papisim.pricing.engine_step import Composition

STEPS = """gpu,engine,block,cell,dt_s,t_schedule_s,t_execute_s,t_sample_s,t_update_s,n_decode,decode_tokens,decode_ctx_sum,prefill_list,sched_tokens,running,waiting
h100,llama7b_sync,decode,b2c64:fill,0.01,0.001,0.002,0.003,0.001,0,0,0,64@0;64@0,128,2,0
h100,llama7b_sync,decode,b2c64,0.005,0.001,0.001,0.002,0.0005,2,2,130,,2,2,0
h100,llama7b_sync,decode,b2c64:prof,0.006,0.001,0.001,0.002,0.0005,2,2,132,,2,2,0
h200,llama7b_async,few,serve,0.02,0.001,0.001,0.002,0.0005,3,3,300,100@412,103,4,1
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "steps.csv").write_text(STEPS)
    return tmp_path


def test_a_step_tells_what_it_computed(folder):
    log = read_log(folder)
    assert [composition_of(step) for step in log.steps] == [
        Composition(prompts=((0, 64), (0, 64))), Composition(2, 2, 130), Composition(2, 2, 132),
        Composition(3, 3, 300, ((412, 100),)),
    ]  # fmt: skip
    assert [(step.is_steady, step.is_profiled, step.composition) for step in log.steps] == [
        (False, False, "b2c64"), (True, False, "b2c64"), (False, True, "b2c64"), (False, False, "serve"),
    ]  # fmt: skip
    assert log.steps[1].host_s == pytest.approx(0.003)
    assert log.steps[0].prompt_tokens == 128


def test_compressed_and_plain_files_are_the_same(folder):
    plain = read_log(folder)
    (folder / "steps.csv.gz").write_bytes(gzip.compress(STEPS.encode()))
    (folder / "steps.csv").unlink()
    assert read_log(folder) == plain


def test_modes_and_models_are_in_the_names(folder):
    log = read_log(folder)
    assert log.mode("llama7b_async") == (Scheduling.ASYNCHRONOUS, 0)
    assert log.mode("llama7b_sync_v1runner") == (Scheduling.SYNCHRONOUS, 0)
    assert log.mode("llama7b_ngram7") == (Scheduling.SYNCHRONOUS, 7)
    assert {log.model(name) for name in ("llama7b_async", "llama7b_sync_v1runner", "llama7b_ngram7")} == {"llama7b"}
    with pytest.raises(InputError, match="does not tell how 'llama7b' was scheduled"):
        log.mode("llama7b")


def test_settings_of_the_engine_come_before_its_name(folder):
    record = {"kind": "engine", "engine": "llama7b_sync", "async_scheduling": True}
    (folder / "meta.jsonl").write_text(json.dumps(record) + "\n")
    assert read_log(folder).mode("llama7b_sync").scheduling is Scheduling.ASYNCHRONOUS


def test_limits_of_a_service_are_told_or_seen(folder):
    log = read_log(folder)
    assert log.limits(("h200", "llama7b_async"), "few") == (103, 4), "one request waited while four ran"
    assert log.limits(("h100", "llama7b_sync"), "decode") == (128, None), "nothing waited, so no limit was seen"
    record = {"kind": "serve", "engine": "llama7b_async", "block": "few", "cap": 2048, "max_num_seqs": 128}
    (folder / "meta.jsonl").write_text(json.dumps(record) + "\n")
    assert read_log(folder).limits(("h200", "llama7b_async"), "few") == (2048, 128)


def test_logs_of_one_gpu(folder):
    log = read_log(folder)
    assert log.of_gpu("h200").engines == [("h200", "llama7b_async")]
    with pytest.raises(InputError, match="no GPU 'h20'; did you mean 'h200'"):
        log.of_gpu("h20")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("dt_s,", "wall_s,", "steps.csv:1: no column 'dt_s'"),
        (",0.005,", ",-1,", "steps.csv:3: dt_s: found '-1'"),
        (",130,", ",many,", "steps.csv:3: decode_ctx_sum: found 'many'"),
        ("64@0;64@0", "64at0", "steps.csv:2: prefill_list: found '64at0'"),
        ("64@0;64@0", "64@0;0@9", "steps.csv:2: prefill_list: found"),
        (",0.005,", ",inf,", "steps.csv:3: dt_s: found 'inf'"),
        (",2,2,130,", ",2,1,130,", "steps.csv:3: found 1 token-rows of 2 requests that decode"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(folder, old, new, said):
    (folder / "steps.csv").write_text(STEPS.replace(old, new, 1))
    with pytest.raises(InputError) as error:
        read_log(folder)
    assert said in str(error.value)


def test_a_folder_without_steps_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds no steps; expected"):
        read_log(tmp_path)


def test_settings_that_are_no_json_are_refused(folder):
    (folder / "meta.jsonl").write_text('{"kind": "engine"}\nnone\n')
    with pytest.raises(InputError, match=r"meta.jsonl:2: is not JSON"):
        read_log(folder)


def test_a_file_that_is_no_gzip_is_refused(folder):
    (folder / "cells.csv.gz").write_text("engine")
    with pytest.raises(InputError, match="cannot be read as CSV"):
        read_log(folder)
