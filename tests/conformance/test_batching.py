"""The laws of batching (:mod:`papisim.conformance.batching`) on every kind and shipped file there is."""

FAMILY = "batching"


def test_law(law, subject):
    law(subject)
