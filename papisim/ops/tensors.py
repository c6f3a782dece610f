"""The notation of kernel traces: symbolic dimensions, tensors and parameters, each read from text and written as text."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, ConfigDict, PlainSerializer, ValidationInfo, field_validator

from papisim.config.base import Spec
from papisim.errors import did_you_mean
from papisim.ops.dims import SYMBOLS, Dim, parse_dim, product, total, whole

#: torch's name of an element type → bytes of an element
ELEMENT_BYTES: Final = {
    "float64": 8, "float32": 4, "float16": 2, "bfloat16": 2, "float8_e4m3fn": 1, "float8_e5m2": 1,
    "complex64": 8, "int64": 8, "int32": 4, "int16": 2, "int8": 1, "uint8": 1, "bool": 1,
}  # fmt: skip

_TENSOR = re.compile(r"([a-z0-9_]+)\[([^\[\]]*)\]")


def _read_dim(value: object) -> Dim:
    if isinstance(value, Dim):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        dim = whole(value)
    elif isinstance(value, str):
        dim = parse_dim(value)
    else:
        raise ValueError(f"found {value!r}, expected a dimension such as 4096 or RLP*TLP")
    if dim.at(dict.fromkeys(SYMBOLS, 1)) < 0:
        raise ValueError(f"found '{dim}', which is negative; expected a dimension such as 4096 or RLP*TLP")
    return dim


def _write_dim(dim: Dim) -> int | str:
    return str(dim) if dim.symbols else dim.constant


DimField = Annotated[Dim, BeforeValidator(_read_dim), PlainSerializer(_write_dim)]


@dataclass(frozen=True, slots=True)
class Tensor:
    """An operand: element type and shape, written ``float16[RLP*TLP, 4096]``."""

    dtype: str
    shape: tuple[Dim, ...]

    @property
    def elements(self) -> Dim:
        """Number of elements."""
        return product(self.shape)

    @property
    def n_bytes(self) -> Dim:
        """Bytes of all elements."""
        return self.elements * whole(ELEMENT_BYTES[self.dtype])

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join(str(dim) for dim in self.shape)}]"


def parse_tensor(text: object) -> Tensor:
    """Read a tensor as :meth:`Tensor.__str__` writes it.

    Raises:
        ValueError: not a tensor, an unknown element type, an unknown symbol, a negative dimension.
    """
    if isinstance(text, Tensor):
        return text
    match = _TENSOR.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None:
        raise ValueError(f"found {text!r}, expected a tensor such as float16[RLP*TLP, 4096]")
    dtype, dims = match[1], match[2].strip()
    if dtype not in ELEMENT_BYTES:
        raise ValueError(f"found the element type '{dtype}'; {did_you_mean(dtype, ELEMENT_BYTES)}")
    return Tensor(dtype, tuple(_read_dim(dim.strip()) for dim in dims.split(",")) if dims else ())


TensorField = Annotated[Tensor, BeforeValidator(parse_tensor), PlainSerializer(str)]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of the model, written ``self_attn.q_proj.weight float16[4096, 4096]``."""

    name: str
    tensor: Tensor

    def __str__(self) -> str:
        return f"{self.name} {self.tensor}"


def _read_parameter(text: object) -> Parameter:
    if isinstance(text, Parameter):
        return text
    name, space, tensor = text.partition(" ") if isinstance(text, str) else ("", "", "")
    if not space:
        raise ValueError(f"found {text!r}, expected a parameter such as lm_head.weight float16[32000, 4096]")
    return Parameter(name, parse_tensor(tensor))


ParameterField = Annotated[Parameter, BeforeValidator(_read_parameter), PlainSerializer(str)]


def bytes_of(tensors: Iterable[Tensor]) -> Dim:
    """Return the bytes of all elements of all tensors."""
    return total(tensor.n_bytes for tensor in tensors)


class TraceSpec(Spec):
    """A part of a trace file; its quantities are polynomials in SI units, so none is written with a unit."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    @field_validator("*", mode="before")
    @classmethod
    def _read_quantity(cls, value: Any, info: ValidationInfo) -> Any:
        del info
        return value
