"""AttAcc (ASPLOS 2024): attention in stacks of their own beside GPUs."""

from papisim.paper.baselines.ratios import RATIOS

FIGURE = RATIOS
