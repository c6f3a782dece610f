"""TokenStack (arXiv 2605.05639): HBM4 with plain layers, computing layers and a base die."""

from papisim.paper.baselines.ratios import RATIOS

FIGURE = RATIOS
