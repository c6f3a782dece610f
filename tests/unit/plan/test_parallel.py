"""Figures of parallel plans, by hand."""

import pytest

from papisim import catalog
from papisim.catalog import Shelf
from papisim.config.system import load_system
from papisim.ops.experts import Routing
from papisim.ops.trace import read_trace
from papisim.plan.machine import build_machine
from papisim.plan.parallel import parallel_plan


def plan(hw, trace, *overrides):
    machine = build_machine(load_system(hw, overrides))
    return parallel_plan(machine, read_trace(catalog.find(Shelf.TRACE, trace).path), Routing(), rows=64)


def gpus(count):
    return (f"devices.gpu.count={count}", f"links.nvlink.count={count}")


def test_heads_that_divide_evenly_leave_nothing_over():
    found = plan("gpu_only", "llama3-8b", *gpus(8))
    assert found._replace(fc_padding_ratio=0.0) == (8, 1, 1, 1, 1, 32, 1.0, 0, 0.0, 1.0, 1.0)


def test_eight_heads_on_six_ranks_fill_two_ranks_twice():
    assert plan("gpu_only", "llama3-8b").kv_imbalance_ratio == 1.5


@pytest.mark.parametrize(("ranks", "copies", "idle"), [(8, 1.0, 0), (16, 2.0, 0), (32, 4.0, 0), (48, 4.0, 16)])
def test_ranks_beyond_the_kv_heads_hold_copies_until_each_query_head_has_one(ranks, copies, idle):
    found = plan("gpu_only", "llama3-8b", *gpus(ranks))  # 32 query heads, 8 KV heads
    assert (found.kv_head_copies, found.idle_attention_ranks) == (copies, idle)


def test_the_first_stages_hold_the_layers_that_do_not_divide():
    found = plan("gpu_only", "llama7b", *gpus(6), "roles.pipeline={stages: 3, link: nvlink}")
    assert (found.tensor_ranks, found.pipeline_stages, found.fullest_stage_layers) == (2, 3, 11)


def test_stacks_of_pim_hold_no_copies():
    found = plan("papi", "llama3-8b")
    assert (found.kv_head_copies, found.idle_attention_ranks, found.kv_imbalance_ratio) == (1.0, 0, 1.0)


def test_padding_is_what_ranks_compute_beyond_the_model():
    """11,008 columns on six ranks, rows of 8 elements aligned: 1,840 each, 32 too many; 4,096 columns are 688 each."""
    found = plan("gpu_only", "llama7b")
    assert 0 < found.fc_padding_ratio < 0.01
    assert plan("gpu_only", "llama7b", *gpus(8)).fc_padding_ratio == 0
