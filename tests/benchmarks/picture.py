"""The benchmark's picture: how many times faster than each peer, and what more refits cost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, NullLocator

from benchmarks.results import Result, Rival

MET, MISSED, FREE, INK, FAINT = "#2b6ca3", "#d1622b", "#9fb3c4", "#222222", "#dddddd"
ROW = 0.27
"""Inches of a bar with the room around it."""


def draw(results: Sequence[Result], path: Path) -> None:
    """Write the picture of what was found."""
    curved = next((result for result in results if result.curve), None)
    rows = sum(1.5 + len(result.rivals) for result in results)
    width, height = (14.5, max(ROW * rows, 4.0) + 1.65) if curved else (9.5, ROW * rows + 1.65)
    figure = Figure(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(figure)
    frame = {"top": 1 - 0.6 / height, "bottom": 1.05 / height, "left": 3.4 / width, "right": 1 - 0.3 / width}
    grid = figure.add_gridspec(1, 2 if curved else 1, width_ratios=(1.3, 1) if curved else None, wspace=0.2, **frame)
    ratios(figure.add_subplot(grid[0, 0]), results)
    _legend(figure, left=frame["left"])
    if curved:
        cost(figure.add_subplot(grid[0, 1]), curved)
    figure.savefig(path, dpi=150, metadata={"Software": None})


def ratios(ax: Axes, results: Sequence[Result]) -> None:
    """Draw a bar for each peer of each job, and a mark where its bar is."""
    at, ticks, labels, heads = 0.0, list[float](), list[str](), list[int]()
    for result in results:
        heads.append(len(labels))
        ticks.append(at)
        labels.append(f"{result.job}: {result.fits:,} {'fits' if result.fits > 1 else 'fit'} in {result.seconds:.3g} s")
        for rival in result.rivals:
            at += 1.0
            ticks.append(at)
            labels.append(rival.contender.peer)
            _ratio(ax, at, rival)
        at += 1.5
    found = [rival.ratio for result in results for rival in result.rivals if rival.ratio]
    bars = [rival.bar for result in results for rival in result.rivals if rival.bar]
    ax.set_xscale("log")
    ax.set_xlim(min([1.0, *(0.6 * ratio for ratio in found)]), 3.5 * max([*found, *bars, 10.0]))
    ax.set_ylim(at - 0.5, -0.8)
    ax.set_yticks(ticks, labels)
    for head in heads:
        ax.get_yticklabels()[head].set_fontweight("bold")
    ax.axvline(1.0, color=INK, linewidth=1.0)
    _plain(ax)
    ax.grid(axis="x", color=FAINT, linewidth=0.7)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}×"))
    ax.set_xlabel("peer's seconds / quantlr's seconds (about: estimated from some fits)")
    ax.set_title("How many times faster quantlr is", loc="left", color=INK)


def _legend(figure: Figure, *, left: float) -> None:
    """Say what the colours mean, below the bars."""
    keys = [
        Patch(color=MET, label="bar met"),
        Patch(color=MISSED, label="bar missed"),
        Patch(color=FREE, label="no bar"),
    ]
    mark = Line2D([], [], color=INK, linestyle="", marker="|", markersize=12, markeredgewidth=2.2, label="the bar")
    figure.legend(handles=[*keys, mark], loc="lower left", bbox_to_anchor=(left, 0.0), ncols=4, frameon=False)


def _ratio(ax: Axes, at: float, rival: Rival) -> None:
    if rival.ratio is None:
        ax.text(1.1, at, "not accurate, not timed", va="center", color=INK, fontsize=9)
        return
    colour = FREE if rival.met is None else MET if rival.met else MISSED
    ax.barh(at, rival.ratio - 1.0, left=1.0, height=0.72, color=colour, zorder=2)
    if rival.bar is not None:
        ax.plot([rival.bar, rival.bar], [at - 0.46, at + 0.46], color=INK, linewidth=2.2, zorder=3)
    end = max(rival.ratio, rival.bar or 0.0, 1.0)
    about = "about " if rival.estimated else ""
    times = f"{rival.ratio:.0f}" if rival.ratio >= 10 else f"{rival.ratio:.2g}"
    room = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}
    ax.text(end * 1.07, at, f"{about}{times}×", va="center", color=INK, fontsize=9, bbox=room)


def cost(ax: Axes, result: Result) -> None:
    """Draw the seconds of a walk against its pairs, as refits come more and more often."""
    pairs = np.array([point.pairs for point in result.curve])
    seconds = np.array([point.seconds for point in result.curve])
    ax.loglog(pairs, seconds[-1] * pairs / pairs[-1], color=INK, linewidth=1.0, linestyle="--", label="in proportion")
    ax.loglog(pairs, seconds, color=MET, marker="o", label=f"quantlr, power {result.slope:.2f}")
    for point in result.curve:
        ax.annotate(
            f"every {point.refit_every}" if point.refit_every > 1 else "every row",
            (point.pairs, point.seconds),
            (-7, 4),
            textcoords="offset points",
            ha="right",
            fontsize=8.5,
            color=INK,
        )
    _plain(ax)
    ax.grid(color=FAINT, linewidth=0.7)
    ax.set_xlabel("pairs of a refit and a row that trains it")
    ax.set_ylabel("seconds")
    ax.set_title("What more refits cost, one core", loc="left", color=INK)
    ax.legend(loc="lower right", frameon=False)
    ax.set_xlim(pairs[0] / 8.0, pairs[-1] * 2.0)


def _plain(ax: Axes) -> None:
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(length=0, labelsize=9)
    ax.xaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_minor_locator(NullLocator())
