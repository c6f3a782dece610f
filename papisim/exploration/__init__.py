"""Design-space exploration: a declared space of experiments, swept or searched, on one machine or many."""
