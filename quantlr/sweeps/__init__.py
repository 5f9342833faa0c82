"""Runs many settings of one config, and judges them together."""
