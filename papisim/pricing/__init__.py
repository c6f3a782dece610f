"""Prices of kernels, tables of kernels and whole steps, and the frames that need them."""
