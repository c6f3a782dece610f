"""Results as text on the console."""
