"""Several tickers side by side, and one ticker's part."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter

from quantlr.core.arrays import Array
from quantlr.report.style import (
    BAND_GREY,
    BLACK,
    BLUE,
    GREEN,
    GREY,
    LIGHT_GREY,
    ORANGE,
    PURPLE,
    SKY,
    SMALL_SIZE,
    VERMILION,
    add_legend_above,
    draw_message,
    format_multiple,
    percent_formatter,
    percent_text,
)
from quantlr.stats.reliability import ReliabilityBand, ReliabilityCurve

HIGHLIGHT_COLORS = (BLUE, GREEN, SKY, VERMILION, ORANGE, PURPLE)
"""Colours of the highest, then of the lowest of many lines."""


MAX_FAINT_LINE_POINTS = 300
"""Sessions that a faint line shows, more or less."""


@dataclass(frozen=True, slots=True)
class TickerValues:
    """One number by ticker, in the order of the rows, with what luck would come to.

    Attributes
    ----------
    value : (k,); NaN where undefined.
    centre, luck : (k,) what luck is about, and how far 95 % of it would reach; None where luck is not asked about.
    percents : whether the values are fractions, written in percent.
    """

    by_ticker: Array
    no_skill_center: Array | None = None
    no_skill_half_width: Array | None = None
    is_percent: bool = True


def draw_bars_by_ticker(ax: Axes, ticker_values: TickerValues) -> None:
    """Draw a bar for each ticker, first row on top, with luck's reach in grey behind it."""
    at = np.arange(len(ticker_values.by_ticker))
    _draw_no_skill_bands(ax, ticker_values)
    colours = [VERMILION if value < 0 else BLUE for value in ticker_values.by_ticker]
    ax.barh(at, np.nan_to_num(ticker_values.by_ticker), height=0.5, color=colours, linewidth=0)
    _format_ticker_rows(ax, len(at), is_percent=ticker_values.is_percent)
    ax.axvline(0, color=GREY, linewidth=0.8)


def draw_dots_by_ticker(ax: Axes, ticker_values: TickerValues) -> None:
    """Draw a dot for each ticker about its mark, with luck's reach in grey behind it."""
    at = np.arange(len(ticker_values.by_ticker))
    _draw_no_skill_bands(ax, ticker_values)
    if ticker_values.no_skill_center is not None:
        ax.plot(
            ticker_values.no_skill_center,
            at,
            color=ORANGE,
            marker="|",
            markersize=9,
            markeredgewidth=2,
            linestyle="none",
        )
    ax.plot(
        ticker_values.by_ticker, at, color=BLUE, marker="o", markersize=5 if len(at) <= 30 else 3.6, linestyle="none"
    )
    _format_ticker_rows(ax, len(at), is_percent=ticker_values.is_percent)


def _draw_no_skill_bands(ax: Axes, ticker_values: TickerValues) -> None:
    if ticker_values.no_skill_half_width is not None and ticker_values.no_skill_center is not None:
        known = np.flatnonzero(~np.isnan(ticker_values.no_skill_half_width))
        low, width = (
            (ticker_values.no_skill_center - ticker_values.no_skill_half_width)[known],
            2 * ticker_values.no_skill_half_width[known],
        )
        ax.barh(known, width, left=low, height=0.86, color=BAND_GREY, alpha=0.5, linewidth=0)


def _format_ticker_rows(ax: Axes, n_tickers: int, *, is_percent: bool) -> None:
    """Give axes a row for each ticker."""
    ax.set_ylim(n_tickers - 0.5, -0.5)
    ax.set_yticks(range(n_tickers), [])
    ax.grid(visible=False, axis="y")
    ax.grid(visible=True, axis="x", color=LIGHT_GREY, linewidth=0.8)
    ax.locator_params(axis="x", nbins=5)
    if is_percent:
        ax.xaxis.set_major_formatter(percent_formatter())


def label_ticker_rows(ax: Axes, tickers: list[str]) -> None:
    """Write the tickers' names beside the rows."""
    size = SMALL_SIZE if len(tickers) <= 30 and max(map(len, tickers)) <= 8 else 6.6
    ax.set_yticks(range(len(tickers)), [f"{ticker:.14}" for ticker in tickers], fontsize=size)


def draw_ranked_values(ax: Axes, values: Array, expected_by_rank: Array | None, *, is_percent: bool) -> None:
    """Draw values from the highest to the lowest, beside what their order would be by luck."""
    known = np.sort(values[~np.isnan(values)])[::-1]
    place = np.arange(1, len(known) + 1)
    if expected_by_rank is not None:
        ax.plot(
            np.arange(1, len(expected_by_rank) + 1),
            expected_by_rank,
            color=GREY,
            linewidth=1.4,
            linestyle="--",
            label="if all were luck",
        )
    ax.plot(place, known, color=BLUE, marker=".", markersize=3, linewidth=0.8, label="highest first")
    ax.axhline(0, color=GREY, linewidth=0.8)
    ax.set_xlim(1 - 0.02 * len(known), 1.02 * len(known))
    ax.locator_params(axis="both", nbins=6)
    add_legend_above(ax, n_columns=2)
    if is_percent:
        ax.yaxis.set_major_formatter(percent_formatter())


