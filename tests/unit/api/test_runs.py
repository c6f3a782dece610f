"""papisim in a notebook."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import papisim
from papisim.errors import InputError, MissingExtra

SMALL = {"hw": "papi", "trace": "llama7b", "batch": 2}


@pytest.fixture(scope="module")
def result():
    return papisim.run(**SMALL)


def test_importing_papisim_imports_nothing_heavy():
    code = "import papisim, sys; print(papisim.__version__, *{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"numpy", "pandas", "simpy", "pydantic", "click"}.isdisjoint(done.stdout.split())


def test_what_the_package_offers_is_listed_and_what_it_does_not_is_an_attribute_error():
    assert {"load", "run", "compare", "__version__"} <= set(dir(papisim))
    with pytest.raises(AttributeError, match="has no attribute 'simulate'"):
        papisim.simulate  # noqa: B018


def test_a_run_says_what_the_command_says(result):
    command = [
        sys.executable,
        "-m",
        "papisim",
        "run",
        "--hw",
        "papi",
        "--trace",
        "llama7b",
        "--batch",
        "2",
        "-q",
        "--format",
        "json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == json.loads(json.dumps(result.summary))


def test_results_show_themselves_as_tables_and_in_one_line(result):
    html = result._repr_html_()
    assert "<caption>papi · llama7b · creative_writing</caption>" in html
    assert "tokens/s over" in html
    assert repr(result) == f"<run of llama7b on papi: {result.summary['throughput_tokens_per_s']:,.1f} tokens/s>"
    assert "\n" not in repr(papisim.load("papi"))


def test_frames_are_those_that_out_writes(result, tmp_path: Path):
    result.write(tmp_path / "r")
    saved = papisim.load(tmp_path / "r")
    assert set(saved.frames) == set(result.frames)
    for name, frame in result.frames.items():
        assert list(saved.frames[name].columns) == list(frame.columns)
        assert len(saved.frames[name]) == len(frame)
    assert saved.summary["makespan_s"] == result.summary["makespan_s"]
    assert "steps" in saved._repr_html_()


def test_a_report_and_a_timeline_are_written_once_unless_forced(result, tmp_path: Path):
    pytest.importorskip("plotly", reason="needs the [report] extra")
    page = result.report(tmp_path / "page.html")
    trace = result.timeline(tmp_path / "t.json", "0..2")
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert json.loads(trace.read_text(encoding="utf-8"))["traceEvents"]
    for write in (lambda: result.report(page), lambda: result.timeline(trace)):
        with pytest.raises(InputError, match="already there"):
            write()
    assert result.report(page, force=True) == page


def test_without_plotly_a_report_names_the_extra_and_leaves_no_file(result, tmp_path: Path, monkeypatch):
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    with pytest.raises(MissingExtra, match=r"papisim\[report\]"):
        result.report(tmp_path / "page.html")
    assert list(tmp_path.iterdir()) == []


def test_a_comparison_has_its_runs_and_their_ratios(tmp_path: Path):
    compared = papisim.compare(["papi", "papi@pinned:gpu"], "llama7b", batch=2)
    assert list(compared.results) == ["papi", "papi@pinned:gpu"]
    times = [each.summary["makespan_s"] for each in compared.results.values()]
    assert compared.frames["comparison"]["speed_up_ratio"].tolist() == pytest.approx([1, times[0] / times[1]])
    assert "<td" in compared._repr_html_()
    compared.write(tmp_path / "c")
    assert papisim.load(tmp_path / "c").summary == json.loads(json.dumps(compared.summary))


def test_every_machine_runs_with_each_policy():
    options = {"batch": 2, "acceptance": "eagle2_chain6_llama3_8b", "draft": "eagle_head"}
    compared = papisim.compare(["papi", "gpu_only"], "llama3-8b", speculation=["off", "dsde"], **options)
    assert list(compared.results) == ["papi + off", "papi + dsde", "gpu_only + off", "gpu_only + dsde"]
    drafted = [each.summary["speculation_yield"]["drafted_tokens_per_round"] for each in compared.results.values()]
    assert drafted[0] == drafted[2] == 0 < min(drafted[1], drafted[3])


@pytest.mark.parametrize("overrides", [{"devices.gpu.count": np.int64(8)}, ["devices.gpu.count=8"]])
def test_a_machine_is_read_changed_and_run(overrides):
    machine = papisim.load("papi", set=overrides)
    assert machine.system.spec.devices["gpu"].count == 8
    assert "8 × NVIDIA A100" in machine._repr_html_()
    more = papisim.run(machine, "llama7b", batch=1, set={"devices.fc_pim.count": 20})
    pools = more.run.machine.pools
    assert (pools["gpu"].count, pools["fc_pim"].count) == (8, 20)


def test_nested_values_can_be_set():
    lengths = {"kind": "fixed", "input_tokens": 16, "output_tokens": 3}
    result = papisim.run(**SMALL, set={"workload.lengths": lengths})
    assert result.frames["requests"]["output_tokens"].tolist() == [3, 3]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: papisim.run("papy", "llama7b"), "did you mean 'papi'"),
        (lambda: papisim.load("nowhere/at/all"), "there is no such file"),
        (lambda: papisim.run("papi", "llama7b", batch="four"), "batch: found 'four', expected a whole number"),
        (lambda: papisim.run("papi", "llama7b", speculation=4), "speculation: found 4, expected a name, a file, or"),
        (lambda: papisim.run("papi", "llama7b", set="a=1"), "expected a mapping or a list"),
        (lambda: papisim.load("papi", set={"devices.gpus.count": 1}), "gpus"),
    ],
)
def test_what_is_wrong_is_said_with_the_nearest_name(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_an_unknown_parameter_is_a_type_error_with_the_nearest_name():
    with pytest.raises(TypeError, match=r"run\(\) has no parameter 'batchsize'; did you mean 'batch'"):
        papisim.run("papi", "llama7b", batchsize=2)


def test_former_names_of_parameters_mean_the_present_ones_and_warn(result):
    with pytest.warns(DeprecationWarning, match="'batch_size' is now called 'batch'"):
        former = papisim.run("papi", "llama7b", batch_size=2)
    assert former.summary == result.summary
