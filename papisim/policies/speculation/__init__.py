"""How many tokens each request has in flight in an iteration (TLP); one policy, one file."""
