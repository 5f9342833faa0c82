"""The rows that a model trains on and forecasts, made of features and labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from quantlr.core.component_errors import name_component_in_errors, require_returned
from quantlr.core.errors import DataError
from quantlr.core.known_series import MAX_FEATURE_MAGNITUDE
from quantlr.core.market_views import first_session_known_to_all, market_views
from quantlr.core.timing import NOT_YET_KNOWN, iso_date, label_known_row, label_lag
from quantlr.core.values import Array, BoolArray, Dataset, FeatureColumns, Labels, Note, Prices
from quantlr.data.features import Feature


def compute_feature_columns(prices: Prices, features: Sequence[Feature]) -> FeatureColumns:
    """Return the columns of all features, in their order, each ticker's from what its market knows.

    Raises
    ------
    DataError : two features make columns of the same name, or a column does not have the shape of the prices.
    """
    columns: FeatureColumns = {}
    for view in market_views(prices):
        for name, values in _feature_columns_of_view(view.prices, features).items():
            columns[name] = values if name not in columns else np.where(view.is_own, values, columns[name])
    return columns


def _feature_columns_of_view(prices: Prices, features: Sequence[Feature]) -> FeatureColumns:
    columns: FeatureColumns = {}
    for index, feature in enumerate(features):
        key = f"features.{index}"
        try:
            with name_component_in_errors(feature, key=key):
                feature_columns = feature.compute(prices)
        except DataError as error:
            if error.key is not None:
                raise
            raise DataError(f"{feature.kind}: {error.message}", key=key) from error
        needed = "a mapping of column names to arrays"
        is_mapping = isinstance(feature_columns, Mapping)
        require_returned(feature, "compute", is_mapping, needed=needed, found=feature_columns, key=key)
        for name, values in feature_columns.items():
            if name in columns:
                raise DataError(f"a second column {name!r}; give it other parameters or remove it", key=key)
            columns[name] = _checked_column(name, values, prices, key=key)
    return columns


def _checked_column(name: str, values: Any, prices: Prices, *, key: str) -> Array:
    """Return a feature's column as float64; DataError if it has another shape than the prices, or no numbers."""
    if np.shape(values) != prices.close.shape:
        text = f"has the shape {np.shape(values)}, and needs one value per bar and ticker, {prices.close.shape}"
        raise DataError(f"the column {name!r} {text}", key=key)
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"the column {name!r} needs numbers: {error}", key=key) from error


def build_dataset(
    prices: Prices, feature_columns: FeatureColumns, labels: Labels, *, horizon: int, label_delay: int = 0
) -> Dataset:
    """Return the rows of all tickers as members of the universe, without their warm-up; notes count what is left out.

    A row's label may be unknown, as that of the newest rows; its features may not.

    Parameters
    ----------
    horizon, label_delay : as in `Dataset`.

    Raises
    ------
    DataError : a feature is NaN or infinite after its warm-up; the text names ticker, date and column.
    """
    n_bars = prices.n_bars
    bar = np.arange(len(prices.close))[:, None]
    is_bar = bar < n_bars
    first_bars = []  # (columns, tickers) the first bar with a value; the number of bars if there is none
    for name, values in feature_columns.items():
        available = ~np.isnan(values) & is_bar
        if not available.any():
            causes = "the prices lack what it is computed from, or the history is shorter than its window"
            text = f"the feature {name} has no value on any of {int(n_bars.max())} bars: {causes}"
            raise DataError(text, key="features")
        first_bars.append(np.where(available.any(axis=0), available.argmax(axis=0), n_bars))
    warm_up, slowest = np.max(first_bars, axis=0), np.argmax(first_bars, axis=0)
    is_member = is_bar if prices.member_mask is None else is_bar & prices.member_mask
    is_row = is_member & (bar >= warm_up)
    _require_finite_features(prices, feature_columns, is_row)
    names = tuple(feature_columns)
    notes = []
    n_rows, n_member_bars = is_row.sum(axis=0), is_member.sum(axis=0)
    for index, ticker in enumerate(prices.tickers):
        if n_member_bars[index] < n_bars[index]:
            text = "rows outside the ticker's membership of the universe were left out"
            count = int(n_bars[index] - n_member_bars[index])
            notes.append(Note("features", text, ticker=ticker, count=count, key="data.membership"))
        if n_rows[index] == n_member_bars[index]:
            continue
        text = "warm-up rows were dropped"
        if warm_up[index] == n_bars[index]:
            text = f"no row has all features: {names[slowest[index]]} has no value on any bar"
        notes.append(Note("features", text, ticker=ticker, count=int(n_member_bars[index] - n_rows[index])))

    # Rows are in the order of tickers, then bars.
    ticker_indices, bar_indices = np.nonzero(is_row.T)
    rows = bar_indices, ticker_indices
    # The session at whose close the label of each bar is known.
    known = np.full_like(prices.session, NOT_YET_KNOWN)
    first_known = label_known_row(0, lag=label_lag(horizon, label_delay=label_delay))
    known[: max(len(known) - first_known, 0)] = prices.session[first_known:]
    known[known < 0] = NOT_YET_KNOWN
    label_known_at = known[rows]
    features = np.empty((len(bar_indices), len(names)))
    for column_index, values in enumerate(feature_columns.values()):
        features[:, column_index] = values[rows]
    return Dataset(
        tickers=prices.tickers,
        sessions=prices.sessions,
        columns=names,
        ticker=ticker_indices.astype(np.int64),
        session=prices.session[rows],
        features=features,
        up=labels.up[rows],
        horizon_return=labels.horizon_return[rows],
        label_known_at=label_known_at,
        label_known_to_all_at=first_session_known_to_all(prices, label_known_at, ticker_indices),
        horizon=horizon,
        notes=tuple(notes),
        label_delay=label_delay,
    )


def _require_finite_features(prices: Prices, columns: FeatureColumns, row_mask: BoolArray) -> None:
    """Raise the error for the first row of the first ticker in which a feature is NaN, infinite or far too large."""
    for name, values in columns.items():
        invalid = ~(np.abs(values) <= MAX_FEATURE_MAGNITUDE) & row_mask
        if invalid.any():
            ticker_index, bar = (int(index[0]) for index in np.nonzero(invalid.T))
            date = iso_date(prices.sessions[prices.session[bar, ticker_index]])
            value = f"{values[bar, ticker_index]} ({int(invalid[:, ticker_index].sum())} such rows)"
            text = f"{prices.tickers[ticker_index]} {date}: the feature {name} is {value}"
            raise DataError(f"{text}; correct the prices there or leave the feature out", key="features")
