"""Logistic regression, the solvers that fit it, and the walk-forward in which it forecasts."""
