"""Each family of models that is captured, tiny, against closed forms of its memory of the past and of its work."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("torch", reason="needs the [capture] extra")
pytest.importorskip("transformers", reason="needs the [capture] extra")

import torch
from transformers import AutoModelForCausalLM

from papisim.errors import NotModelled
from papisim.ops.kernel import KernelClass
from papisim.ops.lower import decode_lengths, lower_attention
from papisim.ops.trace import KernelTrace, read_trace
from papisim.ops.trace_kernels import AttentionShape, TraceKernel
from papisim.tracing import run
from papisim.tracing.models import resolve
from papisim.tracing.run import capture
from papisim.tracing.write import write_trace

pytestmark = pytest.mark.capture

TINY = json.loads((Path(__file__).parents[2] / "data" / "tiny_models.json").read_text())
BASE, MLA = TINY["base"], TINY["mla"]
MAMBA = {
    "mamba_n_heads": 8, "mamba_d_head": 16, "mamba_d_state": 32, "mamba_n_groups": 1, "mamba_d_conv": 4, "mamba_expand": 2,
    "num_local_experts": 4, "num_experts_per_tok": 2, "shared_intermediate_size": 48,
    "layer_types": ["mamba", "attention", "mamba"], "position_embedding_type": "nope",
}  # fmt: skip
FAMILIES: dict[str, dict[str, Any]] = {
    "mistral": {**BASE, "sliding_window": 64},
    "gemma2": {**BASE, "sliding_window": 64, "attn_logit_softcapping": 50.0, "num_hidden_layers": 2},
    "gemma3": {"text_config": {**BASE, "model_type": "gemma3_text", "sliding_window": 64, "sliding_window_pattern": 3}},
    "gpt_oss": {
        **BASE, "sliding_window": 32, "num_local_experts": 64, "num_experts_per_tok": 2,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
    },
    "llama4_text": {
        **BASE, "attention_chunk_size": 128, "num_local_experts": 40, "num_experts_per_tok": 1, "intermediate_size_mlp": 80,
        "interleave_moe_layer_step": 2, "num_hidden_layers": 4,
    },
    "deepseek_v3": {**BASE, **MLA},
    "deepseek_v2": {**BASE, **MLA, "q_lora_rank": None, "topk_method": "greedy"},
    "deepseek_v32": {**BASE, **MLA, "index_head_dim": 16, "index_n_heads": 2, "index_topk": 8},
    "glm_moe_dsa": {**BASE, **MLA, "index_head_dim": 16, "index_n_heads": 2, "index_topk": 8},
    "granitemoehybrid": {**BASE, **MAMBA},
    "bamba": {**BASE, **{k: v for k, v in MAMBA.items() if k != "layer_types"}, "attn_layer_indices": [1]},
    "nemotron_h": {
        **BASE, "layers_block_type": ["mamba", "moe", "attention"], "mamba_num_heads": 8, "mamba_head_dim": 16, "n_groups": 1,
        "ssm_state_size": 32, "n_routed_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 32,
        "moe_shared_expert_intermediate_size": 32, "moe_latent_size": None,
    },
    "mamba": {"vocab_size": 160, "hidden_size": 64, "num_hidden_layers": 2, "state_size": 16, "torch_dtype": "float16"},
    "jamba": {
        **BASE, "num_hidden_layers": 4, "attn_layer_period": 4, "attn_layer_offset": 2, "expert_layer_period": 2,
        "expert_layer_offset": 1, "num_experts": 8, "num_experts_per_tok": 2, "mamba_d_state": 16, "mamba_dt_rank": 4,
    },
    "kimi_linear": {
        **BASE, **MLA, "num_experts": 64, "num_experts_per_token": 2, "linear_head_dim": 16, "pad_token_id": 0,
        "linear_num_heads": 4, "layer_types": ["linear_attention", "full_attention", "linear_attention"],
    },
    "qwen3_5_text": {
        **BASE, "linear_key_head_dim": 16, "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_value_head_dim": 16,
        "layer_types": ["linear_attention", "full_attention", "linear_attention"],
    },
    "phimoe": {**BASE, "num_local_experts": 8, "num_experts_per_tok": 2},
    "apertus": BASE,
    "mimo_v2_flash": {
        **BASE, "v_head_dim": 12, "n_routed_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "sliding_window": 32,
        "n_group": 1, "topk_group": 1, "layer_types": ["full_attention", "sliding_attention", "full_attention"],
    },
    "mamba2": {
        "vocab_size": 160, "hidden_size": 64, "num_hidden_layers": 2, "num_heads": 8, "head_dim": 16, "state_size": 32,
        "n_groups": 1, "expand": 2, "torch_dtype": "float16",
    },
    "qwen3_next": {
        **BASE, "linear_conv_kernel_dim": 4, "linear_key_head_dim": 16, "linear_num_key_heads": 2, "linear_num_value_heads": 4,
        "linear_value_head_dim": 16, "num_experts": 64, "num_experts_per_tok": 2, "moe_intermediate_size": 32,
        "shared_expert_intermediate_size": 32, "layer_types": ["linear_attention", "full_attention", "linear_attention"],
    },
    "falcon": {
        "vocab_size": 160, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "multi_query": True,
        "new_decoder_architecture": False, "parallel_attn": True, "bias": False, "alibi": False, "torch_dtype": "float16",
    },
    "falcon_grouped": {
        "model_type": "falcon", "vocab_size": 160, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_kv_heads": 2, "new_decoder_architecture": True, "parallel_attn": True, "bias": False, "alibi": False,
        "torch_dtype": "float16",
    },
    "cohere": {**BASE, "tie_word_embeddings": True},
    "qwen3_vl": {
        "text_config": {**BASE, "model_type": "qwen3_vl_text"}, "torch_dtype": "float16",
        "vision_config": {"depth": 1, "hidden_size": 32, "num_heads": 2, "out_hidden_size": 64, "intermediate_size": 32},
    },
}  # fmt: skip


def config_of(family: str, folder: Path, **changes: Any) -> Path:
    path = folder / f"tiny-{family}" / "config.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"model_type": family, **FAMILIES[family], **changes}))
    return path


class Captured:
    """The traces of the families, each captured once, on demand."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._known = folder, {}

    def __call__(self, family: str) -> KernelTrace:
        if family not in self._known:
            source = resolve(str(config_of(family, self._folder)))
            trace = capture(source, f"papisim capture {family}")
            written = write_trace(trace, source.config_json, self._folder / family, force=True)
            self._known[family] = read_trace(written)
        return self._known[family]


