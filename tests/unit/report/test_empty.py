"""Runs of which nothing came: figures without a denominator are null, text has a dash, and every page can be laid out.

The workloads: no time passes (one request, refused at once), time passes but nothing runs (two refused, one second apart), nothing
decodes (single tokens), and nothing that was drafted is accepted.
"""

import json

import pandas as pd
import pytest
from click.testing import CliRunner

from papisim.cli import papisim
from papisim.errors import InputError
from papisim.pricing.frames import comparison_frames, run_frames
from papisim.report.console.comparison import print_comparison
from papisim.report.console.run import figures, print_run
from papisim.report.html.folder import page_of
from papisim.results.comparison import Comparison
from papisim.results.folder import read_results
from papisim.results.metrics import summarise
from papisim.results.schema import FRAMES
from papisim.results.store import write_run

HUGE = 10_000_000
WORKLOADS = {
    "no time": [(0.0, HUGE, 5)],
    "nothing served": [(0.0, HUGE, 5), (1.0, HUGE, 5)],
    "nothing decoded": [(0.0, 50, 1), (1.0, 50, 1)],
}
MEANS = ["throughput_tokens_per_s", "throughput_requests_per_s", "mean_rlp", "kv_mean_ratio"]


@pytest.fixture(scope="module", params=WORKLOADS)
def empty(request, serve):
    """A run of which little came, by name of its workload."""
    return request.param, serve(WORKLOADS[request.param])


def test_a_quotient_is_null_where_its_denominator_is_zero(empty):
    name, run = empty
    summary = summarise(run)
    no_time, no_tokens = name == "no time", name != "nothing decoded"
    assert [summary[key] is None for key in MEANS] == [no_time] * len(MEANS)
    assert all((share is None) == no_time for share in summary["busy_ratio"].values())
    assert (summary["energy_per_token_j"] is None) == no_tokens
    assert set(summary["fc_flop_ratio"].values()) == {None}
    assert (summary["littles_law"]["relative_error"] is None) == no_tokens
    if name == "nothing served":
        assert summary["throughput_tokens_per_s"] == summary["mean_rlp"] == 0.0


def test_lines_have_a_dash_for_what_is_not_there(empty, capsys):
    name, run = empty
    print_run(run)
    assert "None" not in capsys.readouterr().out
    lines = dict(figures(run, summarise(run)))
    assert lines["decode time"] == lines["time per output token"] == "—"
    assert lines["FC runs on"] == "gpu —"
    assert lines["throughput"].startswith("— tokens/s" if name == "no time" else ("0.0", "2.0"))


def test_every_frame_is_read_back_and_the_page_is_laid_out(empty, tmp_path):
    _, run = empty
    write_run(run, run_frames(run), tmp_path / "r")
    results = read_results(tmp_path / "r")
    for name in results.frame_names:
        frame = results.frame(name)
        if name in FRAMES:
            assert set(FRAMES[name].model_fields) <= set(frame.columns)
    json.loads((tmp_path / "r" / "summary.json").read_text(), parse_constant=pytest.fail)
    page = page_of(results)
    assert "None" not in str([tile for section in page.sections for tile in section.tiles])
    assert page.html().startswith("<!doctype html>")


@pytest.mark.parametrize("metrics", ["exact", "streaming"])
def test_a_machine_of_which_nothing_came_is_no_faster_and_no_better(serve, tmp_path, capsys, metrics):
    """The makespan of refusals is short, and their energy low."""
    served, refused = (serve([(0.0, tokens, 5)], metrics=metrics) for tokens in (50, HUGE))
    for runs, best in (((served, refused), "works"), ((refused, served), "refuses")):
        labels = ("works", "refuses") if runs[0] is served else ("refuses", "works")
        comparison = Comparison(labels, runs)
        rows = {row["machine"]: row for row in comparison.rows}
        ratios = ("speed_up_ratio", "decode_speed_up_ratio", "energy_efficiency_ratio")
        own = 1.0 if best == "works" else None
        assert [rows["works"][key] for key in ratios] == [own] * 3
        assert [rows["refuses"][key] for key in ratios] == [None] * 3
        print_comparison(comparison.rows, comparison.summaries[0])
        assert "works 1" in capsys.readouterr().out.split("served:")[1]
        comparison.write(comparison_frames(comparison), tmp_path / best)
        if metrics == "exact":
            page = page_of(read_results(tmp_path / best))
            assert {tile.value for tile in page.sections[0].tiles} == {"works"}
            assert page.html().startswith("<!doctype html>")


def test_a_comparison_of_nothing_is_laid_out(empty, tmp_path):
    _, run = empty
    comparison = Comparison(("a", "b"), (run, run))
    comparison.write(comparison_frames(comparison), tmp_path / "c")
    assert page_of(read_results(tmp_path / "c")).html().startswith("<!doctype html>")


def test_speculation_that_accepts_nothing_has_a_line(serve):
    never = ["speculation={kind: fixed, tlp: 4}", "acceptance={kind: geometric, alpha: 0.0001}"]
    run = serve([(0.0, 50, 8)], set=[*never, "drafting={kind: ngram, iteration_s: 0.001, request_s: 0.0}"])
    assert " drafted, 0.00 accepted (geometric), 1.00 emitted" in dict(figures(run, summarise(run)))["speculation"]


def test_the_commands_say_what_ended_how(tmp_path):
    file = tmp_path / "huge.csv"
    pd.DataFrame({"arrival_s": [0.0], "input_tokens": [HUGE], "output_tokens": [5]}).to_csv(file, index=False)
    options = ["--hw", "gpu_only", "--trace", "llama7b", "--workload", str(file), "--quiet"]
    compared = CliRunner().invoke(papisim, ["compare", *options, "--hw", "papi"])
    assert (compared.exit_code, compared.exception) == (0, None)
    explained = CliRunner().invoke(papisim, ["explain", *options])
    assert isinstance(explained.exception, InputError)
    assert "no throughput to explain: 1 refused" in str(explained.exception)


def test_a_sweep_over_machines_of_which_nothing_comes_is_laid_out(tmp_path):
    pd.DataFrame({"arrival_s": [0.0], "input_tokens": [HUGE], "output_tokens": [5]}).to_csv(
        tmp_path / "huge.csv", index=False
    )
    (tmp_path / "space.yaml").write_text(
        "schema: papisim/sweep/1\ndescription: Nothing fits\n"
        f"base: {{hw: gpu_only, trace: llama7b, workload: {tmp_path / 'huge.csv'}}}\n"
        "space: {seed: [0, 1]}\n"
    )
    arguments = ["sweep", str(tmp_path / "space.yaml"), "--out", str(tmp_path / "s"), "--frame", "csv", "--quiet"]
    done = CliRunner().invoke(papisim, arguments)
    assert (done.exit_code, done.exception) == (0, None)
    results = read_results(tmp_path / "s")
    assert list(results.frame("frame")["outcomes.refused"]) == [1, 1]
    assert page_of(results).html().startswith("<!doctype html>")
