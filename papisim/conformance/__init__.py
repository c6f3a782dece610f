"""The laws of each family of kinds: what every kind must do, those from outside included.

``papisim check my.py:Mine`` runs them on code from outside, the tests on every kind that papisim has. The laws of a family
are in the module of its name; :mod:`papisim.conformance.law` says what a law is.
"""
