"""Kernel traces from real runs: a transformers decoder, one decode iteration, torch's dispatcher.

The only package that imports torch and transformers. It records on meta tensors, so that no weight is ever allocated,
classes and fuses what was recorded, lifts the shapes to symbols, verifies the result at further points, and writes it.
"""
