"""Who drafts, and what drafting costs on the machine; one source, one file."""
