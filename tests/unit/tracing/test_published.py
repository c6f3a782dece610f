"""What is read of a published model's element type and quantisation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from papisim.errors import InputError
from papisim.ops.lower import weight_bytes
from papisim.ops.trace import KernelTrace, read_trace
from papisim.tracing.published import dtype_of, packed_weights

ConfigFile = Callable[..., Path]


@pytest.mark.parametrize(
    ("fields", "dtype"),
    [
        ({"torch_dtype": "bfloat16"}, "bfloat16"),
        ({"dtype": "torch.float32"}, "float32"),
        ({"dtype": "float16", "torch_dtype": "bfloat16"}, "float16"),
        ({"torch_dtype": "auto"}, None),
        ({}, None),
    ],
)
def test_the_element_type_is_the_published_one(fields, dtype):
    assert dtype_of(fields, "config.json") == dtype


def test_an_element_type_that_is_not_modelled_is_refused_by_name():
    with pytest.raises(InputError, match=r"torch_dtype: found 'float64', expected one of float16, bfloat16, float32"):
        dtype_of({"torch_dtype": "float64"}, "config.json")


def packed(**config):
    return packed_weights({"quantization_config": config}, 2, "config.json")


#: bits per weight of a 4096 × 4096 matrix, by hand
@pytest.mark.parametrize(
    ("config", "bits_per_weight", "input_bits"),
    [
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, 8 + 32 / 128**2, 8),
        ({"quant_method": "fp8"}, 8, 8),
        ({"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True}, 4 + (16 + 4) / 128, None),
        ({"quant_method": "awq", "bits": 4, "group_size": 64, "zero_point": False}, 4 + 16 / 64, None),
        ({"quant_method": "gptq", "bits": 8, "group_size": -1}, 8 + (16 + 8) / 4096, None),
        ({"quant_method": "mxfp4"}, 4 + 8 / 32, None),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {
                    "group_0": {
                        "weights": {"num_bits": 8, "strategy": "channel", "type": "float"},
                        "input_activations": {"num_bits": 8, "strategy": "token"},
                    }
                },
            },
            8 + 16 / 4096,
            8,
        ),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {"group_0": {"weights": {"num_bits": 4, "strategy": "group", "group_size": 32}}},
            },
            4 + 16 / 32,
            None,
        ),
    ],
    ids=lambda value: value.get("quant_method") if isinstance(value, dict) else None,
)
def test_a_weight_takes_its_bits_and_its_share_of_a_scale(config, bits_per_weight, input_bits):
    found = packed(**config)
    assert found.format.n_bytes(4096, 4096) * 8 / 4096**2 == pytest.approx(bits_per_weight)
    assert found.input_bits == input_bits


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"quant_method": "bitsandbytes"}, r"quant_method: found 'bitsandbytes', expected one of fp8, awq"),
        ({}, r"quantization_config.quant_method: found None, expected text"),
        ({"quant_method": "awq", "bits": 3, "group_size": 128}, r"bits: found 3, expected 4 or 8"),
        ({"quant_method": "awq", "bits": 4}, r"group_size: found None, expected a whole number"),
        (
            {"quant_method": "fp8", "weight_block_size": 128},
            r"weight_block_size: found 128, expected two whole numbers",
        ),
        (
            {"quant_method": "mxfp4", "modules_to_not_convert": ["model.layers.0.mlp"]},
            r"modules_to_not_convert: found 'mlp in 1 of 2 layers'",
        ),
    ],
)
def test_what_is_not_modelled_is_refused_with_its_field(config, message):
    with pytest.raises(InputError, match=message):
        packed(**config)


def test_a_model_without_quantisation_is_stored_as_traced():
    assert packed_weights({}, 2, "config.json") is None


def one_group(**weights):
    return {"config_groups": {"group_0": {"weights": weights}}, "quant_method": "compressed-tensors"}


def test_one_scale_for_a_whole_matrix_takes_no_bits():
    found = packed(**one_group(num_bits=8, strategy="tensor"))
    assert found.format.n_bytes(4096, 4096) == 4096**2


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"quant_method": "fp8", "weight_block_size": [0, 128]}, r"weight_block_size: found \[0, 128\]"),
        ({"quant_method": "fp8", "weight_block_size": [128, -1]}, r"weight_block_size: found \[128, -1\]"),
        ({"quant_method": "awq", "bits": 4, "group_size": True}, r"group_size: found True, expected a whole number"),
        (one_group(num_bits=8, strategy="block"), r"weights.strategy: found 'block', expected tensor, channel or group"),
        ({"quant_method": "compressed-tensors", "config_groups": {"a": {}, "b": {}}}, r"found \['a', 'b'\], expected one group"),
        ({"quant_method": "mxfp4", "modules_to_not_convert": "lm_head"}, r"found 'lm_head', expected a list of module names"),
    ],
)  # fmt: skip
def test_settings_of_a_scheme_that_have_no_meaning_are_refused(config, message):
    with pytest.raises(InputError, match=message):
        packed(**config)


def test_a_module_named_for_all_layers_and_for_one_is_kept_in_all():
    found = packed(
        quant_method="mxfp4", modules_to_not_convert=["model.layers.*.self_attn", "model.layers.0.self_attn"]
    )
    assert found.kept == ("self_attn",)


def test_kept_modules_are_in_one_order_however_a_file_lists_them():
    names = [f"model.layers.*.{module}" for module in ("self_attn", "mlp", "gate", "experts")]
    one, other = (packed(quant_method="mxfp4", modules_to_not_convert=order).kept for order in (names, names[::-1]))
    assert one == other == ("experts", "gate", "mlp", "self_attn")


@pytest.mark.parametrize(
    "names",
    [
        ["model.layers.*.self_attn", "lm_head", "model.embed_tokens"],
        ["model.layers.0.self_attn", "model.layers.1.self_attn"],
        ["re:.*layers\\.\\d+\\.self_attn"],
    ],
)
def test_modules_that_stay_as_they_are_are_kept_in_every_layer(names):
    found = packed(quant_method="mxfp4", modules_to_not_convert=names)
    assert not found.packs("self_attn.q_proj")
    assert not found.packs("self_attn")
    assert found.packs("self_attn_other")
    assert found.packs("mlp.experts.down_proj")


@pytest.mark.capture
class TestCaptured:
    """Tiny models, captured with torch."""

    @staticmethod
    def trace(path: Path) -> KernelTrace:
        pytest.importorskip("torch", reason="needs the [capture] extra")
        pytest.importorskip("transformers", reason="needs the [capture] extra")
        from papisim.tracing.models import resolve  # noqa: PLC0415 - torch
        from papisim.tracing.run import capture  # noqa: PLC0415 - torch
        from papisim.tracing.write import write_trace  # noqa: PLC0415 - torch

        source = resolve(str(path))
        return read_trace(
            write_trace(capture(source, "papisim capture"), source.config_json, path.parent / "out", force=True)
        )

    def test_float32_takes_twice_the_bytes_of_float16(self, config_file: ConfigFile):
        half = self.trace(config_file("llama", torch_dtype="float16"))
        full = self.trace(config_file("llama", torch_dtype="float32"))
        assert weight_bytes(full) == 2 * weight_bytes(half) == 4 * half.model.n_parameters

    def test_awq_packs_the_matrices_of_the_layers_alone(self, config_file: ConfigFile):
        awq = {"quant_method": "awq", "bits": 4, "group_size": 32, "zero_point": False}
        trace = self.trace(config_file("llama", torch_dtype="float16", quantization_config=awq))
        # per layer: q, o 64 × 64; k, v 64 × 32; gate, up, down 64 × 96
        layers = 2 * (2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 96)
        expected = 2 * (trace.model.n_parameters - layers) + layers * (4 + 16 / 32) / 8
        assert weight_bytes(trace) == expected

    def test_the_longest_context_is_the_configured_one(self, config_file: ConfigFile):
        llama, gpt2 = self.trace(config_file("llama")).model, self.trace(config_file("gpt2")).model
        assert (llama.max_positions, llama.learned_positions) == (256, False)
        assert (gpt2.max_positions, gpt2.learned_positions) == (256, True)

    def test_a_kernel_that_is_removed_by_hand_is_missed(self, config_file: ConfigFile):
        path = config_file("llama")
        self.trace(path)
        file = path.parent / "out" / "trace.yaml"
        text = file.read_text()
        start = text.index("  - name: residual\n")
        end = text.index("  - name:", start + 1)
        file.write_text(text[:start] + text[end:])
        with pytest.raises(InputError, match="was edited after its capture"):
            read_trace(file)
