"""A run on the console: its lines are the values of its summary."""

import pytest

from papisim import units
from papisim.config.experiment import RunOptions, load_experiment
from papisim.engine.run import simulate
from papisim.report.console.run import figures, print_run
from papisim.results.metrics import summarise


@pytest.fixture(scope="module")
def run():
    lengths = "workload.lengths={kind: fixed, input_tokens: 32, output_tokens: 12}"
    return simulate(load_experiment(RunOptions(hw="papi", trace="llama7b", batch=4, tlp=2, set=(lengths,))))


def test_lines_are_the_values_of_the_summary(run):
    summary = summarise(run)
    lines = dict(figures(run, summary))
    assert lines["tokens out"].startswith("48 in 6 decoding iterations")
    busy = {name: share for name, share in summary["busy_ratio"].items() if name in lines["busy"]}
    assert lines["busy"] == ", ".join(f"{name} {100 * share:.1f} %" for name, share in busy.items())
    shares = summary["decode_time_by_category_s"]
    largest = max(shares, key=shares.__getitem__)
    assert lines["decode time"].startswith(f"{largest} {100 * shares[largest] / summary['decode_s']:.1f} %")
    assert lines["end-to-end latency"].startswith(f"mean {units.format(summary['e2e_mean_s'], 's')}")
    assert lines["FC runs on"] == ", ".join(f"{n} {100 * s:.1f} %" for n, s in summary["fc_flop_ratio"].items())
    used, capacity = summary["peak_kv_bytes"], summary["kv_capacity_bytes"]
    assert lines["peak KV cache"].endswith(f"({100 * used / capacity:.2g} %)")


def test_shares_of_the_time_of_parts_say_how_much_of_it_others_hide(run):
    """Parts that overlap take more time together than the decoding does."""
    hidden = simulate(load_experiment(RunOptions(hw="gpu_only", trace="llama7b", batch=4, engine="vllm")))
    summary = summarise(hidden)
    parts_s = sum(summary["decode_time_by_category_s"].values())
    assert parts_s > summary["decode_s"]
    share = 100 * (1 - summary["decode_s"] / parts_s)
    assert dict(figures(hidden, summary))["decode time"].endswith(f"; {share:.1f} % of it overlapped by the rest")
    assert "overlapped" not in dict(figures(run, summarise(run)))["decode time"]


def test_what_did_not_happen_has_no_line(run):
    assert not {"queueing delay", "goodput", "ended"} & set(dict(figures(run, summarise(run))))


def test_the_last_lines_name_the_sources(run, capsys):
    print_run(run)
    text = capsys.readouterr().out
    assert text.startswith("papi · llama7b")
    assert "Sources: " in text
    assert f"{len(summarise(run)['assumptions'])} assumptions" in " ".join(text.split())
