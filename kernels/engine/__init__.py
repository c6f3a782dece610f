"""Programs that drive a serving engine step by step and log what it does; ``scripts/measure-engine`` runs them."""
