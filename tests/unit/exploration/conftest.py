from collections.abc import Callable
from pathlib import Path

import pytest

from papisim.exploration.file import SweepFile, load_sweep

#: a run of a few steps, so that a test can afford many
BASE = """\
schema: papisim/sweep/1
description: a test
base:
  hw: papi
  trace: llama7b
  batch: 2
  set: {workload.lengths: {kind: fixed, input_tokens: 16, output_tokens: 4}}
"""


@pytest.fixture
def declare(tmp_path: Path) -> Callable[[str], SweepFile]:
    """Return a function that reads the file of a sweep that ends as given."""

    def read(rest: str, base: str = BASE) -> SweepFile:
        path = tmp_path / "space.yaml"
        path.write_text(base + rest)
        return load_sweep(path)

    return read
