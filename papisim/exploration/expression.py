"""Arithmetic over named values, as files of sweeps write it: ``2 * batch``, ``tpot_p99_s <= 50 ms``.

An expression is Python's arithmetic, comparisons and conditionals over numbers, texts, quantities with a unit and names
such as ``devices.fc_pim.count``. It is walked, never handed to Python, so it can name nothing that it is not given and
call nothing but the functions listed here.
"""

from __future__ import annotations

import ast
import math
import operator
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, TypeVar, cast

from papisim import units
from papisim.errors import InputError, did_you_mean

#: returns the value of a name; raises UnknownName where there is none
Lookup = Callable[[str], object]
Result = TypeVar("Result")

_MOST_CHARACTERS = 2000
_LARGEST_EXPONENT = 1024
_MOST_DIGITS = 300  # of a float
_DEEPEST = 100

_BINARY: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_UNARY: dict[type[ast.unaryop], Callable[[Any], object]] = {
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Not: operator.not_,
}
_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.In: lambda left, right: left in right,
    ast.NotIn: lambda left, right: left not in right,
}


def _rounded(value: float, n_digits: int = 0) -> float:
    """Round as Python does, which would raise 10 to any power of digits."""
    if abs(n_digits) > _MOST_DIGITS:
        raise ValueError(f"{n_digits} digits are beyond ±{_MOST_DIGITS}")
    return round(value, n_digits) if n_digits else round(value)


#: arithmetic functions that every expression may call
FUNCTIONS: dict[str, Callable[..., object]] = {
    "abs": abs, "ceil": math.ceil, "exp": math.exp, "floor": math.floor, "log10": math.log10, "log2": math.log2,
    "max": max, "min": min, "round": _rounded, "sqrt": math.sqrt,
}  # fmt: skip

#: unit symbol → the unit it belongs to and its factor to SI; ``%`` is Python's remainder here
_SYMBOLS = {
    symbol: (unit, factor) for unit, known in units.UNITS.items() for symbol, factor in known.items() if symbol != "%"
}
_TOKEN = re.compile(
    r"""(?P<text>'[^']*'|"[^"]*")|(?<![\w.])(?P<number>(?:\d[\d_]*(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?)\s*(?P<symbol>"""
    + "|".join(sorted(map(re.escape, _SYMBOLS), key=len, reverse=True))
    + r")(?![\w²µ])"
)


class UnknownName(Exception):
    """A name that has no value here."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(name)


class _Quantity(NamedTuple):
    """A number with a unit, such as ``50 ms``."""

    value: float
    unit: str


class Function(NamedTuple):
    """A function that an expression may call; the first argument of one ``of_device`` is a device's name."""

    call: Callable[..., object]
    of_device: bool = False


