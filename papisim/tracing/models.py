"""The model to capture: a shipped name, a local ``config.json``, or an architecture that transformers carries."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from papisim import foreign
from papisim.catalog import Shelf, data_folder
from papisim.errors import InputError, MissingExtra, did_you_mean

#: names of architectures that are another one's under a name of the authors' own code
_SAME_AS: Final = {"kimi_k2": "deepseek_v3"}


@dataclass(frozen=True)
class ModelSource:
    """A model to capture.

    Attributes:
        name: name of the model's trace.
        config_json: the bytes of its ``config.json``, kept beside the trace.
        file: origin of the configuration, for messages.
    """

    name: str
    config_json: bytes
    file: str

    @property
    def sha256(self) -> str:
        """SHA-256 of the configuration, in hexadecimal."""
        return hashlib.sha256(self.config_json).hexdigest()

    def config(self, note: Callable[[str], None] = lambda _: None) -> Any:
        """Return transformers' configuration object.

        Only classes that transformers itself carries are used; ``auto_map`` entries, which would load code from
        elsewhere, are left out.

        Args:
            note: told what was left out.

        Raises:
            InputError: not a JSON object, no known ``model_type``, or fields that its class refuses.
        """
        fields = self.fields
        model_type = fields.pop("model_type", None)
        # read by papisim.tracing.published; transformers would look for kernels
        fields.pop("quantization_config", None)
        asks_for_code = fields.pop("auto_map", None) is not None
        known = _config_classes()
        model_type = _SAME_AS.get(str(model_type), model_type)
        if model_type not in known:
            hint = did_you_mean(str(model_type), known)
            if asks_for_code:
                hint = f"its auto_map asks for code of its own, which is not run; {hint}"
            raise InputError(f"found {model_type!r}, expected an architecture that transformers carries; {hint}",
                             file=self.file, field="model_type")  # fmt: skip
        if asks_for_code:
            note(
                f"{self.file} asks for code of its own (auto_map); transformers' own {model_type} is captured instead"
            )
        try:
            return known[model_type](**fields)
        except Exception as error:  # any error of a configuration class comes from the file
            reason = " ".join(str(error).split())
            raise InputError(f"transformers refuses the configuration: {reason}", file=self.file) from None

    @property
    def fields(self) -> dict[str, Any]:
        """Fields of the configuration.

        Raises:
            InputError: not a JSON object.
        """
        try:
            fields = json.loads(self.config_json)
        except (ValueError, RecursionError) as error:
            raise InputError(f"is not JSON: {error}", file=self.file) from None
        if not isinstance(fields, dict):
            raise InputError("expected a JSON object with the fields of a model configuration", file=self.file)
        return fields


def resolve(model: str) -> ModelSource:
    """Return the model that a MODEL argument names.

    Args:
        model: a shipped name, a ``config.json`` or its folder, or a transformers ``model_type``.

    Raises:
        InputError: the argument is none of these; the message has the nearest name.
        MissingExtra: transformers, which knows the architectures, is not installed.
    """
    path = Path(model)
    if path.is_dir() and (path / "config.json").is_file():
        return _from_file(path.resolve().name, path / "config.json")
    if path.is_file():
        return _from_file(path.resolve().parent.name, path)
    names = shipped_configs()
    if model in names:
        return _from_file(model, names[model])
    classes = _config_classes()
    if model in classes:
        return _from_defaults(model, classes[model])
    raise InputError(f"no model '{model}': neither a shipped name, a config.json nor an architecture that "
                     f"transformers carries; {did_you_mean(model, [*names, *classes])}")  # fmt: skip


def shipped_configs() -> dict[str, Path]:
    """Return the configurations shipped beside the traces, by name."""
    folders = (data_folder() / shelf.folder for shelf in (Shelf.TRACE, Shelf.HEAD))
    return {path.parent.name: path for folder in folders for path in sorted(folder.glob("*/config.json"))}


def _from_file(name: str, path: Path) -> ModelSource:
    try:
        with foreign.open_file(path) as file:
            return ModelSource(name, file.read(), str(path))
    except OSError as error:
        raise InputError(f"may not be read ({error.strerror})", file=str(path)) from None


def _from_defaults(model_type: str, config_class: Any) -> ModelSource:
    fields = {"model_type": model_type, **config_class().to_diff_dict()}
    fields.pop("transformers_version", None)
    text = json.dumps(fields, indent=2, sort_keys=True, default=str) + "\n"
    return ModelSource(model_type, text.encode(), f"transformers' defaults of {model_type}")


def _config_classes() -> Any:
    """Return transformers' mapping from architecture to configuration class (imported on use)."""
    require_torch()
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING  # noqa: PLC0415 - optional dependency

    return CONFIG_MAPPING


def require_torch() -> None:
    """Refuse to go on without torch and transformers.

    Raises:
        MissingExtra: one of them is not installed.
    """
    for package in ("torch", "transformers"):
        try:
            __import__(package)
        except ImportError:
            raise MissingExtra("papisim capture", package, "capture") from None
