"""Configuration: YAML files become frozen, validated values with a source for every number."""
