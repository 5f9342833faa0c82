"""Statistical tests and intervals for forecasts and returns."""
