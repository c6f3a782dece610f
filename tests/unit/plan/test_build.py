"""Formats of an experiment: widths by role, scales of caches and of blocks."""

import pytest
from pydantic import ValidationError

from papisim import catalog
from papisim.catalog import Shelf
from papisim.config.quantisation import QuantisationSpec
from papisim.ops.formats import AS_TRACED
from papisim.ops.kernel import FcRole, Group, Linear
from papisim.ops.lower import kv_bytes_per_token, lower, weight_bytes
from papisim.ops.trace import KernelTrace, read_trace
from papisim.plan.build import build_formats

MIXTRAL = read_trace(catalog.find(Shelf.TRACE, "mixtral-8x7b").path)
EXPERTS = 32 * 8 * 3 * 4096 * 14336


def stored(**fields: object) -> KernelTrace:
    return MIXTRAL.stored_as(build_formats(QuantisationSpec.model_validate(fields)))


def test_nothing_said_is_as_traced():
    assert build_formats(QuantisationSpec()) == AS_TRACED


def test_experts_in_mxfp4_leave_attention_as_it_is():
    """Four bits in groups of 32 with scales of eight: 4.25 bits per weight, as in gpt-oss."""
    trace = stored(experts={"weight_bits": 4, "group": 32, "scale_bits": 8})
    assert weight_bytes(MIXTRAL) - weight_bytes(trace) == EXPERTS * (16 - 4.25) / 8
    for kernel, _ in trace.kernels():
        if kernel.fc is None:
            continue
        linear = lower(kernel, trace, 2, (Group(2, 1),))
        assert isinstance(linear, Linear)
        assert (linear.weights is not None) == kernel.per_expert


@pytest.mark.parametrize(
    ("role", "elements"),
    [("attention", 32 * 2 * (4096 * 4096 + 4096 * 1024)), ("experts", EXPERTS), ("feed_forward", 0)],
)
def test_a_role_may_stay_wide_while_the_others_are_packed(role: str, elements: int):
    packed = {"weight_bits": 8, "scale_bits": 0}
    kept = stored(**packed, **{role: {"weight_bits": 16}})
    assert weight_bytes(kept) - weight_bytes(stored(**packed)) == elements


def test_blocks_share_scales_over_rows_too():
    """DeepSeek-V3: FP8 with one FP32 scale for 128 × 128 weights."""
    blocks = stored(weight_bits=8, group=128, scale_bits=32, scale_rows=128)
    plain = stored(weight_bits=8, scale_bits=0)
    packed = EXPERTS + 32 * 2 * (4096 * 4096 + 4096 * 1024)
    assert weight_bytes(blocks) - weight_bytes(plain) == packed / 128**2 * 4


def test_the_cache_has_scales_of_its_own():
    """INT4 weights in groups of 128 beside an FP8 cache with one scale per tensor, or with one of 16 bits per 64 elements."""
    weights = {"weight_bits": 4, "group": 128, "scale_bits": 16, "kv_bits": 8}
    tokens = 32 * 2 * 8
    assert kv_bytes_per_token(stored(**weights, kv_scale_bits=0)) == tokens * 128
    assert kv_bytes_per_token(stored(**weights, kv_group=64)) == tokens * (128 + 2 * 2)
    assert weight_bytes(stored(**weights, kv_scale_bits=0)) == weight_bytes(stored(**weights))


def test_inputs_of_a_role_have_a_width_of_their_own():
    trace = stored(experts={"weight_bits": 8, "activation_bits": 8})
    bits = {
        (kernel.per_expert, lower(kernel, trace, 2, (Group(2, 1),)).input_bits)
        for kernel, _ in trace.kernels()
        if kernel.role in (FcRole.QKV, FcRole.PROJECTION, FcRole.FEED_FORWARD_UP, FcRole.FEED_FORWARD_DOWN)
    }
    assert bits == {(False, None), (True, 8)}
    with pytest.raises(ValidationError, match="expected weight_bits of at most 8"):
        stored(experts={"weight_bits": 16, "activation_bits": 8})
