"""``papisim reproduce`` of the PAPI paper as a user calls it."""

import csv
import io
import json

import pytest
from click.testing import CliRunner, Result

from papisim.cli import papisim


def call(*arguments: str, status: int = 0) -> Result:
    result = CliRunner().invoke(papisim, ["reproduce", *arguments])
    assert result.exit_code == status, result.output
    return result


def test_figures_are_printed_with_published_simulated_error_and_verdict():
    text = call("fig7", "eq4", "--quiet").stdout
    assert "DRAM's share of energy at reuse 1" in text
    assert "0.967" in text
    assert "in range" in text
    assert "assumed: energy of a column" in text
    assert "score" not in text, "a score needs all figures"


def test_json_has_the_interpretation_and_every_claim():
    reply = json.loads(call("fig12", "eq4", "--interpretation", "paper", "--format", "json", "--quiet").stdout)
    assert reply["schema"] == "papisim/claims/1"
    assert (reply["paper"], reply["interpretation"]) == ("papi", "paper")
    assert {row["interpretation"] for row in reply["claims"]} == {"paper"}
    assert reply["alternatives"]["prompts"] == "attacc_default"
    assert {row["system"] for row in reply["claims"]} == {"fig12", "eq4"}
    assert all(row["source"] and row["reliability"] in ("text", "figure") for row in reply["claims"])


def test_interpretations_differ_where_choices_matter_and_only_there():
    found = {}
    for name in ("physical", "paper"):
        # --stance is the older name of --interpretation
        rows = csv.DictReader(io.StringIO(call("fig12", "fig7", "--stance", name, "--format", "csv", "-q").stdout))
        found[name] = {(row["system"], row["claim"]): float(row["simulated"]) for row in rows}
    differ = {key for key in found["paper"] if found["paper"][key] != found["physical"][key]}
    assert {figure for figure, _ in differ} == {"fig12"}
    assert ("fig12", "PAPI: attention, ms") in differ, "prompts are a hundred times as long"


def test_out_holds_data_drawings_and_a_page(tmp_path):
    out = tmp_path / "results"
    call("fig7", "fig12", "--sensitivity", "--out", str(out), "--quiet")
    names = {path.name for path in out.iterdir()}
    assert names >= {
        "manifest.json",
        "summary.json",
        "claims.csv",
        "sensitivity.csv",
        "page.md",
        "fig7.csv",
        "fig12.csv",
    }
    pytest.importorskip("matplotlib")
    for figure in ("fig7", "fig12"):
        assert (out / f"{figure}.png").read_bytes().startswith(b"\x89PNG")
        assert (out / f"{figure}.pdf").read_bytes().startswith(b"%PDF")
    page = (out / "page.md").read_text()
    assert "latency of PCIe" in page
    assert "![energy and power of FC on PIM against data reuse](fig7.png)" in page
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["kind"] == "reproduction"
    assert manifest["alternatives"]["mac_pace"] == "power"
    again = CliRunner().invoke(papisim, ["reproduce", "fig7", "--out", str(out)])
    assert again.exit_code != 0
    assert "is not empty" in str(again.exception)


def test_a_figure_that_is_not_there_is_refused_with_the_nearest_name():
    result = CliRunner().invoke(papisim, ["reproduce", "fig8a"])
    assert result.exit_code != 0
    assert "did you mean 'fig8'" in str(result.exception)


def test_options_of_the_study_go_with_the_study_alone():
    result = CliRunner().invoke(papisim, ["reproduce", "fig7", "--choice", "prompts"])
    assert result.exit_code == 2
    assert "'interpretations' alone" in result.output


def test_an_unknown_choice_is_refused_before_anything_runs():
    result = CliRunner().invoke(papisim, ["reproduce", "interpretations", "--choice", "prompt"])
    assert "did you mean 'prompts'" in str(result.exception)


def test_figures_of_two_papers_are_not_mixed():
    result = CliRunner().invoke(papisim, ["reproduce", "fig7", "synergy"])
    assert "figures of papi and speculation, expected those of one paper" in str(result.exception)


def test_an_interpretation_that_a_paper_does_not_have_is_refused():
    result = CliRunner().invoke(papisim, ["reproduce", "synergy", "--interpretation", "paper"])
    assert "no interpretation 'paper'" in str(result.exception)
    result = CliRunner().invoke(papisim, ["reproduce", "synergy", "--sensitivity"])
    assert "names no assumed constants" in str(result.exception)


@pytest.mark.slow
def test_a_system_of_speculation_is_written_as_a_figure_is(tmp_path):
    out = tmp_path / "results"
    text = call("synergy", "--out", str(out), "--quiet").stdout
    assert "speed-up at batch 1, best length" in text
    assert "assumed: one_gpu: " in text
    rows = list(csv.DictReader((out / "synergy.csv").open()))
    assert [int(row["batch"]) for row in rows if row["length"] == "best"] == [1, 2, 4, 8, 16, 32]
    claims = {row["claim"]: row for row in csv.DictReader((out / "claims.csv").open())}
    best = next(row for row in rows if (row["batch"], row["length"]) == ("32", "best"))
    assert float(best["speed_up"]) == float(claims["speed-up at batch 32, best length"]["simulated"])
    assert claims["mean speed-up under request traffic"]["simulated"] == ""
    page = CliRunner().invoke(papisim, ["report", str(out), "-o", str(tmp_path / "page.html"), "--quiet"])
    assert page.exit_code == 0, page.output
    html = (tmp_path / "page.html").read_text()
    assert "Dynamic speculation, six systems, reproduced" in html
    assert "s* = " in html, "the reason of a verdict"


@pytest.mark.slow
def test_the_study_of_one_choice_writes_its_tables(tmp_path):
    out = tmp_path / "study"
    text = call("interpretations", "--choice", "mean", "--choice", "counted", "--out", str(out), "--quiet").stdout
    assert "Best interpretation" in text
    summary = json.loads((out / "summary.json").read_text())
    assert summary["n_interpretations"] == 6
    assert summary["best"]["score"] == min(summary["score_quantiles"].values())
    assert {path.name for path in out.iterdir()} >= {
        "best.csv",
        "ranges.csv",
        "effects.csv",
        "page.md",
        "manifest.json",
    }
    assert "11.1" in (out / "page.md").read_text()
