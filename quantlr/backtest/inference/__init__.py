"""What the numbers can carry.

`skill` asks whether it knew, `reliability` whether its probabilities mean what they say, `sharpe` whether it paid;
`bootstrap` draws sessions anew for their intervals; `verdict` puts all of it into one sentence.
"""
