"""The drawing of the timing rule, at the positions that the program's own timing functions return."""

from __future__ import annotations

import io
from dataclasses import dataclass

import matplotlib
import pandas as pd
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from quantlr.backtest.costs import ExecutionSpec
from quantlr.core.timing import (
    Market,
    label_known_row,
    label_lag,
    last_training_row,
    latest_known_bar_index,
)
from quantlr.data.calendars import RegularClose
from quantlr.data.markets import market_with_closes
from quantlr.report.style import BLACK, BLUE, GREEN, GREY, LIGHT_GREY, ORANGE, SKY, VERMILION, Axes

T, HORIZON = 0, 1
FIRST, LAST = -3, 3
"""Row of the decision, the horizon drawn, and the first and last row drawn."""
HOURS = {
    "Tokyo": RegularClose(zone="Asia/Tokyo", minutes=15 * 60 + 30),
    "London": RegularClose(zone="Europe/London", minutes=16 * 60 + 30),
    "New York": RegularClose(zone="America/New_York", minutes=16 * 60),
}
"""The regular close of each market drawn."""
DATES = pd.DatetimeIndex(["2025-01-14", "2025-01-15", "2025-01-16"])
TEXT_SIZE = 9.5


@dataclass(frozen=True, slots=True)
class Lane:
    """One line of the drawing: a span of time, an instant, or both; positions are rows, at whose close they are."""

    label: str
    text: str
    color: str
    start: float | None = None
    end: float | None = None
    instant: float | None = None


def timing_lanes() -> list[Lane]:
    """Return what is known, learnt, decided, filled and earned around the close of row t."""
    delay = ExecutionSpec().fill_delay_sessions
    of_close, of_fill = (label_lag(HORIZON, label_delay=label_delay) for label_delay in (0, delay))
    newest = last_training_row(T, lag=of_close)
    filled, earned = T + delay, T + delay + 1
    return [
        Lane("known", "prices and features of row t", BLUE, FIRST - 0.6, T, T),
        Lane("trains", f"rows to {row_name(newest)}: their labels are known at t", SKY, FIRST - 0.6, newest, newest),
        Lane("decided", "forecast and position", BLACK, instant=T),
        Lane("filled", "fill: next_close", VERMILION, instant=filled),
        Lane("earned", "return of the position", GREEN, filled, earned, earned),
        Lane("label", "known, if label.of: close", ORANGE, T, T + HORIZON, label_known_row(T, lag=of_close)),
        Lane("label", "known, if label.of: fill", ORANGE, filled, filled + HORIZON, label_known_row(T, lag=of_fill)),
    ]


def row_name(row: int) -> str:
    """Return a row by its distance from t, such as "t − 1"."""
    return "t" if row == T else f"t {'+' if row > T else '−'} {abs(row - T)}"


def markets() -> dict[str, Market]:
    """Return the markets with their closes on the dates drawn."""
    return {name: market_with_closes(name, hours, DATES.to_numpy())[0] for name, hours in HOURS.items()}


def known_bars(at: str, *, date_index: int) -> dict[str, int]:
    """Return, for each market, the index of the newest date whose bar is known when the market `at` closes."""
    known = markets()
    dates = DATES[date_index : date_index + 1]
    return {
        name: int(latest_known_bar_index(DATES, dates, bar_market=market, market=known[at])[0])
        for name, market in known.items()
    }


def timing_drawing() -> bytes:
    """Return the drawing as SVG; letters are paths, so that it needs no font."""
    with matplotlib.rc_context({"svg.fonttype": "path", "svg.hashsalt": "quantlr", "font.family": "DejaVu Sans"}):
        figure = Figure(figsize=(7.2, 7.6), facecolor="white")
        FigureCanvasSVG(figure)
        draw_lanes(figure.add_axes((0.11, 0.47, 0.85, 0.42)))
        draw_markets(figure.add_axes((0.11, 0.06, 0.85, 0.29)))
        stream = io.BytesIO()
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None, "Description": description()})
    return stream.getvalue()


def description() -> str:
    """Return what is drawn, in words."""
    lanes = "; ".join(f"{lane.label}: {lane.text}, at {row_name(int(lane.instant or T))}" for lane in timing_lanes())
    known = "; ".join(
        f"at {at}'s close of {DATES[1]:%d %b}, {name}'s bar of {DATES[index]:%d %b} is known"
        for at in HOURS
        for name, index in known_bars(at, date_index=1).items()
    )
    return f"{lanes}. {known}."


