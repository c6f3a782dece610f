"""The laws of formats (:mod:`papisim.conformance.format`) on every kind and shipped file there is."""

FAMILY = "format"


def test_law(law, subject):
    law(subject)
