"""The PAPI paper (ASPLOS 2025, arXiv:2502.15470), one module a figure.

A module has ``cells``, the experiments that it needs; ``values``, what they make of each published number; ``table``, the
figure's data; and ``CHART``, how that is drawn. ``values`` works for one reading of the paper and for arrays over many.
"""
