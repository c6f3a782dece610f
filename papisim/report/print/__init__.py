"""Figures; they need the ``[plot]`` extra."""
