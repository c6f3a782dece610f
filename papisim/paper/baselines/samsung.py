"""Samsung HBM-PIM on a GPU (Hot Chips 2023): the only PIM that was measured in a server."""

from papisim.paper.baselines.ratios import RATIOS

FIGURE = RATIOS
