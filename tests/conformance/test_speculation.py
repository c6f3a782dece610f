"""The laws of speculation (:mod:`papisim.conformance.speculation`) on every kind and shipped file there is."""

FAMILY = "speculation"


def test_law(law, subject):
    law(subject)
