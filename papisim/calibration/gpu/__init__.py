"""Fit the GPU model to measured tables and write its device part."""
