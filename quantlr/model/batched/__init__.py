"""The logistic loss and its solvers for many refits at once."""
