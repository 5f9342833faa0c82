"""How round trips ended."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from quantlr.backtest.trades import Histogram
from quantlr.report.style import BLACK, BLUE, GREY, VERMILION, add_legend_above, percent_formatter, percent_text


def draw_trade_return_histogram(ax: Axes, histogram: Histogram, *, mean_return: float) -> None:
    """Draw how many round trips came to which return after costs, losses and gains apart."""
    left, width = histogram.bin_edges[:-1], histogram.bin_edges[1] - histogram.bin_edges[0]
    colours = [BLUE if edge >= -width / 2 else VERMILION for edge in left]
    ax.bar(left, histogram.count, width=0.92 * width, align="edge", color=colours, linewidth=0)
    outside = f"; {histogram.n_outside:,} beyond the ends count to the outermost bars" if histogram.n_outside else ""
    label = f"mean {percent_text(mean_return, decimals=2)}{outside}"
    ax.axvline(mean_return, color=BLACK, linewidth=1.2, linestyle="--", label=label)
    ax.axvline(0, color=GREY, linewidth=0.8)
    ax.xaxis.set_major_formatter(percent_formatter())
    ax.locator_params(axis="x", nbins=8)
    ax.yaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
    add_legend_above(ax, n_columns=1)
