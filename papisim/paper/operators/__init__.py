"""What two papers claim about where operators run: SADDLE, and REPA on PAPI."""
