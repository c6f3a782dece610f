"""A router's log: counts or choices by layer, and the experts that they wake."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from papisim.engine.run import Run
from papisim.errors import InputError
from papisim.ops.experts import Routed, Routing, tokens_per_expert
from papisim.ops.router_log import read_router_log

EXPERTS, TOKENS = 32, 6000
POPULARITY = {0: np.arange(1.0, EXPERTS + 1) ** -1.2, 3: np.arange(1.0, EXPERTS + 1)[::-1] ** -0.4}


@pytest.fixture
def choices(tmp_path: Path) -> Path:
    """A log of one expert of each token, drawn by a popularity of each layer."""
    rng = np.random.default_rng(7)
    drawn = {layer: rng.choice(EXPERTS, TOKENS, p=shares / shares.sum()) for layer, shares in POPULARITY.items()}
    path = tmp_path / "router.csv"
    lines = [f"{layer},{expert}" for layer, experts in drawn.items() for expert in experts]
    path.write_text("layer,expert\n" + "\n".join(lines) + "\n")
    return path


def awake(log: Path, layer: int, rows: int, draws: int = 400) -> tuple[float, float]:
    """Mean number of experts with rows, over seeds, and its standard error."""
    read = read_router_log(log)
    counts = [
        sum(map(bool, tokens_per_expert(Routing(seed, log=read), Routed(layer, rows, rows, EXPERTS, 1))))
        for seed in range(draws)
    ]
    return float(np.mean(counts)), float(np.std(counts)) / draws**0.5


@pytest.mark.parametrize("layer", POPULARITY)
@pytest.mark.parametrize("rows", [4, 16, 64])
def test_awake_experts_are_those_of_the_log_and_of_the_closed_form(choices: Path, layer: int, rows: int) -> None:
    """``Σ 1 − (1 − p_i)^rows``, and the experts in as many neighbouring tokens of the log."""
    mean, error = awake(choices, layer, rows)
    shares = POPULARITY[layer] / POPULARITY[layer].sum()
    assert mean == pytest.approx((1 - (1 - shares) ** rows).sum(), abs=4 * error + 0.15)
    logged = [
        int(line.split(",")[1]) for line in choices.read_text().splitlines()[1:] if line.startswith(f"{layer},")
    ]
    windows = [len(set(logged[start : start + rows])) for start in range(0, TOKENS - rows, rows)]
    assert mean == pytest.approx(np.mean(windows), abs=4 * (error + np.std(windows) / len(windows) ** 0.5))


def test_counts_and_choices_are_the_same_log(choices: Path, tmp_path: Path) -> None:
    read = read_router_log(choices)
    counts = tmp_path / "counts.csv"
    lines = [f"{layer},{expert},{n:.0f}" for layer, experts in read.tokens.items() for expert, n in experts.items()]
    counts.write_text("layer,expert,tokens\n" + "\n".join(lines) + "\n")
    assert read_router_log(counts).tokens == read.tokens


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("layer,experts\n0,1\n", r"log.csv:1: has no column 'expert'.*did you mean 'experts'"),
        ("layer,expert\n0,x\n", r"log.csv:2: expert: found 'x', expected a whole number"),
        ("layer,expert,tokens\n0,1,0\n", "counts no token"),
    ],
)
def test_what_is_no_log_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "log.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_router_log(path)


def log_of(folder: Path, layers: int, experts: int) -> Path:
    path = folder / "log.csv"
    path.write_text(
        "layer,expert\n" + "".join(f"{layer},{expert}\n" for layer in range(layers) for expert in range(experts))
    )
    return path


def test_a_run_routes_by_a_log_and_refuses_that_of_another_model(run: Callable[..., Run], tmp_path: Path) -> None:
    two = log_of(tmp_path, 32, 2)
    skewed = run("gpu_only", "mixtral-8x7b", batch=16, set=[f"experts.log={two}"])
    balanced = run("gpu_only", "mixtral-8x7b", batch=16)
    assert skewed.ledger.end_s < 0.9 * balanced.ledger.end_s, "two of eight experts are read"
    with pytest.raises(InputError, match="found 8, expected an expert of mixtral-8x7b, 0 to 7"):
        run("gpu_only", "mixtral-8x7b", set=[f"experts.log={log_of(tmp_path, 32, 9)}"])
    with pytest.raises(InputError, match=r"has no tokens of layer 30.*32 in all"):
        run("gpu_only", "mixtral-8x7b", set=[f"experts.log={log_of(tmp_path, 30, 8)}"])
