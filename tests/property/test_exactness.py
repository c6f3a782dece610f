"""Folding layers and running iterations at once change no reported figure, whatever is simulated.

The oracle simulates every layer of every iteration (``--fold off --fast-forward off``). Configurations are drawn from one
seed, so that a failure names one; scripts/exactness runs two hundred.
"""

import math
import os
import random

import pytest

from papisim.config.experiment import RunOptions, load_experiment
from papisim.engine.run import simulate
from papisim.results.frames import frames
from papisim.results.metrics import summarise

CONFIGURATIONS = int(os.environ.get("PAPISIM_CONFIGURATIONS", "24"))
RELATIVE = 1e-9
#: below it a figure is nothing: seconds and joules of a run are many orders above
NOTHING = 1e-13

SYSTEMS = ("papi", "papi_pim_only", "gpu_only", "pim_only", "attacc_only", "a100_attacc", "a100_hbmpim")
#: small and large, grouped queries, experts, biases
MODELS = ("llama-68m", "llama7b", "llama3-8b", "opt30b", "mixtral-8x7b")
POLICIES = ("continuous", "chunked_prefill", "prefill_priority", "dynamic")


def configuration(number):
    """The options of a run, drawn by its number."""
    draw = random.Random(number)
    hw, trace = draw.choice(SYSTEMS), draw.choice(MODELS)
    overrides, options = [], {"seed": number}
    requests = draw.randint(1, 9)
    if draw.random() < 0.5:
        options |= {"batch_size": draw.randint(1, requests), "n_requests": requests}
    else:
        options |= {"workload": "azure_conversation", "batching": draw.choice(POLICIES), "n_requests": requests}
        overrides.append(f"workload.rate_per_s={draw.choice([1, 20, 200])}")
        options["batch_size"] = draw.randint(1, 8)
    tokens = draw.choice([[8, 3], [300, 20], [40, 60]])
    overrides.append(f"workload.lengths={{kind: fixed, input_tokens: {tokens[0]}, output_tokens: {tokens[1]}}}")
    options["tlp"] = draw.choice([1, 1, 2, 4])
    if options["tlp"] > 1 and draw.random() < 0.5:
        options["acceptance"] = "geometric"
        overrides.append("acceptance.alpha=0.6")
    if draw.random() < 0.3:
        options["placement"] = "cheapest"
    return RunOptions(hw=hw, trace=trace, overrides=overrides, **options)


def figures(experiment):
    """Everything that a run reports."""
    run = simulate(experiment)
    return {"summary": summarise(run), **{name: frame.to_dict("records") for name, frame in frames(run).items()}}


def differences(one, other, path=""):
    """Where two results differ by more than rounding."""
    if isinstance(one, dict):
        assert one.keys() == other.keys(), path
        return [text for key in one for text in differences(one[key], other[key], f"{path}.{key}")]
    if isinstance(one, (list, tuple)):
        assert len(one) == len(other), path
        return [text for i in range(len(one)) for text in differences(one[i], other[i], f"{path}[{i}]")]
    if isinstance(one, float) and isinstance(other, float):
        same = math.isclose(one, other, rel_tol=RELATIVE, abs_tol=NOTHING) or (math.isnan(one) and math.isnan(other))
    else:
        same = one == other
    return [] if same else [f"{path}: {one!r} and {other!r}"]


@pytest.mark.parametrize("number", range(CONFIGURATIONS))
def test_folded_and_fast_forwarded_is_layer_by_layer_and_step_by_step(number):
    options = configuration(number)
    fast = load_experiment(options)
    oracle = load_experiment(RunOptions(**(vars(options) | {"fold": False, "fast_forward": False})))
    assert differences(figures(fast), figures(oracle)) == []