@dataclass(frozen=True)
class Expression:
    """An expression, read and checked for what it may contain; ``text`` is what its author wrote."""

    text: str

    @classmethod
    def read(cls, text: object) -> Expression:
        """Read an expression; a number is an expression, too.

        Raises:
            InputError: it is no expression, or contains what expressions may not.
        """
        if isinstance(text, bool) or not isinstance(text, (str, int, float)):
            raise InputError(f"found {text!r}, expected an expression such as 2 * batch")
        expression = cls(str(text))
        _check(expression.tree)
        return expression

    @cached_property
    def tree(self) -> ast.expr:
        """The syntax tree, quantities put in as calls of ``quantity``."""
        if len(self.text) > _MOST_CHARACTERS:
            raise InputError(f"is longer than {_MOST_CHARACTERS} characters")
        try:
            return ast.parse(_TOKEN.sub(_mark_quantity, self.text.strip()), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            raise InputError(f"found '{self.text}', which is no expression") from None

    def _value(self, compute: Callable[[ast.expr], Result]) -> Result:
        try:
            return compute(self.tree)
        except (ArithmeticError, TypeError, ValueError) as error:
            raise InputError(f"'{self.text}' has no value: {error}") from None

    def evaluate(self, lookup: Lookup, functions: Mapping[str, Function] | None = None) -> Any:
        """Return the value.

        Args:
            lookup: gives the value of each name.
            functions: may be called besides the arithmetic ones.

        Raises:
            UnknownName: a name or function has no value.
            InputError: the arithmetic fails, such as a division by zero, or a unit of another dimension.
        """
        return self._value(_Walk(lookup, functions or {}).value)

    def excess(self, lookup: Lookup, functions: Mapping[str, Function] | None = None) -> Excess:
        """Return by how much a condition is missed.

        Raises:
            UnknownName, InputError: as :meth:`evaluate` does.
        """
        return self._value(_Walk(lookup, functions or {}).excess)


class Excess(NamedTuple):
    """How far a condition is from its bound.

    Attributes:
        ratio: excess over the bound as a share of the larger of the two; positive where the condition does not hold. A
            condition that is no comparison misses by 1 or holds by 0.
        holds: whether the condition holds.
        found: what was compared with the bound, or the condition's value.
        bound: the bound, if any.
    """

    ratio: float
    holds: bool
    found: object
    bound: object = None


class _Walk:
    """Computes a tree."""

    def __init__(self, lookup: Lookup, functions: Mapping[str, Function]) -> None:
        self._lookup, self._functions = lookup, functions

    def value(self, node: ast.expr) -> object:  # noqa: PLR0911 - one for each kind of node
        """Return the value of a node; a quantity's is in SI."""
        match node:
            case ast.Constant():
                return node.value
            case ast.Name() | ast.Attribute() | ast.Subscript():
                return self._lookup(name_of(node))
            case ast.BinOp(op=ast.Pow()):
                return _finite(_power(_number(self.value(node.left)), _number(self.value(node.right))))
            case ast.BinOp():
                return _finite(
                    _BINARY[type(node.op)](_number(self.value(node.left)), _number(self.value(node.right)))
                )
            case ast.UnaryOp():
                return _UNARY[type(node.op)](self.value(node.operand))
            case ast.BoolOp():
                return self._connected(node)
            case ast.Compare():
                return all(_COMPARISONS[type(op)](*self._sides(left, right)) for left, op, right in _pairs(node))
            case ast.IfExp():
                return self.value(node.body if self.value(node.test) else node.orelse)
            case ast.Tuple() | ast.List():
                return [self.value(item) for item in node.elts]
            case ast.Call():
                return self._call(node)
        raise AssertionError(f"unchecked node {node!r}")

    def excess(self, node: ast.expr) -> Excess:
        """Return by how much a condition is missed; a conjunction is missed by its worst part."""
        match node:
            case ast.BoolOp(op=ast.And()):
                return max((self.excess(part) for part in node.values), key=lambda part: part.ratio)
            case ast.Compare(ops=[ast.LtE() | ast.Lt() | ast.GtE() | ast.Gt()]):
                left, right = self._sides(node.left, node.comparators[0])
                over = left - right if isinstance(node.ops[0], (ast.LtE, ast.Lt)) else right - left
                holds = _COMPARISONS[type(node.ops[0])](left, right)
                ratio = over / (max(abs(left), abs(right)) or 1.0)
                return Excess(ratio if holds or ratio > 0 else math.ulp(0.0), holds, left, right)
        value = self.value(node)
        return Excess(0.0 if value else 1.0, bool(value), value)

    def _connected(self, node: ast.BoolOp) -> object:
        value: object = None
        for part in node.values:
            value = self.value(part)
            if bool(value) is isinstance(node.op, ast.Or):
                break
        return value

    def _sides(self, left: ast.expr, right: ast.expr) -> tuple[Any, Any]:
        """Return both sides of a comparison; a quantity beside a name must be of the name's unit."""
        for name, quantity in ((left, right), (right, left)):
            given = _quantity_of(quantity)
            if given is None or not isinstance(name, (ast.Name, ast.Attribute, ast.Subscript)):
                continue
            unit = units.unit_of(name_of(name).rpartition(".")[2]) or units.unit_of(name_of(name).partition(".")[0])
            if unit is not None and unit != given.unit:
                raise ValueError(f"{name_of(name)} is in {unit}, the quantity beside it in {given.unit}")
        return self.value(left), self.value(right)

    def _call(self, node: ast.Call) -> object:
        name = name_of(node.func)
        if name == "quantity":
            return _quantity_of(node).value  # type: ignore[union-attr] # it is one
        if name in FUNCTIONS:
            return FUNCTIONS[name](*(self.value(item) for item in node.args))
        function = self._functions.get(name)
        if function is None:
            raise UnknownName(name)
        if function.of_device:
            return function.call(name_of(node.args[0]), *(self.value(item) for item in node.args[1:]))
        return function.call(*(self.value(item) for item in node.args))


def name_of(node: ast.expr) -> str:
    """Write a name as the tree has it: ``devices.fc_pim.count``, ``blocks[0].name``."""
    match node:
        case ast.Name():
            return node.id
        case ast.Attribute():
            return f"{name_of(node.value)}.{node.attr}"
        case ast.Subscript(slice=ast.Constant(value=int(index))):
            return f"{name_of(node.value)}[{index}]"
    raise InputError(f"found '{ast.unparse(node)}', expected a name")


def _check(tree: ast.expr) -> None:
    """Refuse what an expression may not contain."""
    if _depth(tree) > _DEEPEST:
        raise InputError(f"is nested deeper than {_DEEPEST} levels")
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=int() | float() as number) if not _is_finite(number):
                raise InputError("holds a number that is not finite")
            case ast.Constant(value=int() | float() | str()) | ast.Name() | ast.IfExp() | ast.Tuple() | ast.List():
                pass
            case ast.BoolOp() | ast.Compare() if all(type(op) in _COMPARISONS for op in getattr(node, "ops", [])):
                pass
            case ast.BinOp() if type(node.op) in _BINARY or isinstance(node.op, ast.Pow):
                pass
            case ast.UnaryOp() if type(node.op) in _UNARY:
                pass
            case ast.Attribute() | ast.Subscript():
                name_of(node)
            case ast.Call(func=ast.Name(), args=[_, *_], keywords=[]):
                pass
            case ast.operator() | ast.unaryop() | ast.boolop() | ast.cmpop() | ast.expr_context():
                pass
            case _:
                raise InputError(f"found '{ast.unparse(node)}', which an expression may not contain")


