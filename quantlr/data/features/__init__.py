"""Features, the inputs of the model: one class per feature; `FEATURES` is the catalogue.

A feature's `compute` takes `Prices` and returns columns of the same shape, (bars, tickers). Row t may use row t and
earlier ones only, and is NaN until there are enough of them. Each file below ends with a tuple of its features; a new
feature is added there.

A bar without a price change is a valid bar: returns and ranges are 0, a ratio whose denominator is 0 has the value that
the feature's `compute` states, and no value is infinite. A value missing within a ticker's history stays NaN, and is
refused with its date when the dataset is built.
"""

from quantlr.data.features.base import Feature
from quantlr.data.features.returns import LaggedReturns, Momentum
from quantlr.data.features.transforms import FEATURES, AnyFeature
from quantlr.data.features.volatility import Volatility
from quantlr.data.features.volumes import Volume

__all__ = ["FEATURES", "AnyFeature", "Feature", "LaggedReturns", "Momentum", "Volatility", "Volume"]
