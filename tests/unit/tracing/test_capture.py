"""Whole captures, of models small enough to run for real as well."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

pytest.importorskip("torch", reason="needs the [capture] extra")
pytest.importorskip("transformers", reason="needs the [capture] extra")

import torch

from papisim.cli.capture import command
from papisim.errors import InputError, NotModelled
from papisim.ops.kernel import KernelClass
from papisim.ops.trace import KernelTrace, Point, read_trace
from papisim.tracing.decode import Decoder, build
from papisim.tracing.models import resolve
from papisim.tracing.routing import Routing
from papisim.tracing.run import capture
from papisim.tracing.write import trace_text, write_trace

pytestmark = pytest.mark.capture
ConfigFile = Callable[..., Path]


def captured(path: Path) -> KernelTrace:
    return capture(resolve(str(path)), f"papisim capture {path.parent.name}")


@pytest.fixture(scope="module")
def llama(config_file: ConfigFile) -> KernelTrace:
    return captured(config_file("llama"))


def test_a_layer_launches_what_a_serving_engine_would(llama: KernelTrace) -> None:
    layer = next(block for block in llama.blocks if block.layers)
    assert layer.layers == "0-1"
    assert [(kernel.name, str(kernel.role or kernel.kernel_class)) for kernel in layer.kernels] == [
        ("input_layernorm", "normalisation"),
        ("self_attn.q_proj", "qkv"),
        ("self_attn.k_proj", "qkv"),
        ("self_attn.v_proj", "qkv"),
        ("self_attn.rotary", "rotary"),
        ("self_attn.kv_append", "kv_append"),
        ("self_attn.attention", "attention"),
        ("self_attn.o_proj", "projection"),
        ("residual", "residual"),
        ("post_attention_layernorm", "normalisation"),
        ("mlp.gate_proj", "feed_forward_up"),
        ("mlp.up_proj", "feed_forward_up"),
        ("mlp.activation", "activation"),
        ("mlp.down_proj", "feed_forward_down"),
        ("residual", "residual"),
    ]


def test_a_norm_of_eight_aten_kernels_reads_and_writes_its_operand_once(llama: KernelTrace) -> None:
    norm = next(kernel for kernel, _ in llama.kernels() if kernel.name == "input_layernorm")
    assert len(norm.aten) == 8
    assert str(norm.read_bytes) == str(norm.write_bytes + norm.weight_bytes) == "128*RLP*TLP + 128"
    assert norm.unfused_read_bytes.at({"RLP": 1, "TLP": 1}) > 4 * norm.read_bytes.at({"RLP": 1, "TLP": 1})


def test_an_activation_and_its_product_are_one_kernel_of_two_inputs(llama: KernelTrace) -> None:
    kernel = next(kernel for kernel, _ in llama.kernels() if kernel.kernel_class is KernelClass.ACTIVATION)
    assert [aten.op for aten in kernel.aten] == ["aten.silu.default", "aten.mul.Tensor"]
    assert [str(tensor) for tensor in kernel.reads] == ["float16[RLP, TLP, 96]"] * 2
    assert [str(tensor) for tensor in kernel.writes] == ["float16[RLP, TLP, 96]"]


def test_rotary_embedding_reads_q_and_k_once_though_it_takes_them_apart(llama: KernelTrace) -> None:
    kernel = next(kernel for kernel, _ in llama.kernels() if kernel.name == "self_attn.rotary")
    assert sorted(map(str, kernel.reads)) == sorted(
        ["float16[RLP, 4, TLP, 16]", "float16[RLP, 2, TLP, 16]", *["float16[RLP, 1, TLP, 16]"] * 2]
    )


def test_the_concatenation_of_the_cache_is_named_and_not_counted(llama: KernelTrace) -> None:
    kernel = next(kernel for kernel, _ in llama.kernels() if kernel.kernel_class is KernelClass.KV_APPEND)
    assert kernel.replaces == ("aten.cat.default",)
    assert str(kernel.read_bytes) == str(kernel.write_bytes) == f"{2 * 2 * 16 * 2}*RLP*TLP"


@pytest.mark.parametrize("kind", ["llama", "opt", "gpt2", "mixtral"])
def test_matrix_flops_are_those_that_torch_counts_in_a_real_run(config_file: ConfigFile, kind: str) -> None:
    from torch.utils.flop_counter import FlopCounterMode  # noqa: PLC0415
    from transformers import AutoModelForCausalLM, DynamicCache  # noqa: PLC0415

    path = config_file(kind)
    rlp, tlp, kv = 3, 2, 9
    config = resolve(str(path)).config()
    config._experts_implementation = "eager"
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    cache = DynamicCache(config=config)
    with torch.no_grad():
        model(input_ids=torch.zeros(rlp, kv, dtype=torch.int64), past_key_values=cache, use_cache=True)
        with FlopCounterMode(display=False) as counter:
            model(input_ids=torch.zeros(rlp, tlp, dtype=torch.int64), past_key_values=cache, use_cache=True)
    trace = captured(path)
    # work is linear in an expert's rows, so one expert with the rows of all has the work of all
    point = {"RLP": rlp, "TLP": tlp, "KV": kv, "EXPERT_ROWS": rlp * tlp * trace.model.n_experts_per_token}
    assert sum(k.matmul_flop.at(point) * n for k, n in trace.kernels()) == counter.get_total_flops()
    assert trace.model.n_parameters == sum(parameter.numel() for parameter in model.parameters())


def test_experts_are_folded_into_one_with_rows_of_its_own(config_file: ConfigFile) -> None:
    trace = captured(config_file("mixtral"))
    assert (trace.model.n_experts, trace.model.n_experts_per_token) == (4, 2)
    experts = [kernel for kernel, _ in trace.kernels() if kernel.per_expert]
    assert [(str(kernel.fc.m), kernel.fc.k, kernel.fc.n) for kernel in experts if kernel.fc] == [
        ("EXPERT_ROWS", 64, 192),
        ("EXPERT_ROWS", 96, 64),
    ]
    router = next(kernel for kernel, _ in trace.kernels() if str(kernel.role) == "router")
    assert (router.fc.k, router.fc.n) == (64, 4)  # type: ignore[union-attr]


def test_every_row_that_a_router_sends_reaches_an_expert(config_file: ConfigFile) -> None:
    source = resolve(str(config_file("mixtral")))
    decoder = Decoder(build(source.config(), source.name, "float16"), source.name)
    recording = decoder.record(Point(rlp=5, tlp=3, kv=7), Routing(4, 2))
    rows = {(c.module.split(".")[2], c.expert): c.expert_rows for c in recording.calls if c.expert is not None}
    for layer in ("0", "1"):
        assert sum(n for (where, _), n in rows.items() if where == layer and n) == 5 * 3 * 2


def test_a_model_that_is_no_decoder_is_refused(config_file: ConfigFile) -> None:
    with pytest.raises(NotModelled, match="no causal decoder"):
        captured(config_file("llama", model_type="vit"))


def test_attention_that_bypasses_the_common_interface_is_refused() -> None:
    with pytest.raises(NotModelled, match="bloom"):
        capture(resolve("bloom"), "papisim capture bloom")


def test_a_model_that_cannot_be_built_is_refused_with_its_reason(config_file: ConfigFile) -> None:
    with pytest.raises((NotModelled, InputError)):
        captured(config_file("opt", num_attention_heads=5))


def test_what_is_written_reads_back_as_it_was(llama: KernelTrace, tmp_path: Path) -> None:
    path = write_trace(llama, b"{}", tmp_path / "new" / "folder", force=False)
    assert read_trace(path) == llama
    assert sorted(file.name for file in path.parent.iterdir()) == ["config.json", "trace.yaml"]


def test_a_second_capture_is_byte_for_byte_the_first(
    config_file: ConfigFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1743292800")
    path = config_file("mixtral")
    first, second = captured(path), captured(path)
    assert trace_text(first) == trace_text(second)
    assert first.provenance.date == "2025-03-30"


def test_a_trace_is_not_overwritten_unless_forced(llama: KernelTrace, tmp_path: Path) -> None:
    path = write_trace(llama, b"{}", tmp_path, force=False)
    path.write_text("mine")
    with pytest.raises(InputError, match="exists already; --force"):
        write_trace(llama, b"{}", tmp_path, force=False)
    assert path.read_text() == "mine"
    assert read_trace(write_trace(llama, b"{}", tmp_path, force=True)) == llama


def test_the_command_writes_the_trace_and_prints_its_path(config_file: ConfigFile, tmp_path: Path) -> None:
    result = run(str(config_file("llama")), "--out", str(tmp_path / "out"))
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == str(tmp_path / "out" / "trace.yaml")
    assert re.search("capturing at RLP 11, TLP 3, KV 131", result.stderr)
    assert read_trace(tmp_path / "out" / "trace.yaml").name == "tiny-llama"


def test_the_command_refuses_to_overwrite_before_it_works(config_file: ConfigFile, tmp_path: Path) -> None:
    (tmp_path / "trace.yaml").write_text("mine")
    result = run(str(config_file("llama")), "--out", str(tmp_path), "--quiet")
    assert isinstance(result.exception, InputError)
    assert result.stderr == ""


def test_nothing_is_written_when_a_capture_is_refused(config_file: ConfigFile, tmp_path: Path) -> None:
    result = run(str(config_file("llama", model_type="vit")), "--out", str(tmp_path / "out"))
    assert isinstance(result.exception, NotModelled)
    assert not (tmp_path / "out").exists()


def run(*arguments: str) -> Any:
    return CliRunner().invoke(command, list(arguments))
