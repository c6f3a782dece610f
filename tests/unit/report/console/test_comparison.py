"""Runs side by side on the console."""

from papisim.report.console.comparison import print_comparison

ROW = {
    "machine": "papi", "n_served": 4, "throughput_tokens_per_s": 1234.56, "speed_up_ratio": 1.5, "decode_speed_up_ratio": None,
    "prefill_s": 0.002, "decode_s": 1.5, "tpot_mean_s": None, "energy_per_token_j": 0.25, "energy_efficiency_ratio": 2.0,
    "outside_fit_time_ratio": 0.0, "tuning_note": None,
}  # fmt: skip


def test_a_machine_has_rates_times_and_ratios(capsys):
    print_comparison([ROW], {"trace": "llama7b", "workload": "w", "n_requests": 4, "engine": "none"})
    head, _, row, foot = (line.strip() for line in capsys.readouterr().out.splitlines())
    assert head == "llama7b · w · 4 requests · engine none"
    assert row.split() == ["papi", "1,234.6", "1.50×", "—", "2", "ms", "1.5", "s", "—", "250", "mJ", "2.00×"]
    assert foot == "ratios to papi; above 1 is better"


def test_a_comparison_fits_a_narrow_terminal(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    print_comparison([ROW], {"trace": "llama7b", "workload": "w", "n_requests": 4, "engine": "none"})
    printed = capsys.readouterr().out
    assert "tokens/s      1,234.6" in printed
    assert max(map(len, printed.splitlines())) <= 40
