"""Read published curves of tokens per step by draft length, and write them as files of kind ``curve``.

Two forms: InferenceX's (``golden_al_distribution``: model, mode, then mean by ``num_speculative_tokens``) and a table with the columns
``draft_tokens`` and ``tokens_per_step``, whose other columns name the curve.
"""

from __future__ import annotations

import csv
import io
import json
from collections import defaultdict
from pathlib import Path

from papisim import foreign
from papisim.acceptance.curve import Options
from papisim.config.yaml import parse_yaml
from papisim.errors import InputError

_LENGTH, _MEAN = "draft_tokens", "tokens_per_step"

#: mean tokens per step by draft length, by the curve's name
Curves = dict[str, dict[int, float]]


def read_curves(path: Path) -> dict[str, list[float]]:
    """Return the means of drafts of 1, 2, 3, … tokens of each curve of a file, by the curve's name.

    Raises:
        InputError, InputErrors: no such file, neither form, a curve with gaps, or means that no draft can have.
    """
    text = foreign.read_text(path, "file of curves")
    header = text.partition("\n")[0].split(",")
    curves = _of_table(text, path) if {_LENGTH, _MEAN} <= {name.strip() for name in header} else _of_yaml(text, path)
    if not curves:
        raise InputError("has no curve", file=str(path))
    return {name: _complete(name, curve, path) for name, curve in curves.items()}


def _of_table(text: str, path: Path) -> Curves:
    curves: Curves = defaultdict(dict)
    for number, row in enumerate(csv.DictReader(io.StringIO(text)), start=2):
        name = (
            ".".join(str(value) for field, value in row.items() if field not in (_LENGTH, _MEAN) and value)
            or path.stem
        )
        curves[name].update([_point(row[_LENGTH], row[_MEAN], path, number)])
    return curves


def _of_yaml(text: str, path: Path) -> Curves:
    data = parse_yaml(text, str(path)).data
    curves: Curves = {}
    for model, modes in data.items() if isinstance(data, dict) else ():
        for mode, points in modes.items() if isinstance(modes, dict) else ():
            if isinstance(points, dict):
                curves[f"{model}.{mode}"] = dict(_point(length, mean, path) for length, mean in points.items())
    return curves


def _point(length: object, mean: object, path: Path, line: int | None = None) -> tuple[int, float]:
    try:
        return foreign.whole(str(length), 1), foreign.number(mean, 1)
    except ValueError as error:
        message = f"found {foreign.found(mean)} tokens per step of drafts of {foreign.found(length)}, {error}"
        raise InputError(message, file=str(path), line=line) from None


def _complete(name: str, curve: dict[int, float], path: Path) -> list[float]:
    lengths = sorted(curve)
    if lengths != list(range(1, len(lengths) + 1)):
        raise InputError(f"curve {name} has draft lengths {lengths}, expected all from 1 on", file=str(path))
    means = [curve[length] for length in lengths]
    for length, mean in zip(lengths, means, strict=True):
        if mean > length + 1:
            raise InputError(f"curve {name}: found {mean} tokens per step of drafts of {length}", file=str(path))
    return means


def as_yaml(name: str, means: list[float], source: str) -> str:
    """Return the text of a file of kind ``curve``.

    Args:
        name: of the curve.
        means: tokens per step of drafts of 1, 2, 3, … tokens.
        source: the file that it is from.
    """
    Options(kind="curve", tokens_per_step=means)
    data = f"{source}, curve {name}: drafts of 1 to {len(means)} tokens measured"
    return "\n".join(
        [
            "schema: papisim/acceptance/1",
            "kind: curve",
            f"description: {json.dumps(f'{name}, tokens per step by draft length', ensure_ascii=False)}",
            f"tokens_per_step: {json.dumps(means)}",
            f"sources: {{tokens_per_step: {{measured: {json.dumps(data, ensure_ascii=False)}}}}}",
            "",
        ]
    )
