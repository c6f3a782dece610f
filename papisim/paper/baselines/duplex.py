"""Duplex (MICRO 2024): units on the logic die, for experts and grouped queries."""

from papisim.paper.baselines.ratios import RATIOS

FIGURE = RATIOS
