"""Published systems of dynamic speculation, one module per system, and the figure that compares their policies on PAPI."""
