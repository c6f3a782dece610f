"""The laws of links (:mod:`papisim.conformance.link`) on every kind and shipped file there is."""

FAMILY = "link"


def test_law(law, subject):
    law(subject)
