"""Against published curves of tokens per step by draft length (InferenceX): met at every length, also where they fall."""

import numpy as np
import pytest

from papisim.acceptance import curve
from papisim.acceptance.fitting.curves import read_curves

pytestmark = pytest.mark.shared_data

REQUESTS, ROUNDS = 20, 2000


def test_the_golden_curves_are_met_within_a_per_cent_at_every_length(data):
    curves = read_curves(data("acceptance/golden_curves.csv"))
    assert len(curves) == 7
    assert sum(np.diff(means).min() < 0 for means in curves.values()) >= 4, "curves that fall somewhere"
    for name, means in curves.items():
        process = curve.Acceptance(curve.Options(kind="curve", tokens_per_step=means), 0)
        for length, mean in enumerate(means, start=1):
            sequences = [process.start(request) for request in range(REQUESTS)]
            found = 1 + np.mean([each.round(length).accepted for each in sequences for _ in range(ROUNDS)])
            assert found == pytest.approx(mean, rel=0.01), (name, length)
