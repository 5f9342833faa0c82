"""Several tickers side by side, and one ticker's part."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter

from quantlr.backtest.inference.reliability import Band, ReliabilityCurve
from quantlr.report.figures.style import (
    BAND,
    BLUE,
    FAINT,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PURPLE,
    SKY,
    SMALL,
    VERMILION,
    in_percent,
    in_words,
    legend_above,
    multiple,
    percent,
)
from quantlr.types import Array

EXTREME = (BLUE, GREEN, SKY, VERMILION, ORANGE, PURPLE)
"""Colours of the highest, then of the lowest of many lines."""


FINE = 300
"""Sessions that a faint line shows, more or less."""


@dataclass(frozen=True, slots=True)
class Bars:
    """One number by ticker, in the order of the rows, with what luck would come to.

    Attributes
    ----------
    value : (k,); NaN where undefined.
    centre, luck : (k,) what luck is about, and how far 95 % of it would reach; None where luck is not asked about.
    percents : whether the values are fractions, written in percent.
    """

    value: Array
    centre: Array | None = None
    luck: Array | None = None
    percents: bool = True


def bars_by_ticker(ax: Axes, bars: Bars) -> None:
    """Draw a bar for each ticker, first row on top, with luck's reach in grey behind it."""
    at = np.arange(len(bars.value))
    _reach_of_luck(ax, bars)
    colours = [VERMILION if value < 0 else BLUE for value in bars.value]
    ax.barh(at, np.nan_to_num(bars.value), height=0.5, color=colours, linewidth=0)
    _rows(ax, len(at), percents=bars.percents)
    ax.axvline(0, color=GREY, linewidth=0.8)


def dots_by_ticker(ax: Axes, bars: Bars) -> None:
    """Draw a dot for each ticker about its mark, with luck's reach in grey behind it."""
    at = np.arange(len(bars.value))
    _reach_of_luck(ax, bars)
    if bars.centre is not None:
        ax.plot(bars.centre, at, color=ORANGE, marker="|", markersize=9, markeredgewidth=2, linestyle="none")
    ax.plot(bars.value, at, color=BLUE, marker="o", markersize=5 if len(at) <= 30 else 3.6, linestyle="none")
    _rows(ax, len(at), percents=bars.percents)


def _reach_of_luck(ax: Axes, bars: Bars) -> None:
    if bars.luck is not None and bars.centre is not None:
        known = np.flatnonzero(~np.isnan(bars.luck))
        low, width = (bars.centre - bars.luck)[known], 2 * bars.luck[known]
        ax.barh(known, width, left=low, height=0.86, color=BAND, alpha=0.5, linewidth=0)


def _rows(ax: Axes, count: int, *, percents: bool) -> None:
    """Give axes a row for each ticker."""
    ax.set_ylim(count - 0.5, -0.5)
    ax.set_yticks(range(count), [])
    ax.grid(visible=False, axis="y")
    ax.grid(visible=True, axis="x", color=FAINT, linewidth=0.8)
    ax.locator_params(axis="x", nbins=5)
    if percents:
        ax.xaxis.set_major_formatter(in_percent())


def named_rows(ax: Axes, tickers: list[str]) -> None:
    """Write the tickers' names beside the rows."""
    size = SMALL if len(tickers) <= 30 and max(map(len, tickers)) <= 8 else 6.6
    ax.set_yticks(range(len(tickers)), [f"{ticker:.14}" for ticker in tickers], fontsize=size)


def ranked(ax: Axes, values: Array, luck: Array | None, *, percents: bool) -> None:
    """Draw values from the highest to the lowest, beside what their order would be by luck."""
    known = np.sort(values[~np.isnan(values)])[::-1]
    place = np.arange(1, len(known) + 1)
    if luck is not None:
        ax.plot(np.arange(1, len(luck) + 1), luck, color=GREY, linewidth=1.4, linestyle="--", label="if all were luck")
    ax.plot(place, known, color=BLUE, marker=".", markersize=3, linewidth=0.8, label="highest first")
    ax.axhline(0, color=GREY, linewidth=0.8)
    ax.set_xlim(1 - 0.02 * len(known), 1.02 * len(known))
    ax.locator_params(axis="both", nbins=6)
    legend_above(ax, columns=2)
    if percents:
        ax.yaxis.set_major_formatter(in_percent())