@pytest.fixture(scope="module")
def captured(tmp_path_factory: pytest.TempPathFactory) -> Captured:
    return Captured(tmp_path_factory.mktemp("families"))


def shapes(trace: KernelTrace) -> Iterator[tuple[int, AttentionShape]]:
    """Yield the attention of each layer."""
    for layer in range(trace.model.n_layers):
        for shape in trace.layer(layer).attention:
            yield layer, shape


def seen(trace: KernelTrace) -> list[tuple[str, int | None]]:
    return [(shape.cache.sees, shape.cache.tokens) for _, shape in shapes(trace)]


def attention_kernels(trace: KernelTrace) -> list[TraceKernel]:
    return [kernel for kernel, _ in trace.kernels() if kernel.attention]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_captured_verified_and_read_back_with_all_its_parameters(
    captured: Captured, family: str
) -> None:
    trace = captured(family)
    config = resolve_text(family)
    with torch.device("meta"):
        parameters = sum(p.numel() for p in AutoModelForCausalLM.from_config(config).parameters())
    assert trace.model.n_parameters == parameters


def resolve_text(family: str) -> Any:
    from transformers import CONFIG_MAPPING  # noqa: PLC0415

    fields = FAMILIES[family]
    if family == "qwen3_vl":  # its language model is a Qwen3
        return CONFIG_MAPPING["qwen3"](**{**fields["text_config"], "model_type": "qwen3"})
    named = {name: value for name, value in fields.items() if name != "model_type"}
    return CONFIG_MAPPING[fields.get("model_type", family)](**named).get_text_config()


