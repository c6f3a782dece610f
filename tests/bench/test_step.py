"""What a step takes to lay out: when its shape is new, and when only its caches have grown."""

from itertools import count

import pytest

from papisim.config.experiment import RunOptions, load_experiment
from papisim.ops.lower import decode_lengths, decode_shape
from papisim.ops.trace import read_trace
from papisim.plan.build import build_placement
from papisim.plan.machine import build_machine
from papisim.plan.step import StepPlanner

pytestmark = [pytest.mark.bench, pytest.mark.benchmark(group="step")]


def planner(hw, trace):
    experiment = load_experiment(RunOptions(hw=hw, trace=trace))
    machine, placement = build_machine(experiment.system), build_placement(experiment)
    return StepPlanner(read_trace(experiment.trace.path), machine, placement, seed=0)


def step(steps, rlp, kv=700, *, fold=True):
    return steps.decode(decode_shape(rlp, rlp), decode_lengths(rlp, 1, rlp * kv, kv), fold=fold)


@pytest.mark.parametrize(("hw", "trace"), [("papi", "llama7b"), ("papi", "gpt3-175b"), ("gpu_only", "llama7b"), ("papi", "mixtral-8x7b")])  # fmt: skip
def test_a_step_of_a_new_shape(benchmark, hw, trace):
    steps, sizes = planner(hw, trace), count(1)
    benchmark.pedantic(lambda: step(steps, next(sizes)), rounds=40, warmup_rounds=1)


def test_a_step_of_a_new_shape_layer_by_layer(benchmark):
    steps, sizes = planner("papi", "gpt3-175b"), count(1)
    benchmark.pedantic(lambda: step(steps, next(sizes), fold=False), rounds=10, warmup_rounds=1)


def test_a_step_whose_caches_have_grown(benchmark):
    steps, lengths = planner("papi", "llama7b"), count(700)
    benchmark.pedantic(lambda: step(steps, 16, next(lengths)), rounds=30, iterations=30, warmup_rounds=1)
