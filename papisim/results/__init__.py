"""What a run's ledger says: tidy frames, metrics, and files."""
