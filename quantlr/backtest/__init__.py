"""From probabilities to money: policies, costs, the engine, and what the result can be said to show."""