@pytest.mark.parametrize(
    ("family", "expected"),
    [
        ("mistral", [("window", 64)] * 3),
        ("gemma2", [("window", 64), ("full", None)]),
        ("gemma3", [("window", 64), ("window", 64), ("full", None)]),
        ("gpt_oss", [("window", 32), ("full", None), ("window", 32)]),
        ("llama4_text", [("chunk", 128)] * 3 + [("full", None)]),
        ("cohere", [("full", None)] * 3),
    ],
)
def test_the_tokens_that_a_query_sees_are_those_of_its_layer(
    captured: Captured, family: str, expected: list[tuple[str, int | None]]
) -> None:
    assert seen(captured(family)) == expected


@pytest.mark.parametrize("family", ["deepseek_v3", "deepseek_v2"])
def test_latent_attention_keeps_one_vector_per_token_and_absorbs_its_expansion(
    captured: Captured, family: str
) -> None:
    trace, heads, rank, rope, nope, width = captured(family), 4, 32, 8, 16, 12
    for _, shape in shapes(trace):
        assert (shape.n_kv_heads, shape.head_dim, shape.value_dim) == (1, rank + rope, rank)
        assert shape.cache.latent
        assert (shape.prompt.n_kv_heads, shape.prompt.head_dim, shape.prompt.value_dim) == (heads, nope + rope, width)
    appended = [k.write_bytes for k, _ in trace.kernels() if k.kernel_class is KernelClass.KV_APPEND]
    assert {str(n_bytes) for n_bytes in appended} == {f"{(rank + rope) * 2}*RLP*TLP"}
    per_head = [k for k, _ in trace.kernels() if k.fc and k.fc.groups > 1]
    assert {(k.fc.groups, k.fc.k, k.fc.n) for k in per_head if k.fc} == {(heads, nope, rank), (heads, rank, width)}
    # the absorbed products have the weights, and the work, of the expansion that they stand for
    assert sum(k.matmul_flop.at({"RLP": 1, "TLP": 1}) for k in per_head) == 2 * 2 * rank * heads * (nope + width)
    point = {"RLP": 3, "TLP": 2, "KV": 100}
    for kernel in attention_kernels(trace):
        assert kernel.matmul_flop.at(point) == 3 * 2 * 102 * heads * 2 * (2 * rank + rope)
        assert kernel.read_bytes.at(point) == 2 * (3 * 2 * heads * (rank + rope) + 3 * 102 * (rank + rope))


def test_experts_of_both_kinds_of_blocks_are_one_lifted_kernel_each(captured: Captured) -> None:
    trace = captured("deepseek_v3")
    assert [(block.layers, block.repeats) for block in trace.blocks if block.layers] == [("0", 1), ("1-2", 2)]
    experts = [kernel.fc for kernel, _ in trace.kernels() if kernel.per_expert and kernel.fc]
    assert [(str(fc.m), fc.k, fc.n) for fc in experts] == [("EXPERT_ROWS", 64, 64), ("EXPERT_ROWS", 32, 64)]
    routers = [kernel for kernel, _ in trace.kernels() if str(kernel.role) == "router"]
    assert [(k.fc.k, k.fc.n) for k in routers if k.fc] == [(64, 64)], "scores in FP32 are of an FC kernel, too"


def test_sinks_are_weights_of_attention_and_one_more_score_per_query(captured: Captured) -> None:
    point = {"RLP": 3, "TLP": 2, "KV": 100}
    for kernel in attention_kernels(captured("gpt_oss")):
        assert [str(weight) for weight in kernel.weights] == ["self_attn.sinks float16[4]"]
        assert kernel.elementwise_flop.at(point) == 3 * 2 * 4 * 5 * (102 + 1)


def test_a_soft_cap_takes_three_operations_per_score(captured: Captured) -> None:
    point = {"RLP": 3, "TLP": 2, "KV": 100}
    for kernel in attention_kernels(captured("gemma2")):
        assert kernel.elementwise_flop.at(point) == 3 * 2 * 4 * 102 * (5 + 3)


