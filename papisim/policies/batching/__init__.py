"""Which waiting requests join the batch; one policy, one file."""
