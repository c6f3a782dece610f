"""Measurements of serving engines: their logs, the parts of their steps, and profiles fitted to them."""