def beside(ax: Axes, edge: Array, contribution: Array) -> None:
    """Draw what tickers added against how much better than the base rate they were called."""
    ax.plot(edge, contribution, color=BLUE, marker="o", markersize=3.2, alpha=0.6, linestyle="none")
    ax.axhline(0, color=GREY, linewidth=0.8)
    ax.axvline(0, color=GREY, linewidth=0.8)
    ax.locator_params(axis="both", nbins=6)
    ax.xaxis.set_major_formatter(in_percent())
    ax.yaxis.set_major_formatter(in_percent())


def added_lines(ax: Axes, dates: pd.DatetimeIndex, lines: dict[str, Array], others: Array, *, columns: int) -> None:
    """Draw what tickers have added so far: some by name, the others in grey, with as many of their sessions as show.

    Parameters
    ----------
    lines : name to (sessions,).
    others : (sessions, tickers).
    columns : names beside one another above the axes.
    """
    if not others.any() and not any(values.any() for values in lines.values()):
        in_words(ax, "Nothing was held.")
        return
    marker = "." if len(dates) < 40 else None
    if others.shape[1]:
        some = slice(None, None, max(len(dates) // FINE, 1))
        ax.plot(dates[some], others[some], color=BAND, linewidth=0.6, alpha=0.7, marker=marker)
    for (name, values), colour in zip(lines.items(), EXTREME, strict=False):
        ax.plot(dates, values, color=colour, linewidth=1.5, marker=marker, label=f"{name:.12} {percent(values[-1])}")
    ax.axhline(0, color=GREY, linewidth=0.8)
    ax.yaxis.set_major_formatter(in_percent())
    ax.locator_params(axis="y", nbins=6)
    legend_above(ax, columns=columns)


def part_growth(ax: Axes, dates: pd.DatetimeIndex, net: Array, gross: Array) -> None:
    """Draw what a ticker's part alone made of one unit, after costs and before."""
    for values, name, colour, width in ((gross, "before costs", SKY, 1.2), (net, "after costs", BLUE, 1.7)):
        ax.plot(dates, values, color=colour, linewidth=width, label=f"{name}: {multiple(values[-1])}")
    ax.axhline(1, color=GREY, linewidth=0.8)
    ax.locator_params(axis="y", nbins=5)
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    legend_above(ax, columns=2)


def small_reliability(ax: Axes, curve: ReliabilityCurve, band: Band) -> None:
    """Draw how often ups came by what was forecast, beside where they would come if forecasts were right."""
    low, high = float(curve.probability[0]), float(curve.probability[-1])
    margin = max(0.05 * (high - low), 0.005)
    ends = [low - margin, high + margin]
    ax.fill_between(band.probability, band.low, band.high, color=BAND, alpha=0.45, linewidth=0, label="95% if right")
    ax.plot(ends, ends, color=GREY, linewidth=1.0, linestyle="--")
    marker = "." if len(curve.share) == 1 else None
    ax.plot(curve.probability, curve.share, color=BLUE, linewidth=1.6, marker=marker, label="share of ups")
    ax.set_xlim(ends[0], ends[1])
    bottom, top = min(float(curve.share.min()), ends[0]), max(float(curve.share.max()), ends[1])
    ax.set_ylim(max(bottom - 0.02, -0.02), min(top + 0.02, 1.02))
    ax.locator_params(axis="both", nbins=5)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(in_percent())
    legend_above(ax, columns=2)


def coefficient_bars(ax: Axes, names: list[str], weights: Array) -> None:
    """Draw a bar for each feature's weight, first on top."""
    at = np.arange(len(names))
    ax.barh(at, weights, height=0.6, color=[VERMILION if weight < 0 else BLUE for weight in weights], linewidth=0)
    ax.axvline(0, color=GREY, linewidth=0.8)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.yaxis.set_major_locator(FixedLocator(at.tolist()))
    ax.yaxis.set_major_formatter(NullFormatter())
    ax.set_yticks(at, [f"{name:.24}" for name in names], fontsize=7.6, color=INK)
    ax.grid(visible=False, axis="y")
    ax.grid(visible=True, axis="x", color=FAINT, linewidth=0.8)
    ax.locator_params(axis="x", nbins=5)
