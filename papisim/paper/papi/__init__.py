"""The PAPI paper (ASPLOS 2025, arXiv:2502.15470), one module per figure."""
