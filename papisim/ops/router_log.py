"""Logs of a router: how many tokens went to each expert of each layer."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from papisim import foreign
from papisim.errors import InputError, did_you_mean
from papisim.ops.trace import KernelTrace

_COLUMNS = ("layer", "expert", "tokens")


@dataclass(frozen=True, eq=False)
class RouterLog:
    """Tokens by layer and expert; equal to itself alone, as draws are remembered by it.

    Attributes:
        file: where it was read from, for messages.
        tokens: tokens of each expert, by layer.
    """

    file: str
    tokens: Mapping[int, Mapping[int, float]]

    def popularity(self, layer: int, n_experts: int) -> tuple[float, ...]:
        """Return the tokens of each expert of a layer; 0 where the log has none."""
        return tuple(self.tokens[layer].get(expert, 0.0) for expert in range(n_experts))

    def check(self, trace: KernelTrace) -> None:
        """Refuse a log of another model.

        Raises:
            InputError: a layer with experts that the log does not have, or an expert that the model does not have.
        """
        routed = [
            layer for block in trace.blocks if any(kernel.per_expert for kernel in block.kernels)
            for layer in block.layer_indices
        ]  # fmt: skip
        absent = sorted(set(routed) - set(self.tokens))
        if absent:
            raise InputError(
                f"has no tokens of layer {absent[0]}, expected the layers of {trace.name} with experts, {len(routed)} in all",
                file=self.file, field="layer",
            )  # fmt: skip
        largest, n_experts = max(max(experts) for experts in self.tokens.values()), trace.model.n_experts
        if largest >= n_experts:
            raise InputError(
                f"found {largest}, expected an expert of {trace.name}, 0 to {n_experts - 1}",
                file=self.file,
                field="expert",
            )


def read_router_log(path: Path) -> RouterLog:
    """Read a CSV file of counts, ``layer,expert,tokens``, or of choices, ``layer,expert`` with a line per token and expert.

    Raises:
        InputError: the file has other columns, or a value that is no count.
    """
    tokens: dict[int, dict[int, float]] = defaultdict(lambda: defaultdict(float))
    for line, row in _rows(path):
        layer, expert = (_count(row, name, path, line) for name in _COLUMNS[:2])
        tokens[layer][expert] += _count(row, "tokens", path, line) if "tokens" in row else 1
    if not any(count for experts in tokens.values() for count in experts.values()):
        raise InputError("counts no token", file=str(path))
    return RouterLog(str(path), {layer: dict(experts) for layer, experts in tokens.items()})


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    reader = csv.DictReader(foreign.read_text(path, "CSV file").splitlines())
    names = reader.fieldnames or ()
    for name in _COLUMNS[:2]:
        if name not in names:
            hint = did_you_mean(name, names)
            raise InputError(
                f"has no column '{name}', expected {', '.join(_COLUMNS)}; {hint}", file=str(path), line=1
            )
    yield from enumerate(reader, start=2)


def _count(row: Mapping[str, str], name: str, path: Path, line: int) -> int:
    text = row[name]
    if text is None or not text.strip().isdecimal():
        raise InputError(f"found {text!r}, expected a whole number", file=str(path), line=line, field=name)
    return int(text)
