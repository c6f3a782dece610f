"""How far predictions are from measurements and published figures."""
