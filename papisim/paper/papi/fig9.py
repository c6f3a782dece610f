"""Figure 9: as Figure 8, for GPT-3 175B and general_qa."""

from papisim.paper.papi.fig8 import FIGURE

__all__ = ["FIGURE"]
