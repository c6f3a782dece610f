"""CENT (ASPLOS 2025): CXL devices of GDDR6-AiM without GPUs, in a pipeline of blocks."""

from papisim.paper.baselines.ratios import RATIOS

FIGURE = RATIOS
