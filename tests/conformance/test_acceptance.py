"""The laws of acceptance (:mod:`papisim.conformance.acceptance`) on every kind and shipped file there is."""

import pytest

from papisim.acceptance.base import ACCEPTANCE
from papisim.conformance.law import example_of

FAMILY = "acceptance"


def test_law(law, subject):
    law(subject)


@pytest.mark.parametrize("kind", [name for name in ACCEPTANCE.own() if name != "always"])
def test_requests_and_seeds_differ(kind, tmp_path):
    subject = example_of(ACCEPTANCE, ACCEPTANCE.load(kind), tmp_path)
    layer = 3 if kind == "early_exit" else None

    def play(seed, request):
        sequence = subject.build(seed).start(request)
        return [sequence.round(6, layer).accepted for _ in range(40)]

    assert play(0, 0) != play(0, 1)
    assert play(0, 0) != play(1, 0)