def draw_lanes(ax: Axes) -> None:
    """Draw the lanes of one market over the closes of its sessions."""
    lanes = timing_lanes()
    prepare(ax, "One market: what happens at which close", [lane.label for lane in lanes])
    for row in range(FIRST, LAST + 1):
        is_now = row == T
        ax.axvline(row, color=BLACK if is_now else LIGHT_GREY, linewidth=1.6 if is_now else 1.0, zorder=0)
        ax.annotate(f"close of\n{row_name(row)}", (row, 1.0), (0, 4), xycoords=("data", "axes fraction"),
                    textcoords="offset points", ha="center", fontsize=8.5, color=BLACK if is_now else GREY)  # fmt: skip
    for y, lane in enumerate(lanes):
        draw_lane(ax, y, lane)
    ax.set_xlim(FIRST - 0.6, LAST + 0.6)


def draw_lane(ax: Axes, y: int, lane: Lane) -> None:
    """Draw a lane's span and instant, and its text above them where there is room."""
    if lane.start is not None and lane.end is not None:
        ax.plot([lane.start, lane.end], [y, y], color=lane.color, linewidth=7, alpha=0.45, solid_capstyle="butt")
    if lane.instant is not None:
        ax.plot(lane.instant, y, marker="o", markersize=8, color=lane.color)
    is_past = lane.instant is not None and lane.instant <= T and lane.start is not None
    x, side = (FIRST - 0.5, "left") if is_past else ((lane.instant or T) + 0.15, "left")
    ax.text(x, y - (0.32 if is_past else 0.0), lane.text, fontsize=TEXT_SIZE, va="center", ha=side, color=BLACK)


def draw_markets(ax: Axes) -> None:
    """Draw the closes of three markets over two days, and which bars are known at the marked ones."""
    names = list(HOURS)
    prepare(ax, "Several markets: a bar is known once its own market has closed", names)
    closes = {name: market.close_bounds(DATES)[0] / 3600.0 for name, market in markets().items()}
    start = closes["Tokyo"][0] // 24 * 24
    for y, name in enumerate(names):
        for date, close in zip(DATES, closes[name] - start, strict=True):
            ax.plot(close, y, marker="o", markersize=8, color=BLUE)
            ax.annotate(f"{date:%d %b}", (close, y), (6, -14), textcoords="offset points", fontsize=8.5)
    for at, color, curve in (("New York", ORANGE, 0.18), ("Tokyo", GREEN, -0.18)):
        here = names.index(at)
        moment = closes[at][1] - start
        ax.axvline(moment, color=color, linewidth=1.4, zorder=0)
        ax.annotate(f"{at} closes\n{DATES[1]:%d %b}", (moment, 1.0), (0, 3), xycoords=("data", "axes fraction"),
                    textcoords="offset points", ha="center", fontsize=8.5, color=color)  # fmt: skip
        for name, index in known_bars(at, date_index=1).items():
            if name != at:
                bar = closes[name][index] - start
                style = {"arrowstyle": "-|>", "color": color, "linewidth": 1.4, "shrinkA": 5, "shrinkB": 5,
                         "connectionstyle": f"arc3,rad={curve}"}  # fmt: skip
                ax.annotate("", (moment, here), (bar, names.index(name)), arrowprops=style)
    hours = range(0, 73, 12)
    ax.set_xticks(list(hours), [f"{hour % 24:02d}:00" for hour in hours], fontsize=8.5)
    ax.set_xlabel("UTC (an arrow leads from the newest bar that is known)", fontsize=TEXT_SIZE)
    ax.tick_params(axis="x", length=3, color=GREY, labelbottom=True)
    ax.set_xlim(0, 72)


def prepare(ax: Axes, title: str, labels: list[str]) -> None:
    """Give the axes a title and a row for each label, the first at the top."""
    ax.set_title(title, loc="left", fontsize=12, fontweight="bold", color=BLACK, pad=34)
    ax.set_yticks(range(len(labels)), labels, fontsize=TEXT_SIZE)
    ax.set_ylim(len(labels) - 0.4, -0.7)
    ax.tick_params(length=0, labelbottom=False)
    for spine in ax.spines.values():
        spine.set_visible(False)
