"""Reading request traces: from a file in some format to arrays of arrivals and lengths."""
