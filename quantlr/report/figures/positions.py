"""What was held and traded over time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from matplotlib.dates import date2num
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from quantlr.backtest.rolling import BinnedWeights, RollingExposure
from quantlr.core.arrays import Array
from quantlr.report.style import (
    BLACK,
    BLUE,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    SMALL_SIZE,
    VERMILION,
    add_legend_above,
    draw_message,
    nice_ticks,
    percent_formatter,
    percent_text,
)
from quantlr.report.tables import LOSS_GAIN_COLORMAP

LONG_COLOR, SHORT_COLOR = SKY, VERMILION
"""Colours of what is held long, and short."""
MAX_FULL_SIZE_TICKER_CHARS = 8
"""Letters of the longest ticker that is written at full size."""
MIN_LOG_SCALE_PRICE_RATIO = 4.0
"""Ratio of the highest price to the lowest from which a log scale shows more."""


@dataclass(frozen=True, slots=True)
class PriceWithPositions:
    """A price, and when it was held on which side.

    Attributes
    ----------
    dates : (m,) of the prices.
    price : (m,) in the quote's currency, > 0.
    long, short : (spells, 2) dates that each spell begins and ends with.
    """

    dates: pd.DatetimeIndex
    price: Array
    long_spells: pd.DataFrame
    short_spells: pd.DataFrame


def draw_price_with_positions(ax: Axes, price_with_positions: PriceWithPositions) -> None:
    """Draw a price, shaded while it was held long and while it was held short."""
    for spells, colour, alpha, name in (
        (price_with_positions.long_spells, LONG_COLOR, 0.38, "long"),
        (price_with_positions.short_spells, SHORT_COLOR, 0.34, "short"),
    ):
        if len(spells):
            first, last = (date2num(spells.iloc[:, at]) for at in (0, 1))
            ax.broken_barh(
                np.column_stack([first, last - first]).tolist(), (0, 1), transform=ax.get_xaxis_transform(),
                facecolor=colour, alpha=alpha, linewidth=0, label=f"held {name}",
            )  # fmt: skip
    ax.plot(
        price_with_positions.dates,
        price_with_positions.price,
        color=BLACK,
        linewidth=1.0,
        marker="." if len(price_with_positions.dates) < 40 else None,
    )
    low, high = float(price_with_positions.price.min()), float(price_with_positions.price.max())
    if high > MIN_LOG_SCALE_PRICE_RATIO * low:
        ax.set_yscale("log")
        ax.set_ylim(low / 1.05, high * 1.05)
        ax.yaxis.set_major_locator(FixedLocator(nice_ticks(*ax.get_ylim())))
        ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}" if value < 1e6 else f"{value:.3g}"))
    add_legend_above(ax, n_columns=2)


def draw_weight_map(ax: Axes, position_weights: BinnedWeights, tickers: list[str]) -> None:
    """Draw the weights of several tickers as a map: one row each, blue for long, orange for short."""
    shown = position_weights.mean_weight.T
    reach = float(np.abs(shown).max()) or 1.0
    left, right = date2num(position_weights.bin_edges[[0, -1]])
    ax.imshow(
        shown, cmap=LOSS_GAIN_COLORMAP, norm=TwoSlopeNorm(0.0, -reach, reach), aspect="auto", interpolation="nearest",
        extent=(left, right, len(tickers) - 0.5, -0.5),
    )  # fmt: skip
    ax.set_yticks(range(len(tickers)), [f"{ticker:.12}" for ticker in tickers])
    size = SMALL_SIZE if max(map(len, tickers)) <= MAX_FULL_SIZE_TICKER_CHARS else 6.6
    ax.tick_params(axis="y", labelsize=size if len(tickers) <= 20 else 5.6)
    ax.grid(visible=False)
    ends = [
        (f"{percent_text(reach, decimals=0)} short", 0.0),
        ("nothing", 0.5),
        (f"{percent_text(reach, decimals=0)} long", 1.0),
    ]
    ends = ends if shown.any() else ends[1:2]
    handles = [Patch(facecolor=LOSS_GAIN_COLORMAP(at), edgecolor=GREY, linewidth=0.5, label=text) for text, at in ends]
    ax.legend(
        handles=handles, loc="lower left", bbox_to_anchor=(0, 0.99), ncols=3, frameon=False, fontsize=SMALL_SIZE,
        labelcolor=BLACK, borderaxespad=0.1, borderpad=0, handlelength=1.2, columnspacing=1.4,
    )  # fmt: skip


def draw_share_of_tickers_held(ax: Axes, position_weights: BinnedWeights) -> None:
    """Draw the share of many tickers that was held long above the axis, and short below it."""
    dates = position_weights.bin_edges[:-1]
    ax.fill_between(
        dates, position_weights.long_fraction, step="post", color=LONG_COLOR, alpha=0.6, linewidth=0, label="held long"
    )
    ax.fill_between(
        dates,
        -position_weights.short_fraction,
        step="post",
        color=SHORT_COLOR,
        alpha=0.5,
        linewidth=0,
        label="held short",
    )
    ax.axhline(0, color=GREY, linewidth=0.8)
    ax.set_ylim(
        -max(float(np.max(position_weights.short_fraction)), 0.02) * 1.1,
        max(float(np.max(position_weights.long_fraction)), 0.02) * 1.1,
    )
    ax.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * abs(share):g}%"))
    add_legend_above(ax, n_columns=2)


def draw_trailing_exposure(ax: Axes, trailing_activity: RollingExposure) -> None:
    """Draw trailing exposure: what was held on either side, and long less short."""
    if not trailing_activity.gross_exposure.any():
        draw_message(ax, "Nothing was held.")
        return
    ax.plot(
        trailing_activity.dates,
        trailing_activity.gross_exposure,
        color=BLUE,
        linewidth=1.5,
        marker=_marker_if_few_dates(trailing_activity),
        label="long and short together",
    )
    if not np.array_equal(trailing_activity.gross_exposure, trailing_activity.net_exposure):
        ax.plot(
            trailing_activity.dates,
            trailing_activity.net_exposure,
            color=ORANGE,
            linewidth=1.2,
            marker=_marker_if_few_dates(trailing_activity),
            label="long less short",
        )
        add_legend_above(ax, n_columns=2)
    ax.axhline(0, color=GREY, linewidth=0.8)
    low, high = (
        min(float(trailing_activity.net_exposure.min()), 0.0),
        max(float(trailing_activity.gross_exposure.max()), 0.1),
    )
    ax.set_ylim(low - 0.08 * (high - low) * (low < 0), high + 0.08 * (high - low))
    ax.yaxis.set_major_formatter(percent_formatter())
    ax.locator_params(axis="y", nbins=4)


def draw_trailing_turnover(ax: Axes, trailing_activity: RollingExposure) -> None:
    """Draw trailing turnover, in times equity a year."""
    if not trailing_activity.annual_turnover.any():
        draw_message(ax, "Nothing was traded.")
        return
    ax.plot(
        trailing_activity.dates,
        trailing_activity.annual_turnover,
        color=PURPLE,
        linewidth=1.4,
        marker=_marker_if_few_dates(trailing_activity),
    )
    ax.set_ylim(0, max(float(trailing_activity.annual_turnover.max()), 0.1) * 1.1)
    ax.locator_params(axis="y", nbins=4)
    ax.yaxis.set_major_formatter(FuncFormatter(lambda times, _: f"{times:g}×"))


def _marker_if_few_dates(trailing_activity: RollingExposure) -> str | None:
    return "." if len(trailing_activity.dates) < 40 else None
