from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from papisim.errors import InputError, MissingExtra
from papisim.tracing.models import require_torch, resolve, shipped_configs

ConfigFile = Callable[..., Path]


def test_a_shipped_name_is_its_config() -> None:
    source = resolve("llama7b")
    assert source.name == "llama7b"
    assert source.config_json == shipped_configs()["llama7b"].read_bytes()


def test_a_config_file_and_its_folder_are_the_same_model(config_file: ConfigFile) -> None:
    path = config_file("llama")
    assert resolve(str(path)).name == "tiny-llama"
    assert resolve(str(path)).sha256 == resolve(str(path.parent)).sha256


@pytest.mark.parametrize("model", [".", "config.json"])
def test_a_model_in_the_current_folder_has_the_name_of_the_folder(
    config_file: ConfigFile, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    path = config_file("llama")
    monkeypatch.chdir(path.parent)
    assert resolve(model).name == "tiny-llama"


def test_the_checksum_of_a_model_is_that_of_its_configuration_file(config_file: ConfigFile) -> None:
    path = config_file("llama")
    assert resolve(str(path)).sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_without_torch_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtra, match=r"pip install 'papisim\[capture\]'"):
        require_torch()


class TestWithTransformers:
    pytestmark = pytest.mark.capture

    @pytest.fixture(autouse=True)
    def _transformers(self) -> None:
        pytest.importorskip("transformers", reason="needs the [capture] extra")

    def test_an_unknown_name_is_refused_with_the_nearest_shipped_one(self) -> None:
        with pytest.raises(InputError, match=r"no model 'llama7'.*did you mean 'llama7b'"):
            resolve("llama7")

    def test_an_architecture_of_transformers_is_its_default_configuration(self) -> None:
        source = resolve("gpt_neox")
        assert source.name == "gpt_neox"
        assert source.config().model_type == "gpt_neox"
        assert source.config_json == resolve("gpt_neox").config_json
        assert "transformers_version" not in source.fields, "another release writes the same file"

    def test_a_config_that_is_not_json_is_refused(self, config_file: ConfigFile) -> None:
        path = config_file("llama")
        path.write_text("{")
        with pytest.raises(InputError, match=r"config\.json: is not JSON"):
            resolve(str(path)).config()

    def test_a_config_that_is_no_object_is_refused(self, config_file: ConfigFile) -> None:
        path = config_file("llama")
        path.write_text("[1]")
        with pytest.raises(InputError, match="expected a JSON object"):
            resolve(str(path)).config()

    def test_an_unknown_architecture_is_refused_with_the_nearest_one(self, config_file: ConfigFile) -> None:
        with pytest.raises(InputError, match=r"model_type: found 'lama'.*did you mean 'llama'"):
            resolve(str(config_file("llama", model_type="lama"))).config()

    def test_code_of_a_models_own_is_left_out_where_transformers_carries_its_architecture(
        self, config_file: ConfigFile
    ) -> None:
        path, notes = config_file("llama", auto_map={"AutoModelForCausalLM": "evil.Model"}), []
        assert resolve(str(path)).config(notes.append).model_type == "llama"
        assert len(notes) == 1
        assert "auto_map" in notes[0]
        assert not hasattr(resolve(str(path)).config(), "auto_map")

    def test_a_model_that_needs_code_of_its_own_is_refused(self, config_file: ConfigFile) -> None:
        path = config_file("llama", model_type="own", auto_map={"AutoModelForCausalLM": "evil.Model"})
        with pytest.raises(InputError, match=r"model_type: found 'own'.*auto_map asks for code of its own"):
            resolve(str(path)).config()

    def test_fields_that_the_configuration_class_refuses_are_bad_input(self, config_file: ConfigFile) -> None:
        with pytest.raises(InputError, match="transformers refuses the configuration"):
            resolve(str(config_file("llama", hidden_size="wide"))).config()