def draw_contribution_by_excess_accuracy(ax: Axes, excess_accuracy: Array, contribution: Array) -> None:
    """Draw what tickers added against how much better than the base rate they were called."""
    ax.plot(excess_accuracy, contribution, color=BLUE, marker="o", markersize=3.2, alpha=0.6, linestyle="none")
    ax.axhline(0, color=GREY, linewidth=0.8)
    ax.axvline(0, color=GREY, linewidth=0.8)
    ax.locator_params(axis="both", nbins=6)
    ax.xaxis.set_major_formatter(percent_formatter())
    ax.yaxis.set_major_formatter(percent_formatter())


def draw_cumulative_contributions(
    ax: Axes,
    dates: pd.DatetimeIndex,
    named_contributions: dict[str, Array],
    other_contributions: Array,
    *,
    n_columns: int,
) -> None:
    """Draw what tickers have added so far: some by name, the others in grey, with as many of their sessions as show.

    Parameters
    ----------
    lines : name to (sessions,).
    others : (sessions, tickers).
    columns : names beside one another above the axes.
    """
    if not other_contributions.any() and not any(values.any() for values in named_contributions.values()):
        draw_message(ax, "Nothing was held.")
        return
    marker = "." if len(dates) < 40 else None
    if other_contributions.shape[1]:
        some = slice(None, None, max(len(dates) // MAX_FAINT_LINE_POINTS, 1))
        ax.plot(dates[some], other_contributions[some], color=BAND_GREY, linewidth=0.6, alpha=0.7, marker=marker)
    for (name, values), colour in zip(named_contributions.items(), HIGHLIGHT_COLORS, strict=False):
        ax.plot(
            dates, values, color=colour, linewidth=1.5, marker=marker, label=f"{name:.12} {percent_text(values[-1])}"
        )
    ax.axhline(0, color=GREY, linewidth=0.8)
    ax.yaxis.set_major_formatter(percent_formatter())
    ax.locator_params(axis="y", nbins=6)
    add_legend_above(ax, n_columns=n_columns)


def draw_ticker_growth(ax: Axes, dates: pd.DatetimeIndex, net_equity: Array, gross_equity: Array) -> None:
    """Draw what a ticker's part alone made of one unit, after costs and before."""
    for values, name, colour, width in (
        (gross_equity, "before costs", SKY, 1.2),
        (net_equity, "after costs", BLUE, 1.7),
    ):
        ax.plot(dates, values, color=colour, linewidth=width, label=f"{name}: {format_multiple(values[-1])}")
    ax.axhline(1, color=GREY, linewidth=0.8)
    ax.locator_params(axis="y", nbins=5)
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    add_legend_above(ax, n_columns=2)


def draw_small_reliability(ax: Axes, curve: ReliabilityCurve, band: ReliabilityBand) -> None:
    """Draw how often ups came by what was forecast, beside where they would come if forecasts were right."""
    low, high = float(curve.probability[0]), float(curve.probability[-1])
    margin = max(0.05 * (high - low), 0.005)
    ends = [low - margin, high + margin]
    ax.fill_between(
        band.probability, band.low, band.high, color=BAND_GREY, alpha=0.45, linewidth=0, label="95% if right"
    )
    ax.plot(ends, ends, color=GREY, linewidth=1.0, linestyle="--")
    marker = "." if len(curve.observed_frequency) == 1 else None
    ax.plot(curve.probability, curve.observed_frequency, color=BLUE, linewidth=1.6, marker=marker, label="share of ups")
    ax.set_xlim(ends[0], ends[1])
    bottom, top = (
        min(float(curve.observed_frequency.min()), ends[0]),
        max(float(curve.observed_frequency.max()), ends[1]),
    )
    ax.set_ylim(max(bottom - 0.02, -0.02), min(top + 0.02, 1.02))
    ax.locator_params(axis="both", nbins=5)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(percent_formatter())
    add_legend_above(ax, n_columns=2)


def draw_coefficient_bars(ax: Axes, feature_names: list[str], weights: Array) -> None:
    """Draw a bar for each feature's weight, first on top."""
    at = np.arange(len(feature_names))
    ax.barh(at, weights, height=0.6, color=[VERMILION if weight < 0 else BLUE for weight in weights], linewidth=0)
    ax.axvline(0, color=GREY, linewidth=0.8)
    ax.set_ylim(len(feature_names) - 0.5, -0.5)
    ax.yaxis.set_major_locator(FixedLocator(at.tolist()))
    ax.yaxis.set_major_formatter(NullFormatter())
    ax.set_yticks(at, [f"{name:.24}" for name in feature_names], fontsize=7.6, color=BLACK)
    ax.grid(visible=False, axis="y")
    ax.grid(visible=True, axis="x", color=LIGHT_GREY, linewidth=0.8)
    ax.locator_params(axis="x", nbins=5)
