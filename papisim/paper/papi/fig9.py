"""Figure 9: as Figure 8, for GPT-3 175B and general_qa."""

from papisim.paper.papi.fig8 import CHART, cells, table, values

__all__ = ["CHART", "cells", "table", "values"]
