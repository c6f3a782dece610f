import pytest

from papisim.config.sections import load_section
from papisim.policies.speculation.base import SPECULATION, Draft, Proposal, Round, SpeculationView


@pytest.fixture(scope="session")
def preset():
    """Return a function that reads a shipped preset's options, with some fields replaced."""
    return lambda name, **fields: load_section("speculation", name, fields=fields).options


@pytest.fixture(scope="session")
def policy(preset):
    """Return a function that builds the policy of a shipped preset."""

    def build(name, **fields):
        return SPECULATION.build(preset(name, **fields))

    return build


@pytest.fixture(scope="session")
def view():
    """Return a function that makes a view of some requests; looking at prices fails unless they are given."""

    def unpriced(drafts):
        raise AssertionError("this policy asks no cost model")

    def make(*requests, price_s=unpriced, iteration=0, n_layers=0, context=512):
        return SpeculationView(iteration, requests, price_s, n_layers, cached=(context,) * len(requests))

    return make


@pytest.fixture(scope="session")
def seen():
    """Return a function that makes a round of a chain."""

    def make(accepted, length, request_id=0, **signals):
        return Round(request_id, Draft(length), accepted, **signals)

    return make


@pytest.fixture(scope="session")
def confident():
    """Return a function that makes a proposal with these confidences and no entropy."""
    return lambda *confidence: Proposal(confidence, (0.0,) * len(confidence))
