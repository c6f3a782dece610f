"""The laws of placement (:mod:`papisim.conformance.placement`) on every kind and shipped file there is."""

FAMILY = "placement"


def test_law(law, subject):
    law(subject)
