"""What the literature claims, and what the simulator says to it."""
