"""Who asks: requests with arrival times and lengths, drawn from one seed."""
