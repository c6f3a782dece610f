"""Where a kernel runs, who joins the batch, how many tokens are in flight: pure decisions from read-only views."""
