"""The configuration of a run: YAML files, their validation, messages and JSON Schema."""
