"""The memory and time that a run needs, estimated from its sizes before any feature is computed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from quantlr.config.run_config import RunConfig
from quantlr.core.errors import UserError
from quantlr.core.memory import usable_memory_bytes
from quantlr.core.values import Prices
from quantlr.data.features import Feature
from quantlr.model.batched.fit import MAX_REFITS_PER_CHUNK, TRAINING_PAIRS_PER_CHUNK
from quantlr.model.batched.rows import BLOCK_ROWS
from quantlr.model.config import LogisticRegression
from quantlr.model.walk_forward import MAX_MODELS_PER_BATCH, SECONDS_PER_REFIT, SECONDS_PER_TRAINING_PAIR
from quantlr.pipeline.selection import distinct_features

FLOAT_BYTES = 8
HESSIAN_COPIES = 3.5
"""Arrays of the size of a batch's Hessians at the peak: with 100 to 400 features, 3.4 to 4.3 were measured."""
COLUMNS_PER_MEASURED_PAIR = 7
"""Weights of the model with which `SECONDS_PER_TRAINING_PAIR` was measured."""
SECONDS_PER_CUBED_WEIGHT = 1.5e-9
"""Seconds per refit and cubed number of weights, to invert Hessians; measured: 0.8e-9 with 200, 4.5e-9 with 1,600."""
MAX_RUN_SECONDS = 24 * 3600.0
"""Estimated time of the fits from which a run is refused."""


@dataclass(frozen=True, slots=True)
class ResourceEstimate:
    """The memory and time that a run needs, of the right order of magnitude.

    Attributes
    ----------
    columns : number of columns that the features make, as far as their parameters say.
    bars : number of bars, over all tickers.
    memory_bytes : at the peak, of the process that fits, beyond what the program and the prices take.
    seconds : of the fits, on one core.
    """

    columns: int
    bars: int
    memory_bytes: int
    seconds: float


def estimate_resources(config: RunConfig, prices: Prices) -> ResourceEstimate:
    """Return the memory and time that the features and the fits of a run need.

    Memory: every column as computed, as a column of the rows, and in the solver's units; and the Hessians of a batch
    of refits. Time: of passes over the training rows, and of inverting Hessians. Models of other kinds than logistic
    regression count with their features only. Of candidates, the columns of all are in memory together with the log
    odds of each, and one is fitted at a time.
    """
    candidates = config.candidates()
    features = distinct_features(candidates) or config.features
    n_bars, columns = prices.n_bars.astype(np.float64), sum(map(_column_count, features))
    memory = columns * FLOAT_BYTES * (prices.close.size + 2 * n_bars.sum())
    memory += len(candidates) * FLOAT_BYTES * n_bars.sum()
    fits = [_estimate_fits(one, prices) for one in ([candidate.config for candidate in candidates] or [config])]
    memory += max(fit_memory for fit_memory, _ in fits)
    return ResourceEstimate(columns, int(n_bars.sum()), int(memory), sum(seconds for _, seconds in fits))


def _estimate_fits(config: RunConfig, prices: Prices) -> tuple[float, float]:
    """Return bytes and seconds of the fits of one walk-forward."""
    n_bars, columns = prices.n_bars.astype(np.float64), sum(map(_column_count, config.features))
    memory = seconds = 0.0
    if isinstance(config.model, LogisticRegression):
        is_pooled, spec = config.model.scope == "pooled", config.walk_forward
        train, step = spec.fold_sizes(config.report.sessions_in_year(prices))
        rows = n_bars.max(keepdims=True) if is_pooled else n_bars
        rows_per_session = n_bars.sum() / rows.max() if is_pooled else 1.0
        refit_every = np.full(len(rows), float(step)) if step else rows
        refits = np.where(rows > train, np.ceil((rows - train) / np.maximum(refit_every, 1.0)), 0.0)
        window = np.minimum(train, rows) if spec.window == "rolling" else (train + rows) / 2
        pairs = refits * window * rows_per_session
        per_pair = SECONDS_PER_TRAINING_PAIR * max(columns / COLUMNS_PER_MEASURED_PAIR, 1.0)
        per_refit = SECONDS_PER_REFIT + SECONDS_PER_CUBED_WEIGHT * float(columns) ** 3
        seconds = float((pairs * per_pair + refits * per_refit).sum())
        # The refits of a batch share half of their rows at least.
        batch = np.minimum(refits, np.ceil(window / np.maximum(refit_every, 1.0)))
        batch = np.minimum(batch, np.maximum(TRAINING_PAIRS_PER_CHUNK // np.clip(window, 1.0, BLOCK_ROWS), 1.0))
        batch = np.sort(np.minimum(batch, MAX_REFITS_PER_CHUNK))[-MAX_MODELS_PER_BATCH:]
        memory = HESSIAN_COPIES * FLOAT_BYTES * float(batch.sum()) * (columns + 1.0) ** 2
    return memory, seconds


def _column_count(feature: Feature) -> int:
    """Return the number of columns of a feature: the length of its longest list, times those of inner features."""
    values = [getattr(feature, name) for name in type(feature).model_fields]
    lists = [value if isinstance(value, tuple) else (value,) for value in values]
    inner = [item for items in lists for item in items if isinstance(item, Feature)]
    return max(len(items) for items in lists if inner != list(items)) * math.prod(map(_column_count, inner))


def require_resources(config: RunConfig, prices: Prices) -> ResourceEstimate:
    """Return the estimate of `estimate_resources`, of a run for which there is enough memory and time.

    Raises
    ------
    UserError : it needs more memory than `core.memory.usable_memory_bytes`, or more time than `MAX_RUN_SECONDS`.
    """
    estimate, usable = estimate_resources(config, prices), usable_memory_bytes()
    sizes = f"{estimate.columns:,} columns of features over {estimate.bars:,} bars"
    changes = "use fewer features or lags, fewer tickers, or a shorter history (data.start)"
    if usable is not None and estimate.memory_bytes > usable:
        text = (
            f"{sizes} need about {memory_text(estimate.memory_bytes)} of memory, and {memory_text(usable)} may be used"
        )
        raise UserError(f"{text}; {changes}", key="features")
    if estimate.seconds > MAX_RUN_SECONDS:
        limit, hours = MAX_RUN_SECONDS / 3600, estimate.seconds / 3600
        text = f"the fits with {sizes} need about {hours:,.0f} hours, and {limit:.0f} are allowed"
        raise UserError(f"{text}; {changes}, or raise walk_forward.refit_every", key="features")
    return estimate


def resources_text(estimate: ResourceEstimate) -> str:
    """Return the memory and time of an estimate, rounded to what it is good for."""
    seconds = estimate.seconds
    time = f"{seconds:,.0f} s" if seconds < 100 else f"{seconds / 60:,.0f} min" if seconds < 6000 else ""
    time = time or f"{seconds / 3600:,.0f} h"
    return f"roughly {memory_text(estimate.memory_bytes)} of memory beside the program, and {time} for the fits"


def memory_text(n_bytes: int) -> str:
    """Return a size of memory in GB, or MB where it is small."""
    return f"{n_bytes / 1e9:,.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:,.0f} MB"
