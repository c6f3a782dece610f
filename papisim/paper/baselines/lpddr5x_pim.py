"""Samsung LPDDR5X-PIM (Hot Chips 2026): units in the memory of a mobile processor."""

from papisim.paper.baselines.ratios import RATIOS

FIGURE = RATIOS
