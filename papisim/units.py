"""Quantities with units: `3.35 TB/s` in a file becomes `3.35e12` in a field ending in `_bytes_per_s`.

The suffix of a field's name is its unit, everywhere: YAML, Python, frames. SI floats inside. Decimal and
binary prefixes are distinct (GB is 10⁹ bytes, GiB is 2³⁰ bytes), and a quantity of another dimension is
an error, never a silent conversion.
"""

from __future__ import annotations

import math
import re
from functools import cache
from typing import Final

from papisim.errors import InputError

_DECIMAL = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15}
_SMALL = {"": 1.0, "m": 1e-3, "u": 1e-6, "µ": 1e-6, "n": 1e-9, "p": 1e-12, "f": 1e-15}
_BINARY = {"Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40}


def _with(prefixes: dict[str, float], *symbols: str) -> dict[str, float]:
    return {prefix + symbol: factor for prefix, factor in prefixes.items() for symbol in symbols}


_BYTES = {**_with(_DECIMAL, "B"), **_with(_BINARY, "B"), "bytes": 1.0, "byte": 1.0}
_BITS = {symbol: factor / 8 for symbol, factor in {**_with(_DECIMAL, "b"), **_with(_BINARY, "b")}.items()}
_FLOP = _with(_DECIMAL, "FLOP")
_SECONDS = {**_with(_SMALL, "s"), "min": 60.0, "h": 3600.0}
_JOULES = {**_with(_SMALL, "J"), **_with({"k": 1e3, "M": 1e6}, "J")}


_WATTS = _with({**_DECIMAL, "m": 1e-3, "u": 1e-6, "µ": 1e-6}, "W")


def _per(units: dict[str, float], denominator: str, factor: float = 1.0) -> dict[str, float]:
    return {f"{symbol}/{denominator}": value / factor for symbol, value in units.items()}


#: suffix of a field's name → the unit symbols it accepts and their factor to SI
UNITS: dict[str, dict[str, float]] = {
    "bytes_per_s": {
        **_per(_BYTES, "s"),
        **_per(_BITS, "s"),
        **{symbol + "ps": factor for symbol, factor in _BITS.items()},
    },
    "flop_per_s": {**_per(_FLOP, "s"), **_with(_DECIMAL, "FLOPS", "FLOPs/s")},
    "j_per_byte": {**_per(_JOULES, "B"), **_per(_JOULES, "b", 1 / 8), **_per(_JOULES, "bit", 1 / 8)},
    "j_per_flop": _per(_JOULES, "FLOP"),
    "w_per_byte": {
        f"{watt}/{symbol}": factor / size for watt, factor in _WATTS.items() for symbol, size in _BYTES.items()
    },
    "tokens_per_s": {"tokens/s": 1.0, "token/s": 1.0},
    "bytes": _BYTES,
    "flop": _FLOP,
    "hz": _with(_DECIMAL, "Hz"),
    "s": _SECONDS,
    "j": _JOULES,
    "w": _WATTS,
    "mm2": {"mm2": 1.0, "mm²": 1.0},
    "ratio": {"%": 0.01},
}
_NUMBER = re.compile(r"\s*([-+]?(?:\d[\d_]*(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?)\s*(\S.*)?$", re.ASCII)
_LONGEST = 400  # characters

#: suffix → example for messages
_EXAMPLES = {
    "bytes_per_s": "3.35 TB/s", "flop_per_s": "312 TFLOP/s", "j_per_byte": "3.9 pJ/b", "j_per_flop": "0.16 pJ/FLOP", "w_per_byte": "0.25 W/GiB",
    "tokens_per_s": "100 tokens/s", "bytes": "16 GiB", "flop": "2 GFLOP", "hz": "666 MHz", "s": "45 ns", "j": "2 pJ",
    "w": "116 W", "mm2": "121 mm2", "ratio": "0.85 or 85 %",
}  # fmt: skip


@cache
def unit_of(name: str) -> str | None:
    """Return the unit suffix that a field's name ends in (`'bandwidth_bytes_per_s'` → `'bytes_per_s'`).

    The denominator of an unknown unit is no unit (`'requests_per_s'` is not in seconds).
    """
    suffixes = [unit for unit in UNITS if name == unit or name.endswith("_" + unit)]
    longest = max(suffixes, key=len, default=None)
    return None if longest is None or name.endswith(f"per_{longest}") else longest


def parse(text: str | float, unit: str) -> float:
    """Read a quantity as SI.

    Args:
        text: a number (already SI) or a number with a unit symbol, such as ``'3.35 TB/s'``.
        unit: the suffix that names the dimension, a key of :data:`UNITS`.

    Raises:
        InputError: not a number, not finite, an unknown symbol, or a symbol of another dimension.
    """
    if isinstance(text, bool) or not isinstance(text, (int, float, str)):
        raise InputError(f"found {text!r}, expected a quantity such as {_EXAMPLES[unit]}")
    if not isinstance(text, str):
        return _finite(text, unit)
    match = _NUMBER.match(text.rstrip()) if len(text) <= _LONGEST else None
    if match is None:
        raise InputError(f"found '{text}', expected a quantity such as {_EXAMPLES[unit]}")
    number, symbol = float(match[1].replace("_", "")), match[2]
    if symbol is None:
        return _finite(number, unit)
    factor = UNITS[unit].get(symbol.replace(" ", ""))
    if factor is None:
        raise InputError(f"found '{text}', {_wrong_symbol(symbol, unit)}")
    return _finite(number * factor, unit)


def _finite(value: float, unit: str) -> float:
    try:
        value = float(value)
    except OverflowError:  # a whole number beyond the range of floats
        value = math.inf
    if not math.isfinite(value):
        raise InputError(f"found {value}, expected a finite quantity such as {_EXAMPLES[unit]}")
    return value


def _wrong_symbol(symbol: str, unit: str) -> str:
    elsewhere = [other for other, symbols in UNITS.items() if symbol in symbols]
    expected = f"expected a quantity in {unit}, such as {_EXAMPLES[unit]}"
    if elsewhere:
        return f"which is a quantity in {elsewhere[0]}; {expected}"
    return f"'{symbol}' is no unit known here; {expected}"


#: text for a figure that has no value
NO_VALUE: Final = "—"

_DISPLAY = {
    "bytes": ("B", _DECIMAL), "bytes_per_s": ("B/s", _DECIMAL), "flop": ("FLOP", _DECIMAL), "flop_per_s": ("FLOP/s", _DECIMAL),
    "hz": ("Hz", _DECIMAL), "s": ("s", _SMALL), "j": ("J", {**_SMALL, "k": 1e3, "M": 1e6}),
    "w": ("W", {**_DECIMAL, "m": 1e-3, "µ": 1e-6}), "j_per_byte": ("J/B", _SMALL), "j_per_flop": ("J/FLOP", _SMALL),
    "tokens_per_s": ("tokens/s", {"": 1.0}),
    "mm2": ("mm²", {"": 1.0}), "w_per_byte": ("W/GB", {"": 1e-9, "m": 1e-12}),
}  # fmt: skip


def format(value: float | None, unit: str, digits: int = 4) -> str:
    """Return an SI value with a prefix and its unit: ``format(3.35e12, 'bytes_per_s')`` is ``'3.35 TB/s'``, a missing value :data:`NO_VALUE`."""
    if value is None:
        return NO_VALUE
    if unit == "ratio":
        return f"{100 * value:.{digits}g} %"
    symbol, prefixes = _DISPLAY[unit]
    if value == 0 or not math.isfinite(value):
        return f"{value:g} {symbol}"
    fitting = [
        (factor, prefix)
        for prefix, factor in prefixes.items()
        if prefix != "u" and factor <= abs(value) * (1 + 1e-12)
    ]
    factor, prefix = max(fitting, default=min((f, p) for p, f in prefixes.items() if p != "u"))
    return f"{value / factor:.{digits}g} {prefix}{symbol}"
