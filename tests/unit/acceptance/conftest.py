import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from papisim.acceptance.signals import SignalOptions
from papisim.config.base import parse
from papisim.config.yaml import Document

SIGNALS = {
    "entropy": {"mean": 1.0, "variation": 1.0, "correlation": -0.3},
    "kld": {"mean": 0.2, "variation": 0.5, "correlation": -0.15},
    "min_entropy_share": {"low": 0.3, "high": 0.9},
}


@pytest.fixture
def signals() -> SignalOptions:
    return parse(SignalOptions, Document(SIGNALS, "signals"))


@pytest.fixture
def write_log(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes turns, given as fields or as text, one a line."""

    def write(*turns: dict[str, Any] | str, name: str = "log.jsonl") -> Path:
        path = tmp_path / name
        lines = [turn if isinstance(turn, str) else json.dumps(turn) for turn in turns]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    return write
