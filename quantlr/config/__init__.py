"""Configs of runs: reading YAML, validation, error messages and JSON Schema."""
