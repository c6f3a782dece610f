"""Measure how the cost of a simulation grows, and write docs/performance.csv: ``python tests/bench/curves.py [CURVE …]``.

Costs are multiples of the calibration loop of conftest.py, timed just before and after, so that they hold on other
machines; seconds are this machine's.
"""

import csv
import importlib.util
import sys
import time
from pathlib import Path

from papisim.config.experiment import RunOptions, load_experiment
from papisim.engine.run import simulate

HERE = Path(__file__).parent
WRITTEN = HERE.parents[1] / "docs" / "performance.csv"
ROUNDS = 3
FIXED = "workload.lengths={{kind: fixed, input_tokens: {}, output_tokens: {}}}"

_spec = importlib.util.spec_from_file_location("conftest", HERE / "conftest.py")
conftest = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(conftest)


def requests(n):
    """A conversation service on one GPU, at a load that it keeps up with."""
    return RunOptions(
        hw="gpu_only", trace="llama7b", workload="azure_conversation", requests=n,
        set=["devices.gpu.count=1", "workload.rate_per_s=2"],
    )  # fmt: skip


def batch(n):
    """A closed batch whose requests all say 200 tokens."""
    return RunOptions(hw="papi", trace="llama7b", batch=n, set=[FIXED.format(100, 200)])


def shrinking_batch(n):
    """A closed batch whose requests end one by one."""
    return RunOptions(hw="papi", trace="llama7b", batch=n)


def layers(trace, *, fold=True):
    """The same batch through models of more and more layers."""
    return RunOptions(hw="papi", trace=trace, batch=16, fold=fold, set=[FIXED.format(100, 200)])


def devices(n):
    """More and more stacks for attention."""
    return RunOptions(
        hw="papi",
        trace="llama7b",
        batch=64,
        set=[f"devices.attn_pim.count={n}", f"links.pcie.count={max(6, n // 20)}", FIXED.format(100, 200)],
    )


def context(n):
    """Few requests with longer and longer prompts."""
    return RunOptions(hw="papi", trace="llama7b", batch=4, set=[FIXED.format(n, 200)])


def speculation(n):
    """Drafts drawn in every iteration of a batch: each is an event, so nothing is run at once."""
    return RunOptions(
        hw="papi", trace="llama7b", batch=n, tlp=4, acceptance="geometric",
        set=["acceptance.alpha=0.7", FIXED.format(100, 100)],
    )  # fmt: skip


def oracle(n):
    """The closed batch of 200 tokens, iteration by iteration."""
    options = batch(n)
    return RunOptions(**(vars(options) | {"fast_forward": False}))


MODELS = {"llama-68m": 2, "llama32-1b": 16, "llama7b": 32, "llama13b": 40, "llama65b": 80, "gpt3-175b": 96}
CURVES = {
    "requests": [(n, requests(n)) for n in (100, 300, 1_000, 3_000, 10_000)],
    "batch": [(n, batch(n)) for n in (1, 16, 128, 512)],
    "batch that shrinks": [(n, shrinking_batch(n)) for n in (1, 16, 128, 512)],
    "batch, iteration by iteration": [(n, oracle(n)) for n in (1, 16, 128, 512)],
    "batch with drafts drawn": [(n, speculation(n)) for n in (1, 16, 128)],
    "layers": [(n, layers(trace)) for trace, n in MODELS.items()],
    "layers, each by itself": [(n, layers(trace, fold=False)) for trace, n in MODELS.items()],
    "devices": [(n, devices(n)) for n in (60, 600, 6_000, 60_000)],
    "context": [(n, context(n)) for n in (1_000, 8_000, 32_000, 128_000)],
}


def measure(options):
    """Return CPU seconds, their ratio to the calibration loop, and iterations of a run: the best of a few."""
    experiment, best_s, best_ratio = load_experiment(options), float("inf"), float("inf")
    for _ in range(ROUNDS):
        loop_s = conftest.calibration_s()
        start = time.process_time()
        run = simulate(experiment)
        taken_s = time.process_time() - start
        loop_s = min(loop_s, conftest.calibration_s())
        best_s, best_ratio = min(best_s, taken_s), min(best_ratio, taken_s / loop_s)
    iterations = sum(totals.n_steps for kind, totals in run.ledger.totals.items() if kind != "prefill")
    return best_s, best_ratio, iterations


def main(*wanted):
    """Measure curves, all if none is named, and write them."""
    rows = []
    for curve in wanted or CURVES:
        for x, options in CURVES[curve]:
            seconds, ratio, iterations = measure(options)
            row = (curve, x, iterations, f"{ratio:.4g}", f"{seconds:.3g}", f"{seconds / iterations * 1e6:.3g}")
            print(*row, sep="\t", flush=True)
            rows.append(row)
    if not wanted:
        with WRITTEN.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("curve", "size", "n_iterations", "cost_ratio", "cpu_s", "cpu_us_per_iteration"))
            writer.writerows(rows)


if __name__ == "__main__":
    main(*sys.argv[1:])
