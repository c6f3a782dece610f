"""NeuPIMs (ASPLOS 2024): attention in the memory of NPUs, with dual row buffers."""

from papisim.paper.baselines.ratios import RATIOS

FIGURE = RATIOS
