"""``papisim fit acceptance`` as a user calls it."""

import json
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

from papisim.cli import papisim


@pytest.fixture
def log(tmp_path):
    """A log of two sources of 20 turns, and one that is too short."""
    rng, path = np.random.default_rng(0), tmp_path / "log.jsonl"
    lines = []
    for number in range(40):
        alpha = rng.uniform(0.5, 0.9)
        accepted = np.minimum(4, rng.geometric(1 - alpha, size=30) - 1).tolist()
        lines.append({"source": f"s{number % 2}", "task": f"t{number % 4}", "draft_len": 4, "accepted": accepted})
    lines.append({"source": "tiny", "draft_len": 4, "accepted": [1, 2]})
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return path


def fit(*arguments, status=0):
    result = CliRunner().invoke(papisim, ["fit", "acceptance", *map(str, arguments)])
    if status == 0:
        assert result.exit_code == 0, result.output
    else:
        assert result.exception is not None
        assert getattr(result.exception, "exit_status", result.exit_code) == status
    return result


def test_holdout_prints_measured_and_simulated_statistics_per_source(log):
    result = fit(log, "--holdout", "0.5", "--min-steps", "200", "--format", "json")
    found = json.loads(result.stdout)
    assert (found["schema"], found["holdout"], found["split"]) == ("papisim/acceptance_holdout/1", 0.5, "balanced")
    assert set(found["sources"]) == {"s0", "s1"}
    assert "tiny left out: 1 turns, 1 steps" in result.stderr
    for entry in found["sources"].values():
        for side in ("measured", "simulated", "standard_error", "fitted_to"):
            assert set(entry[side]) == {
                "turns", "steps", "tokens_per_step", "S_j", "spread", "lag1_autocorrelation",
            }  # fmt: skip
        assert entry["measured"]["turns"] == entry["fitted_to"]["turns"] == 10
        assert len(entry["simulated"]["S_j"]) == 4
        assert abs(entry["difference"]["tokens_per_step_ratio"]) < 0.03


def test_a_fit_can_be_written_checked_and_is_the_same_again(log, tmp_path):
    out = tmp_path / "mine.yaml"
    options = [log, "--source", "s0", "--min-steps", "200", "--signals", "dsde_t0", "--quiet"]
    assert "simulated" in fit(*options, "--out", out).stdout
    first = out.read_text(encoding="utf-8")
    assert CliRunner().invoke(papisim, ["check", str(out)]).exit_code == 0
    assert "exists; --force" in str(fit(*options, "--out", out, status=2).exception)
    fit(*options, "--out", out, "--force")
    assert out.read_text(encoding="utf-8") == first


def test_processes_by_task_are_written_into_a_folder(log, tmp_path):
    folder = tmp_path / "fits"
    fit(log, "--by", "task", "--min-steps", "200", "--out", folder, "--quiet")
    assert sorted(path.name for path in folder.iterdir()) == ["s0.t0.yaml", "s0.t2.yaml", "s1.t1.yaml", "s1.t3.yaml"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--source", "s2"], "no source 's2' in the log; known: s0, s1, tiny"),
        (["--max-steps", "s0=x"], "--max-steps: found 's0=x'"),
        (["--max-steps", "q=9"], "no source 'q'"),
        (["--min-steps", "99999"], "lower --min-steps"),
        (["--min-steps", "200", "--out", "x.yaml"], "is one file for 2 processes"),
        (["--min-steps", "200", "--holdout", "0.5", "--out", "x"], "leave out --holdout"),
        (["--min-steps", "200", "--signals", "nope"], "no signals 'nope'"),
    ],
)
def test_a_wrong_option_is_explained(log, options, message):
    assert message in str(fit(log, *options, status=2).exception)


