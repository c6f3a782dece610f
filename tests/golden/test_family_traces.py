"""Closed forms of shipped traces by family: parameters, active parameters, work, caches and states, to the unit."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from papisim.catalog import Shelf, shipped
from papisim.ops.kernel import KernelClass
from papisim.ops.lower import decode_lengths, lower_attention
from papisim.ops.trace import KernelTrace, read_trace

FILES = shipped(Shelf.TRACE)
Config = dict[str, Any]


class Size:
    """Parameters of a model: of matrices that a token meets, of experts that it does not, and of everything else."""

    def __init__(self, active: int, idle: int, other: int) -> None:
        self.active, self.idle, self.other = active, idle, other
        self.total = active + idle + other


def grouped_query(c: Config, gated: int = 1) -> int:
    h, d = c["hidden_size"], c.get("head_dim") or c["hidden_size"] // c["num_attention_heads"]
    return h * d * ((1 + gated) * c["num_attention_heads"] + 2 * c["num_key_value_heads"])


def experts(c: Config, n: int, width: int) -> tuple[int, int]:
    """Matrices of the experts of a token and its router, and of the other experts, in one layer."""
    h, k, one = c["hidden_size"], c["num_experts_per_tok"], 3 * c["hidden_size"] * width
    return k * one + h * n, (n - k) * one


def embeddings(c: Config, *, tied: bool = False) -> tuple[int, int]:
    """The LM head, which a token meets, and the embedding with the last norm."""
    v, h = c["vocab_size"], c["hidden_size"]
    return v * h, h if tied else v * h + h


def dense(c: Config) -> Size:
    n, h, (head, other) = c["num_hidden_layers"], c["hidden_size"], embeddings(c)
    return Size(n * (grouped_query(c) + 3 * h * c["intermediate_size"]) + head, 0, other + n * 2 * h)


def gemma3(c: Config) -> Size:
    n, h, (head, other) = c["num_hidden_layers"], c["hidden_size"], embeddings(c, tied=True)
    return Size(
        n * (grouped_query(c) + 3 * h * c["intermediate_size"]) + head, 0, other + n * (4 * h + 2 * c["head_dim"])
    )


def qwen3_moe(c: Config) -> Size:
    n, h, (head, other) = c["num_hidden_layers"], c["hidden_size"], embeddings(c)
    active, idle = experts(c, c["num_experts"], c["moe_intermediate_size"])
    return Size(n * (grouped_query(c) + active) + head, n * idle, other + n * (2 * h + 2 * c["head_dim"]))


def gpt_oss(c: Config) -> Size:
    n, h, (head, other) = c["num_hidden_layers"], c["hidden_size"], embeddings(c)
    e, width, heads = c["num_local_experts"], c["intermediate_size"], c["num_attention_heads"]
    active, idle = experts(c, e, width)
    biases = (heads + 2 * c["num_key_value_heads"]) * c["head_dim"] + h + e + e * (2 * width + h)
    return Size(n * (grouped_query(c) + active) + head, n * idle, other + n * (2 * h + heads + biases))


def llama4(c: Config) -> Size:
    n, h, (head, other) = c["num_hidden_layers"], c["hidden_size"], embeddings(c)
    n_moe, width = n // c["interleave_moe_layer_step"], c["intermediate_size"]
    active, idle = experts(c, c["num_local_experts"], width)
    shared, plain = 3 * h * width, 3 * h * c["intermediate_size_mlp"]
    layers = n * grouped_query(c) + n_moe * (active + shared) + (n - n_moe) * plain
    return Size(layers + head, n_moe * idle, other + n * 2 * h)


def deepseek_v3(c: Config) -> Size:
    n, h, (head, other), heads = c["num_hidden_layers"], c["hidden_size"], embeddings(c), c["num_attention_heads"]
    q, r, rope, nope, v = (
        c[k] for k in ("q_lora_rank", "kv_lora_rank", "qk_rope_head_dim", "qk_nope_head_dim", "v_head_dim")
    )
    attention = h * q + q * heads * (nope + rope) + h * (r + rope) + r * heads * (nope + v) + heads * v * h
    first, width = c["first_k_dense_replace"], c["moe_intermediate_size"]
    active, idle = experts(c, c["n_routed_experts"], width)
    feed_forward = first * 3 * h * c["intermediate_size"] + (n - first) * (
        active + c["n_shared_experts"] * 3 * h * width
    )
    return Size(n * attention + feed_forward + head, (n - first) * idle, other + n * (2 * h + q + r))


def deepseek_v32(c: Config) -> Size:
    """As DeepSeek-V3, and in each layer an indexer: products to its queries, its key and the weights of its heads, and a norm."""
    size, n, heads, width = deepseek_v3(c), c["num_hidden_layers"], c["index_n_heads"], c["index_head_dim"]
    products = c["q_lora_rank"] * heads * width + c["hidden_size"] * (width + heads)
    return Size(size.active + n * products, size.idle, size.other + n * 2 * width)


def jamba(c: Config) -> Size:
    n, h, (head, other) = c["num_hidden_layers"], c["hidden_size"], embeddings(c)
    inner, state, rank = c["mamba_expand"] * h, c["mamba_d_state"], c["mamba_dt_rank"]
    n_attention, n_moe = n // c["attn_layer_period"], n // c["expert_layer_period"]
    mixer = h * 2 * inner + inner * (rank + 2 * state) + rank * inner + inner * h
    vectors = inner * (c["mamba_d_conv"] + 1) + inner + inner * state + inner + rank + 2 * state
    active, idle = experts(c, c["num_experts"], c["intermediate_size"])
    layers = n_moe * active + (n - n_moe) * 3 * h * c["intermediate_size"]
    layers += n_attention * grouped_query(c) + (n - n_attention) * mixer
    return Size(layers + head, n_moe * idle, other + n * 2 * h + (n - n_attention) * vectors)


def mamba2(c: Config) -> Size:
    n, h, (head, other) = c["num_hidden_layers"], c["hidden_size"], embeddings(c, tied=True)
    inner, heads = c["expand"] * h, c["num_heads"]
    channels = inner + 2 * c["n_groups"] * c["state_size"]
    vectors = channels * (4 + 1) + 3 * heads + inner + h
    return Size(n * (h * (inner + channels + heads) + inner * h) + head, 0, other + n * vectors)


def granite4(c: Config) -> Size:
    n, h, (head, other) = c["num_hidden_layers"], c["hidden_size"], embeddings(c, tied=True)
    inner, heads, n_attention = c["mamba_expand"] * h, c["mamba_n_heads"], c["layer_types"].count("attention")
    channels = inner + 2 * c["mamba_n_groups"] * c["mamba_d_state"]
    mixer, vectors = h * (inner + channels + heads) + inner * h, channels * 5 + 3 * heads + inner
    active, idle = experts(c, c["num_local_experts"], c["intermediate_size"])
    layers = (
        n * (active + 3 * h * c["shared_intermediate_size"])
        + n_attention * grouped_query(c)
        + (n - n_attention) * mixer
    )
    return Size(layers + head, n * idle, other + n * 2 * h + (n - n_attention) * vectors)


def qwen3_next(c: Config) -> Size:
    n, h, (head, other), d = c["num_hidden_layers"], c["hidden_size"], embeddings(c), c["head_dim"]
    n_full, values = n // c["full_attention_interval"], c["linear_num_value_heads"]
    k, v = c["linear_num_key_heads"] * c["linear_key_head_dim"], values * c["linear_value_head_dim"]
    linear, vectors = (
        h * (2 * k + 2 * v + 2 * values) + v * h,
        4 * (2 * k + v) + 2 * values + c["linear_value_head_dim"],
    )
    active, idle = experts(c, c["num_experts"], c["moe_intermediate_size"])
    shared = 3 * h * c["shared_expert_intermediate_size"] + h
    layers = n * (active + shared) + n_full * grouped_query(c, gated=2) + (n - n_full) * linear
    return Size(layers + head, n * idle, other + n * 2 * h + n_full * 2 * d + (n - n_full) * vectors)


SIZES: dict[str, Callable[[Config], Size]] = {
    "mistral-7b": dense,
    "gemma3-12b": gemma3,
    "qwen3-30b-a3b": qwen3_moe,
    "qwen3-235b-a22b": qwen3_moe,
    "gpt-oss-120b": gpt_oss,
    "llama4-maverick": llama4,
    "deepseek-v3": deepseek_v3,
    "mamba2-2.7b": mamba2,
    "granite4-h-small": granite4,
    "kimi-k2": deepseek_v3,
    "deepseek-v3.2": deepseek_v32,
    "jamba-1.5-mini": jamba,
    "qwen3-next-80b": qwen3_next,
}

#: parameters that their authors publish, in billions
PUBLISHED = {
    "mistral-7b": 7.24,
    "qwen3-30b-a3b": 30.5,
    "qwen3-235b-a22b": 235,
    "gpt-oss-120b": 117,
    "llama4-maverick": 400,
    "deepseek-v3": 671,
    "mamba2-2.7b": 2.7,
    "granite4-h-small": 32,
    "kimi-k2": 1026,
    "deepseek-v3.2": 671.9,
    "jamba-1.5-mini": 51.6,
    "qwen3-next-80b": 79.7,
}

every_family = pytest.mark.parametrize("name", SIZES)


def trace_of(name: str) -> KernelTrace:
    return read_trace(FILES[name])


def config_of(name: str) -> Config:
    config: Config = json.loads((FILES[name].parent / "config.json").read_text())
    return config


@every_family
def test_parameters_are_those_of_the_architecture(name: str) -> None:
    assert trace_of(name).model.n_parameters == SIZES[name](config_of(name)).total


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_are_as_published(name: str) -> None:
    assert trace_of(name).model.n_parameters == pytest.approx(PUBLISHED[name] * 1e9, rel=0.011)


@every_family
def test_a_token_multiplies_with_its_active_parameters(name: str) -> None:
    trace = trace_of(name)
    point = {"RLP": 1, "TLP": 1, "KV": 0, "EXPERT_ROWS": trace.model.n_experts_per_token}
    flop = sum(kernel.matmul_flop.at(point) * n for kernel, n in trace.kernels() if kernel.fc)
    assert flop == 2 * SIZES[name](config_of(name)).active


def kv_bytes(trace: KernelTrace) -> int:
    point = {"RLP": 1, "TLP": 1, "KV": 0}
    return sum(k.write_bytes.at(point) * n for k, n in trace.kernels() if k.kernel_class is KernelClass.KV_APPEND)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mistral-7b", 32 * 2 * 8 * 128 * 2),
        ("gemma3-12b", 48 * 2 * 8 * 256 * 2),
        ("qwen3-30b-a3b", 48 * 2 * 4 * 128 * 2),
        ("qwen3-235b-a22b", 94 * 2 * 4 * 128 * 2),
        ("gpt-oss-120b", 36 * 2 * 8 * 64 * 2),
        ("llama4-maverick", 48 * 2 * 8 * 128 * 2),
        ("deepseek-v3", 61 * (512 + 64) * 2),
        ("mamba2-2.7b", 0),
        ("granite4-h-small", 4 * 2 * 8 * 128 * 2),
        ("kimi-k2", 61 * (512 + 64) * 2),
        ("deepseek-v3.2", 61 * (512 + 64 + 128) * 2),
        ("jamba-1.5-mini", 4 * 2 * 8 * 128 * 2),
        ("qwen3-next-80b", 12 * 2 * 2 * 256 * 2),
    ],
)
def test_a_token_takes_the_bytes_of_its_caches(name: str, expected: int) -> None:
    assert kv_bytes(trace_of(name)) == expected


def tokens_read(trace: KernelTrace, tokens: int) -> list[int]:
    """Cached tokens that each layer reads for one new token, the new one included."""
    lengths = decode_lengths(1, 1, tokens - 1, tokens - 1)
    return [
        lower_attention(kernel, trace, lengths).kv_tokens for kernel, n in trace.kernels() if kernel.attention for _ in range(n)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "tokens", "less"), [
        ("mistral-7b", 32_768, 8.0),
        ("gemma3-12b", 8192, 3.7),
        ("gpt-oss-120b", 32_768, 2.0),
        ("llama4-maverick", 32_768, 2.3),
        ("deepseek-v3", 32_768, 1.0),
    ],
)  # fmt: skip
def test_windows_and_chunks_read_less_than_all_tokens(name: str, tokens: int, less: float) -> None:
    read = tokens_read(trace_of(name), tokens)
    assert tokens * len(read) / sum(read) == pytest.approx(less, rel=0.02)


def test_mistral_reads_its_window_in_every_layer() -> None:
    assert tokens_read(trace_of("mistral-7b"), 32_768) == [4096] * 32


def test_deepseek_v3_computes_with_the_latent_vectors() -> None:
    trace = trace_of("deepseek-v3")
    point = {"RLP": 3, "TLP": 2, "KV": 1000}
    for kernel, _ in trace.kernels():
        if kernel.attention:
            assert kernel.matmul_flop.at(point) == 3 * 2 * 1002 * 128 * 2 * (576 + 512)
            assert kernel.read_bytes.at(point) == 3 * 1002 * 1152 + 3 * 2 * 128 * 576 * 2


def test_deepseek_v32_scores_every_token_and_attends_to_2048() -> None:
    read = tokens_read(trace_of("deepseek-v3.2"), 32_768)
    assert sorted(read) == [2048] * 61 + [32_768] * 61, (
        "keys of the indexer of 256 bytes, then latent vectors of 1,152"
    )


@pytest.mark.parametrize(
    ("name", "layers", "per_layer"),
    [
        # (K − 1) columns of the convolution in the model's type, the state in FP32
        ("mamba2-2.7b", 64, 3 * 5376 * 2 + 80 * 64 * 128 * 4),
        ("granite4-h-small", 36, 3 * 8448 * 2 + 128 * 64 * 128 * 4),
        ("jamba-1.5-mini", 28, 3 * 8192 * 2 + 8192 * 16 * 4),
        ("qwen3-next-80b", 36, 3 * 8192 * 2 + 32 * 128 * 128 * 4),
    ],
)
def test_a_request_has_a_state_of_constant_size(name: str, layers: int, per_layer: int) -> None:
    states = [k.state_bytes * n for k, n in trace_of(name).kernels() if k.state_bytes]
    assert sum(states) == layers * per_layer


@pytest.mark.parametrize(
    ("name", "method", "bits"),
    [
        ("deepseek-v3", "fp8", 8),
        ("deepseek-v3.2", "fp8", 8),
        ("kimi-k2", "fp8", 8),
        ("gpt-oss-120b", "mxfp4", 4),
    ],
)
def test_weights_are_stored_as_published(name: str, method: str, bits: int) -> None:
    packed = trace_of(name).model.packed
    assert packed is not None
    assert (packed.method, packed.bits) == (method, bits)


HEADS = shipped(Shelf.HEAD)


def eagle3(c: Config) -> Size:
    h, kv, width = c["hidden_size"], 2 * c["num_key_value_heads"] * 128, c["intermediate_size"]
    products = 3 * h * h + 2 * h * (h + kv) + h * h + 3 * h * width + h * c["draft_vocab_size"]
    return Size(products, 0, c["vocab_size"] * h + 4 * h)


def mtp(c: Config) -> Size:
    whole, all_but_one = deepseek_v3(c), deepseek_v3({**c, "num_hidden_layers": c["num_hidden_layers"] - 1})
    h, (head, other) = c["hidden_size"], embeddings(c)
    return Size(
        whole.active - all_but_one.active + 2 * h * h + head, whole.idle - all_but_one.idle,
        whole.other - all_but_one.other + other + 2 * h,
    )  # fmt: skip


@pytest.mark.parametrize(("name", "size"), [("llama3-8b-eagle3", eagle3), ("deepseek-v3-mtp", mtp)])
def test_draft_heads_have_the_parameters_and_work_of_their_papers(name: str, size: Callable[[Config], Size]) -> None:
    trace, expected = read_trace(HEADS[name]), size(json.loads((HEADS[name].parent / "config.json").read_text()))
    assert trace.model.n_parameters == expected.total
    point = {"RLP": 1, "TLP": 1, "KV": 0, "EXPERT_ROWS": trace.model.n_experts_per_token}
    flop = sum(kernel.matmul_flop.at(point) * n for kernel, n in trace.kernels() if kernel.fc)
    assert flop == 2 * expected.active
    assert kv_bytes(trace) == {"llama3-8b-eagle3": 2 * 8 * 128 * 2, "deepseek-v3-mtp": 576 * 2}[name]
