"""CXL-PNM (HPCA 2024): units in the controller of a CXL module."""

from papisim.paper.baselines.ratios import RATIOS

FIGURE = RATIOS
