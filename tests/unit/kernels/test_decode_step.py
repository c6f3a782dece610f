"""Our decode iteration is transformers' Llama: the same numbers, and the same aten kernels as the shipped trace."""

from collections import Counter

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

pytest.importorskip("transformers")

from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM

from kernels.decode_step import CachePool, Decoder, Step
from kernels.shapes import trace_of
from papisim.ops.kernel import KernelClass
from papisim.ops.trace import ModelFacts

pytestmark = pytest.mark.capture
FACTS = ModelFacts(
    model_type="llama", n_layers=2, hidden_size=64, n_heads=4, n_kv_heads=2, head_dim=16, vocab_size=96,
    intermediate_size=112, dtype="float16", n_parameters=1, tied_embeddings=False,
)  # fmt: skip
RLP, KV = 3, 11


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    torch.manual_seed(1)
    return Decoder(FACTS, torch.device("cpu"))


def new_step(decoder: Decoder, tlp: int) -> Step:
    pool = CachePool(FACTS, RLP * (KV + tlp), torch.device("cpu"))
    return Step(decoder, pool.caches(RLP, KV + tlp), RLP, tlp, KV)


def as_transformers(decoder: Decoder) -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=96, hidden_size=64, intermediate_size=112, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, rms_norm_eps=1e-5, rope_theta=10000.0,
    )  # fmt: skip
    model = LlamaForCausalLM._from_config(config, dtype=torch.float16, attn_implementation="sdpa").eval()
    weights = {"model.embed_tokens": decoder.table, "model.norm": decoder.norm, "lm_head": decoder.lm_head}
    for index, layer in enumerate(decoder.layers):
        names = {
            "input_layernorm": layer.norm_in, "post_attention_layernorm": layer.norm_post,
            "self_attn.q_proj": layer.query, "self_attn.k_proj": layer.key, "self_attn.v_proj": layer.value,
            "self_attn.o_proj": layer.out, "mlp.gate_proj": layer.gate, "mlp.up_proj": layer.up,
            "mlp.down_proj": layer.down,
        }  # fmt: skip
        weights |= {f"model.layers.{index}.{name}": tensor for name, tensor in names.items()}
    model.load_state_dict({f"{name}.weight": tensor for name, tensor in weights.items()})
    return model


def test_logits_equal_those_of_transformers(decoder: Decoder) -> None:
    step = new_step(decoder, tlp=1)
    cache = DynamicCache()
    for layer, states in enumerate(step.caches):
        cache.update(states[0, :, :, :KV].clone(), states[1, :, :, :KV].clone(), layer)
    ours = step.run()
    with torch.no_grad():
        theirs = as_transformers(decoder)(input_ids=step.tokens, past_key_values=cache, use_cache=True).logits
    torch.testing.assert_close(ours, theirs, rtol=2e-2, atol=2e-3)


@pytest.mark.parametrize("tlp", [1, 4])
def test_new_tokens_are_written_behind_the_cached_ones_and_change_nothing_else(decoder: Decoder, tlp: int) -> None:
    step = new_step(decoder, tlp)
    before = [states.clone() for states in step.caches]
    step.run()
    for old, new in zip(before, step.caches, strict=True):
        assert torch.equal(old[:, :, :, :KV], new[:, :, :, :KV])
        assert not torch.equal(old[:, :, :, KV:], new[:, :, :, KV:])


class _Kernels(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.seen: Counter[str] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        self.seen[str(func)] += 1
        return func(*args, **(kwargs or {}))


def test_the_kernels_are_those_of_the_shipped_trace(decoder: Decoder) -> None:
    step = new_step(decoder, tlp=1)
    assert step.tokens.shape == step.positions.shape
    with _Kernels() as kernels:
        step.run()
    expected: Counter[str] = Counter()
    for block in trace_of("llama7b").blocks:
        for kernel in block.kernels:
            if kernel.kernel_class not in (KernelClass.ATTENTION, KernelClass.KV_APPEND):
                repeats = FACTS.n_layers if block.layers else 1
                expected.update([aten.op for aten in kernel.aten] * repeats)
    assert {op: kernels.seen[op] for op in expected} == dict(expected)
    assert kernels.seen["aten.copy_.default"] == 2 * FACTS.n_layers, "K and V of each layer are appended"


def test_layers_share_a_cache_where_memory_is_short() -> None:
    pool = CachePool(FACTS, 10, torch.device("cpu"))
    (first, second) = pool.caches(2, 5)
    assert first.data_ptr() != second.data_ptr()
    pool.numbers = pool.numbers[: len(pool.numbers) // 2]
    first, second = pool.caches(2, 5)
    assert first.data_ptr() == second.data_ptr()