def _depth(tree: ast.expr) -> int:
    """Return the number of levels of a tree."""
    depth, level = 0, [cast(ast.AST, tree)]
    while level:
        depth, level = depth + 1, [inner for node in level for inner in ast.iter_child_nodes(node)]
    return depth


def _is_finite(number: float) -> bool:
    return abs(number) <= sys.float_info.max  # also of whole numbers that no float holds


def _finite(number: float) -> float:
    if not _is_finite(number):
        raise ValueError("a number on the way to it is not finite")
    return number


def _pairs(node: ast.Compare) -> list[tuple[ast.expr, ast.cmpop, ast.expr]]:
    return list(zip([node.left, *node.comparators], node.ops, node.comparators, strict=False))


def _number(value: object) -> float:
    if not isinstance(value, (int, float)):
        raise ValueError(f"found {value!r}, expected a number")
    return value


def _power(base: float, exponent: float) -> Any:
    if abs(exponent) > _LARGEST_EXPONENT:
        raise ValueError(f"exponent {exponent:g} is beyond ±{_LARGEST_EXPONENT}")
    return float(base) ** exponent if abs(base) > _LARGEST_EXPONENT else base**exponent


def _mark_quantity(match: re.Match[str]) -> str:
    return match[0] if match["text"] else f"quantity({match['number']}, '{match['symbol']}')"


def _quantity_of(node: ast.expr) -> _Quantity | None:
    match node:
        case ast.Call(func=ast.Name("quantity"), args=[ast.Constant(value=number), ast.Constant(value=str(symbol))]):
            if symbol not in _SYMBOLS or not isinstance(number, (int, float)):
                raise ValueError(f"'{symbol}' is no unit; {did_you_mean(symbol, _SYMBOLS)}")
            unit, factor = _SYMBOLS[symbol]
            return _Quantity(number * factor, unit)
    return None
