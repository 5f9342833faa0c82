"""Type aliases of NumPy arrays."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
FeatureColumns = dict[str, Array]
"""Feature values by column name, each (bars, tickers)."""