def test_llama_4_sends_a_token_to_its_expert_alone(captured: Captured) -> None:
    trace = captured("llama4_text")
    experts = [kernel for kernel, _ in trace.kernels() if kernel.per_expert and kernel.fc]
    assert {(str(k.fc.m), k.fc.k, k.fc.n) for k in experts if k.fc} == {
        ("EXPERT_ROWS", 64, 192), ("EXPERT_ROWS", 96, 64),
    }  # fmt: skip
    point = {"RLP": 4, "TLP": 1, "KV": 0, "EXPERT_ROWS": 1}
    assert all(k.matmul_flop.at(point) <= 4 * 2 * 64 * 160 for k, _ in trace.kernels())


def states(trace: KernelTrace) -> dict[int, list[tuple[int, str]]]:
    return {
        layer: [(k.state_bytes, str(k.elementwise_flop)) for k in trace.layer(layer).kernels if k.state_bytes]
        for layer in range(trace.model.n_layers)
    }


def test_state_space_layers_read_and_write_a_constant_state(captured: Captured) -> None:
    inner, heads, width, state = 128, 8, 16, 32
    channels = inner + 2 * state
    convolution = (3 * channels * 2, f"{(2 * 4 + 2) * channels}*RLP*TLP")
    scan = (heads * width * state * 4, f"{5 * heads * width * state}*RLP*TLP")
    assert states(captured("mamba2")) == {layer: [convolution, scan] for layer in range(2)}
    assert states(captured("granitemoehybrid")) == {0: [convolution, scan], 1: [], 2: [convolution, scan]}
    assert [layer for layer, _ in shapes(captured("granitemoehybrid"))] == [1]
    assert (captured("mamba2").model.n_heads, captured("mamba2").model.intermediate_size) == (0, 0)


def test_linear_attention_reads_and_writes_a_constant_state(captured: Captured) -> None:
    trace, channels = captured("qwen3_next"), 2 * 2 * 16 + 4 * 16
    assert states(trace)[0] == [
        (3 * channels * 2, f"{(2 * 4 + 1) * channels}*RLP*TLP"),
        (4 * 16 * 16 * 4, f"{7 * 4 * 16 * 16}*RLP*TLP"),
    ]
    for kernel, _ in trace.kernels():
        if kernel.kernel_class is KernelClass.STATE:
            state = f"{kernel.state_bytes}*RLP"
            assert any(str(tensor.n_bytes) == state for tensor in kernel.reads)
            assert any(str(tensor.n_bytes) == state for tensor in kernel.writes)


def test_attention_that_calls_torch_itself_is_one_kernel_over_the_cache(captured: Captured) -> None:
    for _, shape in shapes(captured("falcon")):
        assert (shape.n_heads, shape.n_kv_heads, shape.head_dim) == (4, 1, 16)


def test_of_a_model_of_several_modalities_the_language_model_is_captured(captured: Captured) -> None:
    assert captured("qwen3_vl").model.model_type == "qwen3_vl_text"
    assert captured("gemma3").model.model_type == "gemma3_text"


def test_an_indexer_scores_all_cached_tokens_and_attention_reads_those_it_selects(captured: Captured) -> None:
    heads, width, selected, latent = 2, 16, 8, 40
    point = {"RLP": 3, "TLP": 2, "KV": 100}
    for family in ("deepseek_v32", "glm_moe_dsa"):
        trace = captured(family)
        assert (trace.model.n_heads, trace.model.n_kv_heads) == (4, 1), "those of attention, not of the indexer"
        assert seen(trace) == [("full", None), ("selected", selected)] * 3
        for scores, attention in zip(attention_kernels(trace)[::2], attention_kernels(trace)[1::2], strict=True):
            shape = scores.attention
            assert (shape.n_heads, shape.n_kv_heads, shape.head_dim, shape.value_dim) == (heads, 1, width, 0)
            assert scores.matmul_flop.at(point) == 3 * 2 * 102 * heads * 2 * width
            # each token's own keys, which are read once per token that is decoded
            assert str(scores.reads[0]) == f"float16[RLP, KV + TLP, {width}]"
            assert attention.attention.cache.latent
            assert attention.attention.prompt is None, "each token of a prompt reads a selection of its own"
            read = lower_attention(attention, trace, decode_lengths(3, 2, 300, 100))
            assert read.kv_tokens == 3 * 2 * selected
        appended = {str(k.write_bytes) for k, _ in trace.kernels() if k.kernel_class is KernelClass.KV_APPEND}
        assert appended == {f"{2 * (latent + width)}*RLP*TLP"}, (
            "one launch appends latent vectors and keys of the indexer"
        )


