"""A decode iteration, one kernel per aten operation: the sum of its kernels, and what lies between them."""

import pytest

from papisim import catalog
from papisim.catalog import Shelf
from papisim.config.engine import load_engine
from papisim.config.system import load_part
from papisim.ops.kernel import FcRole, Linear
from papisim.ops.trace import Point, read_trace
from papisim.plan.unfused import UnfusedPool
from papisim.pricing.kernel import pool_of
from papisim.pricing.step import price_step

LLAMA7B = read_trace(catalog.find(Shelf.TRACE, "llama7b").path)
EAGER = load_engine("eager").spec
MIXTRAL = read_trace(catalog.find(Shelf.TRACE, "mixtral-8x7b").path)


def step(rlp=4, tlp=2, kv=512, count=1, overrides=()):
    pool = pool_of(load_part("h200", overrides), count)
    return pool, price_step(pool, LLAMA7B, Point(rlp=rlp, tlp=tlp, kv=kv), EAGER)


def test_a_step_is_its_kernels_and_a_gap_after_each():
    pool, priced = step()
    gaps_s = pool.part.between_kernels_s * priced.n_kernels
    assert priced.time_s == pytest.approx(sum(each.time_s for each in priced.classes) + gaps_s, rel=1e-12)
    assert [each.time_s for each in priced.classes] == sorted((each.time_s for each in priced.classes), reverse=True)


def test_boards_draw_idle_power_for_the_whole_step():
    _, priced = step(count=2)
    kernels_j = sum(each.energy_j for each in priced.classes)
    assert priced.energy_j - kernels_j == pytest.approx(2 * 79.2 * priced.time_s, rel=1e-9)


def test_fc_kernels_are_those_of_the_model_at_so_many_token_rows():
    """32 layers of QKV, projection, gate, up and down, and the head; 7 or more products per layer unfused."""
    pool, priced = step(rlp=3, tlp=2)
    (fc,) = [each for each in priced.classes if each.kernel_class == "fc"]
    hidden, inner, vocabulary = 4096, 11008, 32000
    qkv, out, head = ((hidden, 3 * hidden), (hidden, hidden), (hidden, vocabulary))
    up, down = (hidden, inner), (inner, hidden)

    def seconds(k, n):
        return pool.price(Linear(FcRole.QKV, 6, k, n)).time_s

    merged = 32 * (seconds(*qkv) + seconds(*out) + 2 * seconds(*up) + seconds(*down)) + seconds(*head)
    apart = merged + 32 * (3 * seconds(hidden, hidden) - seconds(*qkv))
    assert min(merged, apart) * 0.98 < fc.time_s < max(merged, apart) * 1.02
    assert fc.n_kernels in (32 * 5 + 1, 32 * 7 + 1)


def test_attention_alone_follows_the_cache():
    short, long = (step(kv=kv)[1].classes for kv in (256, 4096))
    times = [{each.kernel_class: each.time_s for each in classes} for classes in (short, long)]
    assert times[1]["attention"] > 3 * times[0]["attention"]
    assert {name: time for name, time in times[0].items() if name != "attention"} == pytest.approx(
        {name: time for name, time in times[1].items() if name != "attention"}
    )


def test_keys_and_values_are_written_by_a_kernel_each_in_every_layer():
    _, priced = step()
    (append,) = [each for each in priced.classes if each.kernel_class == "kv_append"]
    assert append.n_kernels == 2 * 32


def test_kernels_beyond_the_fit_are_named_once():
    _, priced = step(rlp=9000, tlp=1)
    assert priced.outside
    assert any(each.startswith("lm_head: m above") for each in priced.outside)
    assert len(set(priced.outside)) == len(priced.outside)
    assert step()[1].outside == ()


def test_a_stack_launches_no_kernel_per_operation():
    assert isinstance(pool_of(load_part("h200"), 1), UnfusedPool)
    assert not isinstance(pool_of(load_part("fc_pim"), 1), UnfusedPool)


