"""Storage of a model's published weights: the element type and the ``quantization_config`` of its ``config.json``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from papisim.config.yaml import load_yaml
from papisim.errors import InputError, did_you_mean
from papisim.ops.trace import PackedWeights

DTYPES: Final = ("float16", "bfloat16", "float32")
#: element type of a capture whose configuration names none
DEFAULT_DTYPE: Final = "float16"

#: bits of a weight that are modelled
_BITS: Final = (4, 8)
#: ``group_size`` of one scale per whole output
_PER_OUTPUT: Final = -1
#: a group that no output exceeds
_WHOLE_OUTPUT: Final = 2**31

Fields = Mapping[str, object]

_LAYER = re.compile(
    r"^(?:re:)?\^?(?:\.\*)?(?:[\w.]+\.)?layers\\?\.(?P<layer>\*|\.\*|\\d\+|\d+)\\?\.(?P<module>.+?)\$?$"
)


def dtype_of(fields: Fields, file: str) -> str | None:
    """Name of the element type in which a configuration publishes its weights; None if the configuration names none.

    Raises:
        InputError: an element type that cannot be captured.
    """
    name = "dtype" if "dtype" in fields else "torch_dtype"
    found = fields.get(name)
    if found is None or found == "auto":
        return None
    dtype = str(found).removeprefix("torch.")
    if dtype not in DTYPES:
        raise InputError(f"found {found!r}, expected one of {', '.join(DTYPES)}; {did_you_mean(dtype, DTYPES)}",
                         file=file, field=name)  # fmt: skip
    return dtype


def packed_weights(fields: Fields, n_layers: int, file: str) -> PackedWeights | None:
    """Storage format of the weights of the decoder layers; None if they are stored in the model's element type.

    Args:
        fields: the model configuration.
        n_layers: decoder layers of the model.
        file: file of the configuration, for messages.

    Raises:
        InputError: a scheme, or a setting of one, that is not modelled; the message names it.
    """
    config = fields.get("quantization_config")
    if config is None:
        return None
    reader = _Reader(config if isinstance(config, dict) else {}, file)
    schemes = load_yaml(Path(__file__).parent / "schemes.yaml").data
    method = reader.text("quant_method")
    if method not in schemes:
        raise reader.error("quant_method", method, f"one of {', '.join(schemes)}; {did_you_mean(method, schemes)}; without "
                           "quantization_config the model is captured unquantised")  # fmt: skip
    read = _READERS.get(method, _grouped)
    return read(reader, schemes[method], n_layers)


class _Reader:
    """The fields of a ``quantization_config``, with errors that name file and field."""

    def __init__(self, fields: Fields, file: str, path: str = "quantization_config") -> None:
        self.fields, self._file, self._path = fields, file, path

    def error(self, name: str, found: object, expected: str) -> InputError:
        return InputError(f"found {found!r}, expected {expected}", file=self._file, field=f"{self._path}.{name}")

    def text(self, name: str) -> str:
        found = self.fields.get(name)
        if not isinstance(found, str):
            raise self.error(name, found, "text")
        return found

    def integer(self, name: str, allowed: Iterable[int] = ()) -> int:
        found = self.fields.get(name)
        if not isinstance(found, int) or isinstance(found, bool) or (allowed and found not in allowed):
            raise self.error(name, found, " or ".join(map(str, allowed)) or "a whole number")
        return found

    def inner(self, name: str) -> _Reader:
        found = self.fields.get(name)
        if not isinstance(found, dict):
            raise self.error(name, found, "an object")
        return _Reader(found, self._file, f"{self._path}.{name}")

    def kept(self, name: str, n_layers: int) -> tuple[str, ...]:
        """Modules of a layer whose weights are not packed; those outside the layers never are."""
        entries = self.fields.get(name) or []
        if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
            raise self.error(name, entries, "a list of module names")
        layers: dict[str, set[str]] = {}
        for match in filter(None, map(_LAYER.match, entries)):
            layers.setdefault(match["module"].replace("\\", ""), set()).add(match["layer"])
        for module, seen in layers.items():
            numbers = {layer for layer in seen if layer.isdigit()}
            if seen == numbers and len(numbers) != n_layers:
                raise self.error(name, f"{module} in {len(numbers)} of {n_layers} layers",
                                 "modules that are kept in every layer: other layers are not modelled")  # fmt: skip
        return tuple(sorted(layers))


def _blocks(reader: _Reader, scheme: Mapping[str, int], n_layers: int) -> PackedWeights:
    """FP8 with scales of blocks, or with one scale per matrix, whose bits are negligible."""
    block = reader.fields.get("weight_block_size", [1, 1])
    match block:
        case [int(rows), int(group)] if rows > 0 and group > 0:
            scale_bits = scheme["scale_bits"] if "weight_block_size" in reader.fields else 0
        case _:
            raise reader.error("weight_block_size", block, "two whole numbers")
    return _packed(
        reader, "modules_to_not_convert", n_layers, bits=scheme["bits"], group=group, rows=rows,
        scale_bits=scale_bits, input_bits=scheme["inputs"],
    )  # fmt: skip


def _grouped(reader: _Reader, scheme: Mapping[str, int], n_layers: int) -> PackedWeights:
    """Weights of one output in groups with a scale, and a zero point where the scheme has one (AWQ, GPTQ, MXFP4)."""
    bits = scheme.get("bits") or reader.integer("bits", _BITS)
    group = scheme.get("group") or reader.integer("group_size")
    zero_bits = bits if scheme.get("zero_point") and reader.fields.get("zero_point", True) else 0
    scale_bits = scheme["scale_bits"] + zero_bits
    size = _WHOLE_OUTPUT if group == _PER_OUTPUT else group
    return _packed(reader, "modules_to_not_convert", n_layers, bits=bits, group=size, scale_bits=scale_bits)


def _compressed_tensors(reader: _Reader, scheme: Mapping[str, int], n_layers: int) -> PackedWeights:
    groups = reader.inner("config_groups")
    if len(groups.fields) != 1:
        raise reader.error("config_groups", sorted(groups.fields), "one group of modules; several are not modelled")
    group = groups.inner(next(iter(groups.fields)))
    weights, inputs = group.inner("weights"), group.fields.get("input_activations")
    strategy, scale_bits = weights.text("strategy"), scheme["scale_bits"]
    match strategy:
        case "tensor":
            size, scale_bits = 1, 0
        case "channel":
            size = _WHOLE_OUTPUT
        case "group":
            size = weights.integer("group_size")
        case _:
            raise weights.error("strategy", strategy, "tensor, channel or group")
    input_bits = None if inputs is None else group.inner("input_activations").integer("num_bits", (8, 16))
    bits = weights.integer("num_bits", _BITS)
    return _packed(reader, "ignore", n_layers, bits=bits, group=size, scale_bits=scale_bits, input_bits=input_bits)


def _packed(reader: _Reader, kept: str, n_layers: int, **sizes: int | None) -> PackedWeights:
    fields = {"method": reader.text("quant_method"), "kept": reader.kept(kept, n_layers), **sizes}
    return PackedWeights.model_validate(fields)


_READERS: Final = {"fp8": _blocks, "compressed-tensors": _compressed_tensors}
