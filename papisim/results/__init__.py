"""Results of finished runs: figures, tidy frames, comparisons and folders, all read from the ledger."""
