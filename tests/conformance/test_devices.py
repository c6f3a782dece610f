"""The laws of devices (:mod:`papisim.conformance.device`) on every kind and shipped file there is."""

FAMILY = "device"


def test_law(law, subject):
    law(subject)
