"""How round trips ended."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from quantlr.backtest.trades import Histogram
from quantlr.report.figures.style import BLUE, GREY, INK, VERMILION, in_percent, legend_above, percent


def trip_returns(ax: Axes, found: Histogram, *, mean: float) -> None:
    """Draw how many round trips came to which return after costs, losses and gains apart."""
    left, width = found.edges[:-1], found.edges[1] - found.edges[0]
    colours = [BLUE if edge >= -width / 2 else VERMILION for edge in left]
    ax.bar(left, found.count, width=0.92 * width, align="edge", color=colours, linewidth=0)
    outside = f"; {found.beyond:,} beyond the ends count to the outermost bars" if found.beyond else ""
    label = f"mean {percent(mean, decimals=2)}{outside}"
    ax.axvline(mean, color=INK, linewidth=1.2, linestyle="--", label=label)
    ax.axvline(0, color=GREY, linewidth=0.8)
    ax.xaxis.set_major_formatter(in_percent())
    ax.locator_params(axis="x", nbins=8)
    ax.yaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
    legend_above(ax, columns=1)