def test_bad_lines_end_with_status_2_and_their_places(tmp_path):
    path = tmp_path / "bad.jsonl"
    path.write_text('{"source": "a", "draft_len": 2, "accepted": [3]}\n{]\n', encoding="utf-8")
    command = [sys.executable, "-m", "papisim", "fit", "acceptance", str(path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stdout == ""
    assert f"{path}:1: accepted[0]: found 3 accepted of 2 drafted tokens" in result.stderr
    assert f"{path}:2: is not JSON" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    "source", ["../evil", "../../evil", "/abs/evil", "..", ".", "a\x1b[31m/b", "meta/model", "x" * 300]
)
def test_a_log_does_not_decide_where_files_go(tmp_path, source):
    turn = {"source": source, "draft_len": 4, "accepted": [4, 0, 2, 1] * 8}
    (tmp_path / "l.jsonl").write_text("\n".join([json.dumps(turn)] * 20), encoding="utf-8")
    done = fit(tmp_path / "l.jsonl", "--min-steps", "20", "--out", tmp_path / "o" / "d")
    (written,) = (tmp_path / "o" / "d").iterdir()
    assert written.suffix == ".yaml"
    assert {path.name for path in tmp_path.rglob("*")} == {"l.jsonl", "o", "d", written.name}
    assert CliRunner().invoke(papisim, ["check", str(written)]).exit_code == 0
    assert "\x1b" not in done.output


def test_sources_that_would_share_a_file_are_refused(tmp_path):
    turns = [{"source": source, "draft_len": 4, "accepted": [4, 0, 2, 1] * 8} for source in ("a/b", "a b")]
    (tmp_path / "l.jsonl").write_text("\n".join(json.dumps(turn) for turn in turns * 20), encoding="utf-8")
    refused = fit(tmp_path / "l.jsonl", "--min-steps", "20", "--out", tmp_path / "d", status=2)
    assert "several processes would be written into one file" in str(refused.exception)
    assert not (tmp_path / "d").exists()


def as_histograms(log, path):
    """The same turns as TensorRT-LLM would report them: how many steps accepted 0, 1, … 4 tokens."""
    records = []
    for line in map(json.loads, log.read_text().splitlines()):
        counts = np.bincount(line["accepted"], minlength=5)
        held = {
            "total_accepted_draft_tokens": sum(line["accepted"]),
            "total_draft_tokens": 4 * len(line["accepted"]),
            "acceptance_histogram": counts.tolist(),
            "num_spec_tokens": 4,
        }
        records.append({"model": line["source"], "choices": [{"speculative_decoding": held}]})
    path.write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
    return path


def test_histograms_fit_the_same_means_and_say_that_they_have_no_order(log, tmp_path):
    path = as_histograms(log, tmp_path / "trtllm.jsonl")
    arguments = ("--min-steps", "200", "--source", "s0", "--format", "json")
    steps = json.loads(fit(log, *arguments).stdout)["sources"]["s0"]
    totals = json.loads(fit(path, *arguments).stdout)["sources"]["s0"]
    assert totals["measured"]["tokens_per_step"] == pytest.approx(steps["measured"]["tokens_per_step"], rel=0.03)
    assert totals["simulated"]["S_j"] == pytest.approx(totals["measured"]["S_j"], abs=0.02)
    assert totals["simulated"]["spread"] == pytest.approx(totals["measured"]["spread"], rel=0.15)
    assert (totals["ordered"], steps["ordered"]) == (False, True)
    assert totals["measured"]["lag1_autocorrelation"] is None
    assert totals["parameters"]["state"] == {"share": 0.0, "memory": 0.0}
    assert "does not tell the correlation" in " ".join(fit(path, *arguments[:4]).stdout.split())


def test_what_a_histogram_does_not_hold_is_refused(log, tmp_path):
    path = as_histograms(log, tmp_path / "trtllm.jsonl")
    held = ("--min-steps", "200", "--holdout", "0.5")
    assert "has histograms" in str(fit(path, *held, status=2).exception)
    assert "first steps are not known" in str(fit(path, "--max-steps", "5", status=2).exception)


def test_the_measured_positions_are_said(log):
    printed = fit(log, "--min-steps", "200", "--source", "s0").stdout
    assert "s0: positions 1 to 4 of the draft are measured, longer drafts extrapolated" in printed
    found = json.loads(fit(log, "--min-steps", "200", "--source", "s0", "--format", "json").stdout)["sources"]["s0"]
    assert found["measured_positions"] == len(found["tries"]) == 4
    assert found["tries"] == sorted(found["tries"], reverse=True)


def test_a_published_curve_becomes_a_process_that_a_run_takes(tmp_path):
    curve = tmp_path / "golden.yaml"
    curve.write_text("some-model:\n  thinking_on:\n    1: 1.7\n    2: 2.2\n    3: 2.1\n")
    written = tmp_path / "process.yaml"
    result = CliRunner().invoke(papisim, ["fit", "curve", str(curve), "--out", str(written)])
    assert result.exit_code == 0, result.output
    assert "1.7 2.2 2.1 (drafts of 1 to 3 measured)" in result.output
    run = ["run", "--hw", "papi", "--trace", "llama7b", "--batch", "2", "--requests", "2", "--tlp", "3", "--quiet"]
    result = CliRunner().invoke(papisim, [*run, "--acceptance", str(written)])
    assert result.exit_code == 0, result.output


def test_a_process_is_printed_as_an_engine_takes_it():
    command = ["fit", "synthetic", "eagle2_chain6_llama3_8b", "--draft-len", "4", "--engine"]
    vllm = json.loads(CliRunner().invoke(papisim, [*command, "vllm", "--quiet"]).stdout)
    mean = CliRunner().invoke(papisim, [*command, "sglang", "--quiet"]).stdout.split("=")[1].split()[0]
    assert 1 + sum(vllm["synthetic_acceptance_rates"]) == pytest.approx(float(mean), abs=1e-3)


def test_exit_layers_have_no_synthetic_form():
    command = ["fit", "synthetic", "layerskip_llama3_8b", "--draft-len", "4", "--engine", "vllm"]
    result = CliRunner().invoke(papisim, command)
    assert "is a process of exit layers" in str(result.exception)
