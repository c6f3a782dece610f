from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

LLAMA = {
    "model_type": "llama", "vocab_size": 160, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256, "tie_word_embeddings": False,
}  # fmt: skip
OPT = {
    "model_type": "opt", "vocab_size": 160, "hidden_size": 64, "ffn_dim": 256, "num_hidden_layers": 2,
    "num_attention_heads": 4, "word_embed_proj_dim": 64, "max_position_embeddings": 256,
}  # fmt: skip
MIXTRAL = {**LLAMA, "model_type": "mixtral", "num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": None}
GPT2 = {"model_type": "gpt2", "vocab_size": 160, "n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 256}
CONFIGS = {"llama": LLAMA, "opt": OPT, "mixtral": MIXTRAL, "gpt2": GPT2}


@pytest.fixture(scope="session")
def config_file(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A function that writes the config.json of a tiny model, some of its fields changed, into a folder of its own."""

    def write(kind: str, **changes: Any) -> Path:
        path = tmp_path_factory.mktemp("models") / f"tiny-{kind}" / "config.json"
        path.parent.mkdir()
        path.write_text(json.dumps(CONFIGS[kind] | changes))
        return path

    return write
