"""α on made profiles whose crossing is known: a side that takes as long for any number of rows, and one that takes longer per row."""

import numpy as np
import pytest

from papisim import catalog
from papisim.calibration.alpha import Profile, fit, profile
from papisim.catalog import Shelf
from papisim.config.system import load_system
from papisim.ops.trace import read_trace


def crossing_at(rows, name="made", levels=10):
    """The processing units take 1 s for any rows, FC-PIM a little less than 1 s up to ``rows`` and more beyond."""
    return Profile(name, np.ones(levels), np.arange(1, levels + 1) / (rows + 0.5))


@pytest.mark.parametrize("rows", [1, 4, 9])
def test_alpha_is_the_last_level_at_which_pim_is_faster(rows):
    made = crossing_at(rows)
    found = fit([made], together=["made"])
    assert found.alpha == found.models["made"].alpha == rows
    assert found.models["made"].slowdown_ratio == found.models["made"].default_slowdown_ratio == 0


def test_a_threshold_too_low_or_too_high_costs_what_the_slower_side_takes_longer():
    """Of two levels, PIM is twice as fast at one row and half as fast at two."""
    made = Profile("made", np.array([2.0, 2.0]), np.array([1.0, 4.0]))
    assert made.slowdown() == pytest.approx([0.5, 0.0, 0.5]), (
        "α 0: level 1 twice; α 2: level 2 twice; means of two levels"
    )


def test_the_common_alpha_is_fitted_to_the_models_named_and_the_others_have_their_own():
    low, high = crossing_at(2, "low"), crossing_at(8, "high")
    found = fit([low, high], together=["high"])
    assert (found.alpha, found.models["low"].alpha, found.models["high"].alpha) == (8, 2, 8)
    assert found.models["low"].default_slowdown_ratio > found.models["low"].slowdown_ratio == 0
    assert fit([low, high], together=["neither"]).alpha == fit([low, high], together=["low", "high"]).alpha


def test_the_smallest_of_several_equal_thresholds_is_taken():
    same = Profile("same", np.ones(4), np.ones(4))
    assert fit([same], together=["same"]).alpha == 0


def test_a_fit_says_how_far_it_tried():
    found = fit([crossing_at(20)], together=["made"])
    assert found.alpha == found.max_rows == 10, "PIM is faster up to 20 rows"


def test_a_profile_is_flat_on_gpus_and_grows_on_pim():
    system = load_system("papi")
    trace = read_trace(catalog.find(Shelf.TRACE, "llama7b").path)
    found = profile(system, trace, 64)
    assert found.processing_unit_s.shape == found.pim_s.shape == (64,)
    assert found.pim_s[63] > 8 * found.pim_s[0]
    assert found.processing_unit_s[63] < 1.5 * found.processing_unit_s[0]
    assert found.pim_s[0] < found.processing_unit_s[0]
