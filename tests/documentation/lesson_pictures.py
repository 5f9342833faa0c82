"""The pictures of the lesson, cut from the pages of a run, and one of the expected return."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import quantlr
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox
from quantlr.backtest.costs import BASIS_POINT
from quantlr.report.context import PageContext
from quantlr.report.pages.forecast import FORECAST_PAGE
from quantlr.report.pages.layout import DPI, Page, Table, use_matplotlib_defaults
from quantlr.report.pages.model import MODEL_PAGE
from quantlr.report.style import (
    BLUE,
    GREEN,
    GREY,
    LABEL_STYLE,
    LIGHT_GREY,
    SMALL_SIZE,
    VERMILION,
    Axes,
    add_legend_above,
    percent_tick_label,
    set_panel_title,
    style_axes,
)

CONFIGS = Path(__file__).parents[2] / "configs"
MARGIN_INCHES = 0.12


MODEL_PICTURES = {
    "sigmoid.png": ("sigmoid", "full_sigmoid", "sigmoid_slope"),
    "learning_rates.png": ("loss_by_learning_rate",),
    "loss_by_rate.png": ("loss_against_learning_rate",),
}
"""The panels of the model's page in each picture."""
FORECAST_PICTURES = {"return_by_probability.png": ("return_by_probability",)}
"""The same of the page on forecast skill."""


def lesson_pictures() -> dict[str, bytes]:
    """Return the PNG bytes of each picture by its file name."""
    daily, expected_value = (page_context(CONFIGS / f"{name}.yaml") for name in ("sp500_daily", "expected_value"))
    with use_matplotlib_defaults():
        return {
            **cut_page(MODEL_PAGE, daily, MODEL_PICTURES),
            **cut_page(FORECAST_PAGE, expected_value, FORECAST_PICTURES),
            "expected_return.png": expected_return_png(expected_return_table(expected_value)),
        }


def page_context(config: Path) -> PageContext:
    """Return what the pages of a run are made of."""
    run = quantlr.run(config)
    return PageContext.from_run(run.config, run.run_data, run.metrics, run.notes)


def cut_page(page: Page, context: PageContext, pictures: Mapping[str, Sequence[str]]) -> dict[str, bytes]:
    """Return the parts of a page that some of its panels cover, as they are in the report.

    Parameters
    ----------
    pictures : keys of panels by file name.
    """
    figure = page.draw_figure(context)
    for text in figure.texts:
        text.set_visible(False)
    renderer = FigureCanvasAgg(figure).get_renderer()
    placed = page.place_panels(page.make_context(context))
    axes = {item.panel.key: ax for item, ax in zip(placed, figure.axes, strict=True)}
    boxes = {key: ax.get_tightbbox(renderer) for key, ax in axes.items()}
    result = {}
    for name, keys in pictures.items():
        for key, ax in axes.items():
            ax.set_visible(key in keys)
        area = Bbox.union([box for key in keys if (box := boxes[key]) is not None])
        result[name] = png_bytes(figure, area=Bbox(area.get_points() / DPI).padded(MARGIN_INCHES))
    return result


def expected_return_table(context: PageContext) -> Table:
    """Return the expected return by probability, and the probabilities that were forecast.

    `probability` (201,) and `expected_return` (201,), of the newest forecast's mean gain and loss; `forecasts` (rows,),
    the probabilities forecast; `cost`, of a round trip; returns are fractions.
    """
    forecasts, execution = context.run_data.forecasts, context.config.execution
    gain, loss = (float(values[-1]) for values in (forecasts.mean_gain, forecasts.mean_loss))
    probability = np.linspace(0.3, 0.7, 201)
    return {
        "probability": probability,
        "expected_return": probability * gain + (1 - probability) * loss,
        "mean_gain": gain,
        "mean_loss": loss,
        "forecasts": forecasts.probability,
        "cost": 2 * execution.cost_rate,
    }


def expected_return_png(table: Table) -> bytes:
    """Return the picture of p x mean gain + (1 - p) x mean loss against p."""
    figure = Figure(figsize=(7.0, 3.9), dpi=DPI, facecolor="white")
    ax = figure.add_axes((0.115, 0.145, 0.865, 0.64))
    style_axes(ax)
    set_panel_title(ax, "Expected return by forecast probability", max_width=430.0, padding_points=24.0)
    draw_expected_return(ax, table)
    return png_bytes(figure)


def draw_expected_return(ax: Axes, table: Table) -> None:
    """Draw the line, where it crosses zero and the cost of a round trip, and the forecasts below."""
    probability, expected, cost = table["probability"], table["expected_return"], table["cost"]
    points = expected / BASIS_POINT
    ax.plot(probability, points, color=BLUE, linewidth=2.0, label="p × mean gain + (1 − p) × mean loss")
    ax.axhline(cost / BASIS_POINT, color=VERMILION, linewidth=1.2, linestyle="--", label="cost of a round trip")
    ax.axhline(0.0, color=GREY, linewidth=0.8)
    bottom, top = float(points.min()), float(points.max())
    counts, edges = np.histogram(table["forecasts"], bins=80, range=(probability[0], probability[-1]))
    heights = 0.3 * (top - bottom) * counts / counts.max()
    style: dict[str, Any] = {"align": "edge", "color": LIGHT_GREY, "linewidth": 0, "label": "number of forecasts"}
    ax.bar(edges[:-1], heights, np.diff(edges), bottom=bottom, **style)
    for level, color, name in ((0.0, GREEN, "worth holding"), (cost, VERMILION, "worth opening")):
        crossing = float(np.interp(level, expected, probability))
        ax.plot(crossing, level / BASIS_POINT, marker="o", color=color, markersize=6, linestyle="")
        text = f"{name} above p = {crossing:.1%}"
        offset = (-8, 8) if level else (8, -13)
        ax.annotate(text, (crossing, level / BASIS_POINT), offset, textcoords="offset points", color=color,
                    fontsize=SMALL_SIZE, ha="right" if level else "left")  # fmt: skip
    ax.set(xlim=(probability[0], probability[-1]), ylim=(bottom, top))
    ax.xaxis.set_major_formatter(percent_tick_label)
    ax.set_xlabel("forecast probability of up, p", **LABEL_STYLE)
    ax.set_ylabel("expected return (basis points)", **LABEL_STYLE)
    add_legend_above(ax, n_columns=3)


def png_bytes(figure: Figure, *, area: Bbox | None = None) -> bytes:
    """Return a figure, or an area of it in inches, as PNG."""
    FigureCanvasAgg(figure)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=DPI, bbox_inches=area, metadata={"Software": None})
    return stream.getvalue()
