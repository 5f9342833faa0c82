"""Logistic regression, the descent that fits it, and the walk forward that keeps it honest."""
