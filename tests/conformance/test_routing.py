"""The laws of routing (:mod:`papisim.conformance.routing`) on every kind and shipped file there is."""

FAMILY = "routing"


def test_law(law, subject):
    law(subject)