def test_a_selective_scan_has_a_decay_of_each_channel_and_state(captured: Captured) -> None:
    inner, state, kernel = 128, 16, 4
    convolution = (3 * inner * 2, f"{(2 * kernel + 2) * inner}*RLP*TLP")
    scan = (inner * state * 4, f"{7 * inner * state}*RLP*TLP")
    assert states(captured("mamba")) == {layer: [convolution, scan] for layer in range(2)}
    assert states(captured("jamba")) == {
        0: [convolution, scan],
        1: [convolution, scan],
        2: [],
        3: [convolution, scan],
    }
    steps = [k.fc for k, _ in captured("mamba").kernels() if k.fc and k.name.endswith("dt_proj")]
    assert {(str(fc.m), fc.k, fc.n, fc.groups) for fc in steps} == {("RLP*TLP", 4, inner, 1)}, (
        "one product of all rows"
    )


def test_layers_of_feed_forward_networks_alone_keep_nothing(captured: Captured) -> None:
    trace = captured("nemotron_h")
    assert [len(trace.layer(layer).attention) for layer in range(3)] == [0, 0, 1]
    assert [bool(kernels) for kernels in states(trace).values()] == [True, False, False]


def test_grouped_heads_of_falcon_are_cached_once_per_group(captured: Captured) -> None:
    for _, shape in shapes(captured("falcon_grouped")):
        assert (shape.n_heads, shape.n_kv_heads, shape.head_dim) == (4, 2, 16)


def test_layers_with_a_window_may_have_heads_of_their_own(captured: Captured) -> None:
    found = [(s.n_kv_heads, s.head_dim, s.value_dim, s.cache.sees) for _, s in shapes(captured("mimo_v2_flash"))]
    assert found == [(2, 16, 12, "full"), (4, 16, 12, "window"), (2, 16, 12, "full")]


def test_a_gate_of_linear_attention_is_column_parallel_like_q_and_k(captured: Captured) -> None:
    roles = {k.name: str(k.role) for k in captured("qwen3_5_text").layer(0).kernels if k.fc}
    assert (roles["linear_attn.in_proj_z"], roles["linear_attn.out_proj"]) == ("qkv", "projection")


def test_a_router_without_topk_sends_tokens_to_drawn_experts(captured: Captured) -> None:
    experts = {(str(k.fc.m), k.fc.n) for k, _ in captured("phimoe").kernels() if k.per_expert and k.fc}
    assert experts == {("EXPERT_ROWS", 192), ("EXPERT_ROWS", 64)}


REFUSED = yaml.safe_load((Path(run.__file__).parent / "refused.yaml").read_text())


@pytest.mark.parametrize("model_type", REFUSED)
def test_a_mechanism_that_is_not_modelled_is_named_before_anything_is_captured(
    tmp_path: Path, model_type: str
) -> None:
    path = tmp_path / "tiny" / "config.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"model_type": model_type}))
    told: list[str] = []
    with pytest.raises(NotModelled, match=re.escape(REFUSED[model_type])):
        capture(resolve(str(path)), "papisim capture", told.append)
    assert not any("capturing" in line for line in told)


def test_an_encoder_is_refused_until_its_configuration_makes_it_a_decoder(tmp_path: Path) -> None:
    path = tmp_path / "tiny-bert" / "config.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(NotModelled, match=r"encoder.*is_decoder"):
        capture(resolve(str(path)), "papisim capture")


def test_attention_by_products_of_the_models_own_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tiny-codegen" / "config.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"model_type": "codegen", "n_layer": 2, "n_embd": 64, "n_head": 4, "rotary_dim": 8}))
    with pytest.raises(NotModelled, match="multiplies with the cached K and V itself"):
        capture(resolve(str(path)), "papisim capture")
