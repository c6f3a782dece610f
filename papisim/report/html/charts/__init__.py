"""Charts of a report: each takes frames and returns what to draw, what it says in words, and the numbers behind it."""