@pytest.mark.parametrize("rlp", [1, 2, 4, 16, 64])
def test_a_mixture_takes_at_least_the_time_to_read_the_experts_that_its_tokens_reach(rlp):
    """``8·(1 − (1 − 2/8)^rows)`` distinct experts of a layer are expected, each of three 4096 × 14336 matrices in FP16."""
    pool = pool_of(load_part("h200", ()), 1)
    priced = price_step(pool, MIXTRAL, Point(rlp=rlp, tlp=1, kv=1024), EAGER)
    distinct = 8 * (1 - (1 - 2 / 8) ** rlp)
    dense_parameters = 32 * (2 * 4096 * 4096 + 2 * 4096 * 1024 + 4096 * 8) + 4096 * 32000
    floor_s = 2 * (32 * distinct * 3 * 4096 * 14336 + dense_parameters) / 4.8e12
    assert floor_s < priced.time_s < 3 * floor_s


@pytest.mark.parametrize(("rlp", "experts"), [(1, 2), (256, 8)])
def test_every_expert_that_gets_rows_is_launched_and_no_other(rlp, experts):
    """Per layer: q, k, v, output, router, and per expert the joint gate and up, and down; beside them the LM head."""
    priced = price_step(pool_of(load_part("h200", ()), 1), MIXTRAL, Point(rlp=rlp, tlp=1, kv=64), EAGER)
    (fc,) = [each for each in priced.classes if each.kernel_class == "fc"]
    assert fc.n_kernels == 32 * (5 + 2 * experts) + 1


def test_rows_of_experts_are_those_that_a_run_with_the_seed_draws():
    pool = pool_of(load_part("h200", ()), 1)
    first, again, other = (price_step(pool, MIXTRAL, Point(rlp=2, tlp=1, kv=64), EAGER, seed) for seed in (0, 0, 1))
    assert first == again
    assert first.n_kernels != other.n_kernels


def test_an_engine_launches_fewer_kernels_and_has_a_host():
    pool, point = pool_of(load_part("h200"), 1), Point(rlp=4, tlp=1, kv=512)
    engine = load_engine("vllm").spec
    eager, fused = (price_step(pool, LLAMA7B, point, spec) for spec in (EAGER, engine))
    by_class = {each.kernel_class: each.n_kernels for each in fused.classes}
    assert by_class["normalisation"] == 2 * 32 + 1
    assert by_class["other"] == engine.sampling.kernels
    assert by_class["fc"] >= 4 * 32 + 1
    assert fused.n_kernels < eager.n_kernels / 2
    assert (eager.host_s, fused.host_s) == (0.0, pytest.approx(engine.host.step_s + 4 * engine.host.request_s))


def test_the_host_is_hidden_or_in_series():
    pool, point = pool_of(load_part("h200"), 1), Point(rlp=4, tlp=1, kv=512)
    hidden, serial = (
        price_step(pool, LLAMA7B, point, load_engine("vllm", [f"engine.host.scheduling={how}"]).spec)
        for how in ("asynchronous", "synchronous")
    )
    assert hidden.time_s == pytest.approx(max(hidden.devices_s, hidden.host_s))
    assert serial.time_s == pytest.approx(serial.devices_s + serial.host_s)


def test_a_step_runs_on_a_stack_too_but_not_eagerly():
    pool = pool_of(load_part("attacc"), 40)
    assert price_step(pool, LLAMA7B, Point(rlp=1, tlp=1, kv=64), load_engine("none").spec).time_s > 0


def test_partial_results_are_added_up_by_a_kernel_of_their_own_where_splitting_is_faster():
    pool = pool_of(load_part("h200"), 1)
    lone, many = (
        next(c for c in price_step(pool, LLAMA7B, Point(rlp=rlp, tlp=1, kv=4096), load_engine("vllm").spec).classes
             if c.kernel_class == "attention").n_kernels
        for rlp in (1, 64)
    )  # fmt: skip
    assert (lone, many) == (64, 32)
