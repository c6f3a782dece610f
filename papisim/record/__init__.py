"""What happened: segments of equal steps, requests that ended, and their totals. The engine writes it, results read it."""
