"""Policies that look up the batch: Synergy, vLLM's schedule, SSSD, Meta's dispatcher."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from papisim.config.base import parse
from papisim.config.yaml import parse_yaml
from papisim.errors import InputError
from papisim.policies.speculation import meta_eagle, sssd, synergy, vllm_schedule
from papisim.policies.speculation.base import Draft

SSSD_BATCHES = (1, 2, 4, 8, 16, 32, 48, 64, 96)
SSSD_ROWS = {
    64: (32, 32, 16, 8, 4, 2, 1, 1, 1),
    96: (32, 32, 24, 12, 6, 3, 2, 1, 1),
    128: (32, 32, 24, 16, 8, 4, 2, 2, 1),
    160: (32, 32, 24, 20, 10, 5, 3, 2, 1),
    192: (32, 32, 24, 24, 12, 6, 4, 3, 2),
}


def seconds_per_token(batch, length, *, q=0.05, gain=0.9, power=0.5):
    """Synergy's own model: time grows with batch × length, tokens slower than length."""
    return (1 + q * batch * length) / (1 + gain * length**power if length else 1)


@pytest.mark.parametrize(("batch", "length"), [(1, 3), (64, 3), (65, 1), (128, 1), (129, 0), (512, 0), (513, 0)])
def test_vllms_example_schedule(policy, view, batch, length):
    assert policy("vllm_schedule").plan(view(*range(batch))) == [Draft(length)] * batch


@pytest.mark.parametrize(("batch", "length"), [(1, 9), (2, 4), (3, 4), (4, 4), (5, 2), (16, 2), (17, 2), (1000, 2)])
def test_synergy_takes_the_next_profiled_batch(view, batch, length):
    table = [{"up_to_batch": b, "length": s} for b, s in ((1, 9), (4, 4), (16, 2))]
    subject = synergy.Speculation(synergy.Options(kind="synergy", table=table))
    assert subject.plan(view(*range(batch))) == [Draft(length)] * batch


@settings(max_examples=60, deadline=None)
@given(q=st.floats(0.001, 0.5), gain=st.floats(0.1, 2), power=st.floats(0.1, 0.9))
def test_synergys_table_is_the_brute_force_optimum_and_falls_as_the_batch_rises(q, gain, power):
    def profile(batch, length):
        return seconds_per_token(batch, length, q=q, gain=gain, power=power)

    batches, lengths = [1, 2, 4, 8, 16, 32], range(17)
    table = synergy.optimal_table(profile, batches, lengths)
    assert [row.up_to_batch for row in table] == batches
    found = [row.length for row in table]
    assert found == sorted(found, reverse=True)
    for row in table:
        assert profile(row.up_to_batch, row.length) == min(profile(row.up_to_batch, s) for s in lengths)


def test_synergys_table_prefers_the_shorter_of_equals_and_becomes_the_policy(view):
    table = synergy.optimal_table(lambda batch, length: 1.0, [4, 1], [3, 0, 2])
    assert [(row.up_to_batch, row.length) for row in table] == [(1, 0), (4, 0)]
    assert synergy.Speculation(synergy.Options(kind="synergy", table=table)).plan(view(1)) == [Draft(0)]


@pytest.mark.parametrize(
    ("kind", "table"),
    [
        (synergy, "[]"),
        (synergy, "[{up_to_batch: 4, length: 1}, {up_to_batch: 2, length: 2}]"),
        (vllm_schedule, "[{up_to_batch: 4, length: 1}, {up_to_batch: 4, length: 2}]"),
        (vllm_schedule, "[{up_to_batch: 4, length: -1}]"),
        (meta_eagle, "[{up_to_batch: 4, tree: []}]"),
        (meta_eagle, "[{up_to_batch: 4, tree: [2, 0]}]"),
    ],
)
def test_a_table_that_is_none_is_refused(kind, table):
    document = parse_yaml(f"kind: {kind.__name__.rpartition('.')[2]}\ntable: {table}", "f.yaml")
    with pytest.raises(InputError, match="table"):
        parse(kind.Options, document)


@pytest.mark.parametrize("ratio", SSSD_ROWS)
def test_sssds_rows(preset, ratio):
    options = preset("sssd", ratio=ratio)
    assert tuple(sssd.rows_per_request(options, batch) for batch in SSSD_BATCHES) == SSSD_ROWS[ratio]


@pytest.mark.parametrize(
    ("ratio", "as_if"), [(159.9, 128), (160, 160), (191, 160), (192.5, 192), (1000, 192), (65, 64), (95.99, 64)]
)
def test_sssd_cuts_the_knee_to_a_step_and_to_its_maximum(preset, ratio, as_if):
    cut, step = preset("sssd", ratio=ratio), preset("sssd", ratio=as_if)
    for batch in range(1, 100):
        assert sssd.rows_per_request(cut, batch) == sssd.rows_per_request(step, batch)


def test_sssd_does_not_speculate_below_its_smallest_knee(preset, policy, view):
    assert sssd.rows_per_request(preset("sssd", ratio=15.9), 1) == 1
    assert sssd.rows_per_request(preset("sssd", ratio=16), 1) == 16
    assert policy("sssd", ratio=15).plan(view(0, 1)) == [Draft(0)] * 2


@pytest.mark.parametrize("rows", [2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32])
@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.95, 1.0])
def test_sssds_trees_have_their_rows_and_keep_the_limits_of_depth_and_width(preset, rows, share):
    shape = sssd.tree_shape(preset("sssd", continuation_share=share), rows)
    deepest = rows - 1 if rows <= 5 else 5 if rows <= 8 else 6
    assert sum(shape) == rows - 1
    assert len(shape) <= deepest
    parents = 1
    for nodes in shape:
        assert 1 <= nodes <= min(5, rows - 1) * parents
        parents = nodes


def test_a_predictable_text_makes_sssds_tree_a_chain_and_an_unpredictable_one_broad(preset, policy, view):
    assert sssd.tree_shape(preset("sssd", continuation_share=1), 6) == (1, 1, 1, 1, 1)
    assert sssd.tree_shape(preset("sssd", continuation_share=0.05), 6)[0] == 5
    best_first = sssd.tree_shape(preset("sssd", continuation_share=0.6), 8)
    # likelihoods .6; .36 .24 (below it and beside it); .216; .144 ×2 (child of the sibling, second grandchild); .130
    assert best_first == (2, 3, 1, 1)
    assert policy("sssd", ratio=64, continuation_share=1).plan(view(*range(16))) == [Draft(3)] * 16


def test_metas_dispatcher_takes_trees_at_small_batch_and_a_chain_of_three_at_large(policy, view):
    subject = policy("meta_eagle")
    assert subject.plan(view(0))[0].tree is not None
    assert subject.plan(view(*range(4)))[0].nodes > subject.plan(view(*range(5)))[0].nodes > 3
    for batch in (17, 64, 512, 2000):
        assert subject.plan(view(*range(batch))) == [Draft(3)] * batch
