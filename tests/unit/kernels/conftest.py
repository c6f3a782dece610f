import pytest

pytest.importorskip("torch", reason="the kernels are torch programs: pip install 'papisim[capture]'")

import torch

from kernels.harness import SMOKE, Bench


@pytest.fixture
def bench() -> Bench:
    return Bench(torch.device("cpu"), SMOKE)
