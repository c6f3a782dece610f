"""Draft heads are one layer of their family, with the input and the vocabulary that their papers give them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs the [capture] extra")
pytest.importorskip("transformers", reason="needs the [capture] extra")

from papisim.ops.trace import KernelTrace
from papisim.tracing.models import resolve
from papisim.tracing.run import capture

pytestmark = pytest.mark.capture

TINY = json.loads((Path(__file__).parents[2] / "data" / "tiny_models.json").read_text())
BASE, MLA = TINY["base"], {**TINY["mla"], "model_type": "deepseek_v3"}


def captured(folder: Path, fields: dict[str, Any]) -> KernelTrace:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(fields))
    return capture(resolve(str(folder)), "papisim capture")


def products(trace: KernelTrace) -> dict[str, tuple[int, int]]:
    return {kernel.name: (kernel.fc.k, kernel.fc.n) for kernel, _ in trace.kernels() if kernel.fc}


def test_an_eagle_3_head_is_one_layer_of_which_three_hidden_states_and_the_embedding_are_the_input(
    tmp_path: Path,
) -> None:
    fields = {**BASE, "model_type": "llama", "architectures": ["LlamaForCausalLMEagle3"], "draft_vocab_size": 96}
    trace = captured(tmp_path / "head", fields)
    shapes_of = products(trace)
    assert shapes_of["fuse_features"] == (3 * 64, 64)
    assert {shapes_of[f"self_attn.{x}_proj"] for x in "qkv"} == {(128, 64), (128, 32)}
    assert shapes_of["lm_head"] == (64, 96)
    assert (trace.model.n_layers, trace.model.vocab_size) == (1, 96)


def test_a_module_of_multi_token_prediction_is_a_layer_as_the_targets_last(
    tmp_path: Path,
) -> None:
    fields = {**BASE, **MLA, "architectures": ["DeepSeekMTPModel"]}
    trace = captured(tmp_path / "head", fields)
    target = captured(tmp_path / "target", {**BASE, **MLA})
    assert [k.name for k in trace.layer(0).kernels] == [k.name for k in target.layer(2).kernels]
    assert products(trace)["eh_proj"] == (2 * 64, 64)
    of_layer = sum(
        p.tensor.elements.constant * (64 if k.per_expert else 1) for k in target.layer(2).kernels for p in k.weights
    )
    assert trace.model.n_parameters == of_layer + 2 * 160 * 64 + 2 * 64 * 64 + 3 * 64
