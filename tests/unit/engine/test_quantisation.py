"""Runs with quantised weights and caches: memory, links, and the same run where nothing is quantised."""

import pytest

from papisim.config.experiment import RunOptions, load_experiment
from papisim.diagnosis.recording import Recording
from papisim.engine.run import simulate
from papisim.errors import DoesNotFit, InputError, NotModelled
from papisim.ops.lower import kv_bytes_per_token, weight_bytes
from papisim.ops.trace import read_trace
from papisim.plan.build import build_formats
from papisim.plan.machine import build_machine
from papisim.plan.memory import plan_memory
from papisim.results.metrics import summarise

SHORT = "workload.lengths={kind: fixed, input_tokens: 64, output_tokens: 32}"


def experiment(*overrides, hw="papi", trace="llama7b", batch_size=8, **options):
    asked = RunOptions(hw=hw, trace=trace, batch=batch_size, set=(SHORT, *overrides), **options)
    return load_experiment(asked)


def end_s(*overrides, **options):
    return simulate(experiment(*overrides, **options)).ledger.end_s


@pytest.mark.parametrize("hw", ["papi", "gpu_only", "a100_hbmpim"])
def test_sixteen_bits_are_the_run_as_it_was_to_the_last_bit(hw):
    said = ("quantisation.weight_bits=16", "quantisation.kv_bits=16", "quantisation.group=32")
    assert simulate(experiment(*said, hw=hw)).ledger.steps == simulate(experiment(hw=hw)).ledger.steps


@pytest.mark.parametrize("hw", ["papi", "gpu_only"])
@pytest.mark.parametrize("field", ["weight_bits", "kv_bits"])
@pytest.mark.parametrize("trace", ["llama3-8b", "mixtral-8x7b"])
def test_fewer_bits_are_not_slower(hw, field, trace):
    """But for what scales and whole columns cost where FPUs bind and fewer bytes are no gain."""
    times = [end_s(f"quantisation.{field}={bits}", hw=hw, trace=trace) for bits in (16, 8, 4)]
    rounding = 1.02 if hw == "papi" else 1.0
    assert times[1] <= times[0] * rounding
    assert times[2] <= times[1] * rounding


def test_memory_is_planned_with_the_bytes_that_are_stored():
    asked = experiment("quantisation.weight_bits=4", "quantisation.kv_bits=8", hw="gpu_only", trace="llama65b")
    run = simulate(asked)
    stored = read_trace(asked.trace.path).stored_as(build_formats(asked.quantisation))
    room = run.machine.pools["gpu"].capacity_bytes
    # 64 heads on six GPUs: eleven on the fullest
    assert run.ledger.kv_capacity_bytes == pytest.approx((room - weight_bytes(stored)) * 64 / 66)
    plain = simulate(experiment(hw="gpu_only", trace="llama65b"))
    assert run.ledger.kv_capacity_bytes > plain.ledger.kv_capacity_bytes
    assert summarise(run)["quantisation"]["weight_bits"] == 4
    assert run.ledger.peak_kv_bytes / plain.ledger.peak_kv_bytes == pytest.approx((8 + 16 / 128) / 16)


def test_a_model_fits_in_four_bits_that_does_not_in_sixteen():
    """130 GB of weights, one GPU of 80 GB."""
    one = ("devices.gpu.count=1",)
    with pytest.raises(DoesNotFit, match="the weights of llama65b"):
        end_s(*one, hw="gpu_only", trace="llama65b")
    assert end_s(*one, "quantisation.weight_bits=4", hw="gpu_only", trace="llama65b")


def test_a_packed_cache_travels_packed_and_queries_as_they_are():
    payloads = {}
    for bits in (16, 8):
        recording = Recording()
        run = simulate(experiment(f"quantisation.kv_bits={bits}", "quantisation.scale_bits=0"), probe=recording)
        model = run.trace.model
        payloads[bits] = max(item.what.payload_bytes for item in recording.times if item.resource == "pcie" and item.what.payload_bytes < 1e6)  # fmt: skip
    width = 8 * model.n_heads * model.head_dim
    assert payloads[16] == width * 2 * 3, "Q, K and V of eight requests"
    assert payloads[8] == width * (2 + 1 + 1)


def test_scales_cost_what_their_groups_say():
    coarse, fine = (
        end_s("quantisation.weight_bits=4", f"quantisation.group={group}", hw="gpu_only") for group in (128, 16)
    )
    assert fine > coarse


def test_gpus_hold_and_run_what_stacks_that_widen_nothing_cannot():
    weights, kv = "quantisation.weight_bits=8", "quantisation.kv_bits=8"
    assert end_s(weights, hw="a100_hbmpim") < end_s(hw="a100_hbmpim")
    with pytest.raises(NotModelled, match=r"fpu\.widens_bits"):
        end_s(kv, hw="a100_hbmpim")
    widening = "devices.attn_pim.part.fpu.widens_bits=[8]"
    assert end_s(kv, widening, hw="a100_attacc") < end_s(hw="a100_attacc")


def test_the_plan_counts_a_tokens_bytes_as_they_are_stored():
    asked = experiment("quantisation.kv_bits=4")
    trace = read_trace(asked.trace.path)
    packed = trace.stored_as(build_formats(asked.quantisation))
    plan = plan_memory(build_machine(asked.system), packed)
    assert plan.kv_token_bytes == kv_bytes_per_token(packed) < kv_bytes_per_token(trace)


@pytest.mark.parametrize(("said", "message"), [
    ("quantisation.weight_bits=5", r"quantisation\.weight_bits|weight_bits.*found 5"),
    ("quantisation.weight_bit=4", "did you mean 'weight_bits'"),
    ("quantisation.activation_bits=8", "expected weight_bits of at most 8"),
    ("quantisation.group=0", "group"),
])  # fmt: skip
def test_widths_that_make_no_sense_are_refused(said, message):
    with pytest.raises(InputError, match=message):
        experiment(said)


def test_a_manifest_says_the_widths():
    assert experiment("quantisation.kv_bits=8").resolved()["quantisation"]["kv_bits"] == 8
