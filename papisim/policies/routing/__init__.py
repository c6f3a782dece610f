"""Which replica serves an arriving request; one policy, one file."""
