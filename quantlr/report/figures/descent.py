"""How the loss fell, and what the learning rate has to do with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from quantlr.core.arrays import Array
from quantlr.report.style import BAND_GREY, BLACK, BLUE, GREEN, GREY, LIGHT_GREY, ORANGE, SKY, SMALL_SIZE, VERMILION

ROUNDING_EXCESS_LOSS = 1e-15
"""Excess of a loss below which it is rounding."""
MIN_PLOTTED_EXCESS_LOSS = 1e-17
"""Where axes of an excess loss end: what is below is drawn there."""
REFIT_AGE_COLORMAP = LinearSegmentedColormap.from_list("old_to_new", [SKY, BLUE, BLACK])
LEARNING_RATE_COLORS = (SKY, GREEN, ORANGE, VERMILION)
"""Colours of learning rates that are too small, derived, near the limit, beyond it."""


def draw_loss_by_iteration(ax: Axes, excess_loss: Array, labels: Sequence[str]) -> None:
    """Draw how far above its best each refit's loss is, (refits, updates + 1), from the oldest to the newest."""
    shades = REFIT_AGE_COLORMAP(np.linspace(0.0, 1.0, len(excess_loss)) if len(excess_loss) > 1 else np.array([0.5]))
    for curve, name, shade in zip(excess_loss, labels, shades, strict=True):
        ax.plot(_clip_to_log_axis(curve), color=shade, linewidth=1.5, marker="o" if len(curve) <= 12 else "", markersize=3.5,
                label=name)  # fmt: skip
    _set_excess_loss_axis(ax, excess_loss)
    ax.set_xlim(-0.15, max(excess_loss.shape[1] - 1, 1) * 1.02)
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))


def draw_iteration_counts(ax: Axes, labels: Sequence[str], counts: Sequence[int], colors: Sequence[str]) -> None:
    """Draw how many refits took how many updates, fewest at the top."""
    ax.barh(range(len(counts)), counts, color=colors, height=0.72)
    for at, count in enumerate(counts):
        ax.text(count + 0.04 * max(counts), at, f"{count:,}", va="center", fontsize=SMALL_SIZE - 0.8, color=BLACK)
    ax.set_ylim(max(len(counts), 4) - 0.4, -0.6)
    ax.set_xlim(0, 1.5 * max(counts))
    ax.set_yticks(range(len(labels)), labels)
    ax.set_xticks([])
    ax.grid(visible=False)
    for side in ("bottom", "left"):
        ax.spines[side].set_visible(False)


def draw_loss_curve_per_learning_rate(ax: Axes, excess_loss: Array, labels: Sequence[str]) -> None:
    """Draw how far above the best the loss is, (rates, updates + 1), update by update with each learning rate."""
    for curve, name, colour in zip(excess_loss, labels, LEARNING_RATE_COLORS, strict=True):
        ax.plot(_clip_to_log_axis(curve), color=colour, linewidth=1.8, label=name)
    # The derived rate comes down on the left.
    _set_excess_loss_axis(ax, excess_loss, rounding_label_side="right")
    ax.set_xlim(0, excess_loss.shape[1] - 1)
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))


def draw_loss_against_learning_rate(
    ax: Axes,
    learning_rates: Array,
    excess_loss: Array,
    labels: Sequence[str],
    *,
    max_stable_rate: float,
    marked_rates: Array,
    configured_rate: float | None,
) -> None:
    """Draw the excess loss after so many updates, (a, rates), against the learning rate, the limit and some marked."""
    for curve, name, shade in zip(
        excess_loss, labels, REFIT_AGE_COLORMAP(np.linspace(0.0, 1.0, len(excess_loss))), strict=True
    ):
        ax.plot(
            learning_rates, _clip_to_log_axis(curve), color=shade, linewidth=1.5, marker="o", markersize=2.4, label=name
        )
    ax.set_xscale("log")
    _set_excess_loss_axis(ax, excess_loss)
    bottom, top = ax.get_ylim()
    right = max(learning_rates[-1], marked_rates[-1] * 1.1, max_stable_rate * 2)
    ax.axvspan(max_stable_rate, right, color=LIGHT_GREY, alpha=0.6, linewidth=0, zorder=0)
    ax.axvline(max_stable_rate, color=BLACK, linewidth=1.2, linestyle="--")
    ax.text(
        max_stable_rate * 0.93,
        top / 4,
        "2/L",
        ha="right",
        va="top",
        fontsize=SMALL_SIZE,
        color=BLACK,
        fontweight="bold",
    )
    for at, colour in zip(marked_rates, LEARNING_RATE_COLORS, strict=True):
        ax.plot(at, bottom, color=colour, marker="^", markersize=8, clip_on=False, zorder=5)
    if configured_rate is not None:
        ax.axvline(configured_rate, color=GREEN, linewidth=1.2)
        ax.annotate(
            "yours", (configured_rate, bottom), (4, 26), textcoords="offset points", fontsize=SMALL_SIZE, color=GREEN
        )
    ax.set_xlim(learning_rates[0] if configured_rate is None else min(learning_rates[0], configured_rate / 1.5), right)
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_locator(FixedLocator([step * 10.0**power for power in range(-8, 7) for step in (1.0, 3.0)]))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _clip_to_log_axis(excess_loss: Array) -> Array:
    """Return an excess loss as a log axis can show it."""
    return np.maximum(excess_loss, MIN_PLOTTED_EXCESS_LOSS)


def _set_excess_loss_axis(
    ax: Axes, excess_loss: Array, *, rounding_label_side: Literal["left", "right"] = "left"
) -> None:
    """Give the axes a log scale from what is rounding, with that word at one end of it, to the largest loss."""
    ax.set_yscale("log")
    largest = float(np.nanmax(excess_loss)) if np.isfinite(excess_loss).any() else 1.0
    top = 10.0 ** np.ceil(np.log10(max(largest, 1e-8)))
    ax.set_ylim(MIN_PLOTTED_EXCESS_LOSS, top)
    ax.axhspan(MIN_PLOTTED_EXCESS_LOSS, ROUNDING_EXCESS_LOSS, color=BAND_GREY, alpha=0.3, linewidth=0)
    ax.text({"left": 0.01, "right": 0.99}[rounding_label_side], ROUNDING_EXCESS_LOSS, "rounding", transform=ax.get_yaxis_transform(), ha=rounding_label_side,
            va="top", fontsize=SMALL_SIZE - 1, color=GREY)  # fmt: skip
    ax.yaxis.set_minor_locator(NullLocator())
    powers = range(-16, int(np.log10(top)) + 1, 4)
    ax.yaxis.set_major_locator(FixedLocator([10.0**power for power in powers]))
