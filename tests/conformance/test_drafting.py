"""The laws of drafting (:mod:`papisim.conformance.drafting`) on every kind and shipped file there is."""

FAMILY = "drafting"


def test_law(law, subject):
    law(subject)
