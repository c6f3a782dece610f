"""Results as pages in Markdown, which the documentation takes up."""
