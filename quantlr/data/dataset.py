"""Features and labels put together into the rows that a model trains on and forecasts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from quantlr.core.arrays import Array, FeatureColumns, IntArray
from quantlr.core.errors import DataError
from quantlr.core.progress import Note, iso_date
from quantlr.core.timing import NOT_YET_KNOWN, label_known_row
from quantlr.core.values import Dataset, Labels, Prices
from quantlr.data.features import Feature


def compute_feature_columns(prices: Prices, features: Sequence[Feature]) -> FeatureColumns:
    """Return the columns of all features, in their order.

    Raises
    ------
    DataError : two features make a column of the same name, or one of another shape than prices have.
    """
    columns: FeatureColumns = {}
    for at, feature in enumerate(features):
        for name, values in _compute_feature(feature, prices, config_key=f"features.{at}").items():
            if name in columns:
                raise DataError(
                    f"a second column {name!r}; give it other parameters or remove it", key=f"features.{at}"
                )
            if np.shape(values) != prices.close.shape:
                raise DataError(
                    f"the column {name!r} has the shape {np.shape(values)}, and needs one value per bar and ticker, "
                    f"{prices.close.shape}",
                    key=f"features.{at}",
                )
            columns[name] = values
    return columns


def _compute_feature(feature: Feature, prices: Prices, *, config_key: str) -> FeatureColumns:
    """Return a feature's columns; an error of its own is given the place of the feature."""
    try:
        return feature.compute(prices)
    except DataError as error:
        if error.key is not None:
            raise
        raise DataError(f"{feature.kind}: {error.message}", key=config_key) from error


def build_dataset(prices: Prices, feature_columns: FeatureColumns, labels: Labels, *, horizon: int) -> Dataset:
    """Return the rows of all tickers, their warm-up dropped and counted.

    A row's label may be unknown, as the newest ones are; its features may not.

    Raises
    ------
    DataError : a feature is NaN or infinite after its warm-up; the text names ticker, date and column.
    """
    names = tuple(feature_columns)
    for name, values in feature_columns.items():
        if np.isnan(values).all():
            raise DataError(
                f"the feature {name} has no value on any of {int(prices.n_bars.max())} bars: the prices lack what it is "
                "made of, or the history is shorter than its window",
                key="features",
            )
    parts: list[tuple[int, int, int]] = []
    notes: list[Note] = []
    for ticker, bars in enumerate(prices.n_bars):
        warm_up, slowest = _warm_up_length_and_slowest_column(feature_columns, ticker, int(bars))
        if warm_up == bars:
            text = f"no row has all features: {slowest} has no value on any bar"
            notes.append(Note("features", text, ticker=prices.tickers[ticker], count=warm_up))
        elif warm_up:
            text = "warm-up rows were dropped"
            notes.append(Note("features", text, ticker=prices.tickers[ticker], count=warm_up))
        _require_finite_features(prices, feature_columns, ticker, warm_up, int(bars))
        parts.append((ticker, warm_up, int(bars)))
    counts = [last - first for _, first, last in parts]
    features = np.empty((sum(counts), len(names)))
    for at, values in enumerate(feature_columns.values()):
        features[:, at] = _concatenate_ticker_rows(values, parts)
    return Dataset(
        tickers=prices.tickers,
        sessions=prices.sessions,
        columns=names,
        ticker=np.repeat(np.arange(len(parts), dtype=np.int64), counts),
        session=np.concatenate([prices.session[first:last, ticker] for ticker, first, last in parts]),
        features=features,
        up=_concatenate_ticker_rows(labels.up, parts),
        horizon_return=_concatenate_ticker_rows(labels.horizon_return, parts),
        label_known_at=np.concatenate([_label_known_sessions(prices, *part, horizon=horizon) for part in parts]),
        horizon=horizon,
        notes=tuple(notes),
    )


def _concatenate_ticker_rows(values: Array, row_ranges: list[tuple[int, int, int]]) -> Array:
    return np.concatenate([values[first:last, ticker] for ticker, first, last in row_ranges])


def _label_known_sessions(
    prices: Prices, ticker_index: int, first_bar: int, stop_bar: int, *, horizon: int
) -> IntArray:
    """Return the session at whose close the label of each bar from `first` on is known."""
    known = np.full(stop_bar - first_bar, NOT_YET_KNOWN, dtype=np.int64)
    sessions = prices.session[label_known_row(first_bar, horizon=horizon) : stop_bar, ticker_index]
    known[: len(sessions)] = sessions
    return known


def _warm_up_length_and_slowest_column(columns: FeatureColumns, ticker_index: int, n_bars: int) -> tuple[int, str]:
    """Return how many of a ticker's first bars lack a feature, and the column that begins last."""
    first, slowest = 0, ""
    for name, values in columns.items():
        there = ~np.isnan(values[:n_bars, ticker_index])
        begins = int(there.argmax()) if there.any() else n_bars
        if begins > first:
            first, slowest = begins, name
    return first, slowest


def _require_finite_features(
    prices: Prices, columns: FeatureColumns, ticker_index: int, first_bar: int, n_bars: int
) -> None:
    for name, values in columns.items():
        bad = ~np.isfinite(values[first_bar:n_bars, ticker_index])
        if bad.any():
            at = first_bar + int(bad.argmax())
            raise DataError(
                f"{prices.tickers[ticker_index]} {iso_date(prices.sessions[prices.session[at, ticker_index]])}: the feature {name} is "
                f"{values[at, ticker_index]} ({int(bad.sum())} such rows); mend the prices there or leave the feature out",
                key="features",
            )
