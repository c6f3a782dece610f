"""The formats of public request traces; one format, one file."""
