"""Published systems of dynamic speculation, one a file: its experiments, what it claims, and what is simulated.

A system is one module with ``reproduce(study)``; what it claims and assumes is in ``papisim/paper/published/speculation.yaml``.
"""
