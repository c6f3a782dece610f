"""Fit what a machine needs to know of itself: α, speculation tables, the GPU model."""
