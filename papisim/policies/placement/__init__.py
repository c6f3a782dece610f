"""On which device each FC kernel runs; one policy, one file."""
