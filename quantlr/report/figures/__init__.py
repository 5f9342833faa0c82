"""Pictures: each function draws given values on given axes, computes no statistic, and returns nothing."""
