"""What happened: segments of equal steps, requests that ended, and their totals."""
