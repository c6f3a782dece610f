import math

import numpy as np
import pytest

from papisim.acceptance import geometric
from papisim.acceptance.signals import Marginal
from papisim.config.sections import load_section


def rounds(signals, drafted=4, alpha=0.7, n=4000):
    options = geometric.Options(kind="geometric", alpha=alpha, signals=signals)
    sequence = geometric.Acceptance(options, 0).start(0)
    return [sequence.round(drafted) for _ in range(n)]


def first_positions(outcomes, field):
    return np.array([[outcome.accepted > 0, getattr(outcome, field)[0]] for outcome in outcomes]).T


@pytest.mark.parametrize(("field", "mean", "correlation"), [("entropy", 1.0, -0.3), ("kld", 0.2, -0.15)])
def test_signals_have_their_mean_and_correlation_with_acceptance(signals, field, mean, correlation):
    right, signal = first_positions(rounds(signals, n=20_000), field)
    assert signal.mean() == pytest.approx(mean, rel=0.05)
    assert np.corrcoef(right, signal)[0, 1] == pytest.approx(correlation, abs=0.03)


def test_confidence_is_bounded_by_entropy_and_leans_to_acceptance(signals):
    outcomes = rounds(signals)
    right, confidence = first_positions(outcomes, "confidence")
    assert np.corrcoef(right, confidence)[0, 1] > 0.15
    for outcome in outcomes[:200]:
        for share, entropy in zip(outcome.confidence, outcome.entropy, strict=True):
            assert 0 < share <= 1
            assert -math.log(share) <= entropy * (1 + 1e-12)


def test_positions_after_the_first_wrong_one_have_signals_too(signals):
    outcome = next(outcome for outcome in rounds(signals) if outcome.accepted == 0)
    assert len(outcome.kld) == len(outcome.confidence) == len(outcome.entropy) == 4
    assert all(value > 0 for value in (*outcome.kld, *outcome.entropy))


@pytest.mark.parametrize("acceptance", [0.05, 0.5, 0.95])
@pytest.mark.parametrize("correlation", [-0.2, 0.0, 0.2])
def test_the_lean_of_a_signal_gives_its_moments_in_closed_form(acceptance, correlation):
    """Mixture of two log-normals: its mean and covariance with the indicator."""
    marginal = Marginal(mean=0.4, variation=1.2, correlation=correlation)
    scale, wrong, right = marginal.lean(acceptance)
    weights, centres = np.array([1 - acceptance, acceptance]), np.array([wrong, right])
    first = weights @ np.exp(centres + scale**2 / 2)
    second = weights @ np.exp(2 * centres + 2 * scale**2)
    covariance = acceptance * (np.exp(right + scale**2 / 2) - first)
    spread = math.sqrt(acceptance * (1 - acceptance))
    assert first == pytest.approx(0.4)
    assert covariance / spread / math.sqrt(second - first**2) == pytest.approx(correlation, abs=1e-6)


def test_without_signals_there_are_none():
    outcome = rounds(None, n=1)[0]
    assert (outcome.kld, outcome.confidence, outcome.entropy) == ((), (), ())


def test_a_file_names_its_signals_and_reports_their_sources():
    found = load_section("acceptance", "synergy")
    assert found.options.signals.entropy.correlation == -0.339
    assert any(source.origin == "dsde2025" for source in found.sources)
