"""Pages of a report: results of kind ``x`` are laid out by ``x.py``, which has one function, ``page``."""
