"""How the loss fell, and what the learning rate has to do with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from quantlr.report.figures.style import BAND, BLUE, FAINT, GREEN, GREY, INK, ORANGE, SKY, SMALL, VERMILION
from quantlr.types import Array

ROUNDING = 1e-15
"""Excess of a loss below which it is rounding."""
LOWEST = 1e-17
"""Where axes of an excess loss end: what is below is drawn there."""
OLD_TO_NEW = LinearSegmentedColormap.from_list("old_to_new", [SKY, BLUE, INK])
RATE_COLOURS = (SKY, GREEN, ORANGE, VERMILION)
"""Colours of learning rates that are too small, derived, near the limit, beyond it."""


def falling_losses(ax: Axes, excess: Array, names: Sequence[str]) -> None:
    """Draw how far above its best each refit's loss is, (refits, updates + 1), from the oldest to the newest."""
    shades = OLD_TO_NEW(np.linspace(0.0, 1.0, len(excess)) if len(excess) > 1 else np.array([0.5]))
    for curve, name, shade in zip(excess, names, shades, strict=True):
        ax.plot(_seen(curve), color=shade, linewidth=1.5, marker="o" if len(curve) <= 12 else "", markersize=3.5,
                label=name)  # fmt: skip
    _excess_axis(ax, excess)
    ax.set_xlim(-0.15, max(excess.shape[1] - 1, 1) * 1.02)
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))


def updates_taken(ax: Axes, names: Sequence[str], counts: Sequence[int], colours: Sequence[str]) -> None:
    """Draw how many refits took how many updates, fewest at the top."""
    ax.barh(range(len(counts)), counts, color=colours, height=0.72)
    for at, count in enumerate(counts):
        ax.text(count + 0.04 * max(counts), at, f"{count:,}", va="center", fontsize=SMALL - 0.8, color=INK)
    ax.set_ylim(max(len(counts), 4) - 0.4, -0.6)
    ax.set_xlim(0, 1.5 * max(counts))
    ax.set_yticks(range(len(names)), names)
    ax.set_xticks([])
    ax.grid(visible=False)
    for side in ("bottom", "left"):
        ax.spines[side].set_visible(False)


def losses_by_rate(ax: Axes, excess: Array, names: Sequence[str]) -> None:
    """Draw how far above the best the loss is, (rates, updates + 1), update by update with each learning rate."""
    for curve, name, colour in zip(excess, names, RATE_COLOURS, strict=True):
        ax.plot(_seen(curve), color=colour, linewidth=1.8, label=name)
    # The derived rate comes down on the left.
    _excess_axis(ax, excess, word="right")
    ax.set_xlim(0, excess.shape[1] - 1)
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))


def losses_after(
    ax: Axes, rate: Array, excess: Array, names: Sequence[str], *, limit: float, marked: Array, own: float | None
) -> None:
    """Draw the excess loss after so many updates, (a, rates), against the learning rate, the limit and some marked."""
    for curve, name, shade in zip(excess, names, OLD_TO_NEW(np.linspace(0.0, 1.0, len(excess))), strict=True):
        ax.plot(rate, _seen(curve), color=shade, linewidth=1.5, marker="o", markersize=2.4, label=name)
    ax.set_xscale("log")
    _excess_axis(ax, excess)
    bottom, top = ax.get_ylim()
    right = max(rate[-1], marked[-1] * 1.1, limit * 2)
    ax.axvspan(limit, right, color=FAINT, alpha=0.6, linewidth=0, zorder=0)
    ax.axvline(limit, color=INK, linewidth=1.2, linestyle="--")
    ax.text(limit * 0.93, top / 4, "2/L", ha="right", va="top", fontsize=SMALL, color=INK, fontweight="bold")
    for at, colour in zip(marked, RATE_COLOURS, strict=True):
        ax.plot(at, bottom, color=colour, marker="^", markersize=8, clip_on=False, zorder=5)
    if own is not None:
        ax.axvline(own, color=GREEN, linewidth=1.2)
        ax.annotate("yours", (own, bottom), (4, 26), textcoords="offset points", fontsize=SMALL, color=GREEN)
    ax.set_xlim(rate[0] if own is None else min(rate[0], own / 1.5), right)
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_locator(FixedLocator([step * 10.0**power for power in range(-8, 7) for step in (1.0, 3.0)]))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _seen(curve: Array) -> Array:
    """Return an excess loss as a log axis can show it."""
    return np.maximum(curve, LOWEST)


def _excess_axis(ax: Axes, excess: Array, *, word: Literal["left", "right"] = "left") -> None:
    """Give the axes a log scale from what is rounding, with that word at one end of it, to the largest loss."""
    ax.set_yscale("log")
    largest = float(np.nanmax(excess)) if np.isfinite(excess).any() else 1.0
    top = 10.0 ** np.ceil(np.log10(max(largest, 1e-8)))
    ax.set_ylim(LOWEST, top)
    ax.axhspan(LOWEST, ROUNDING, color=BAND, alpha=0.3, linewidth=0)
    ax.text({"left": 0.01, "right": 0.99}[word], ROUNDING, "rounding", transform=ax.get_yaxis_transform(), ha=word,
            va="top", fontsize=SMALL - 1, color=GREY)  # fmt: skip
    ax.yaxis.set_minor_locator(NullLocator())
    powers = range(-16, int(np.log10(top)) + 1, 4)
    ax.yaxis.set_major_locator(FixedLocator([10.0**power for power in powers]))
