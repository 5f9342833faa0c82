"""Interactive panels on the model: calibration, coefficients, and the worth of the features.

Each is the table of a panel of the pages, for JSON: what the browser draws, with a sentence and a table of text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from quantlr.report.context import PageContext
from quantlr.report.pages.coefficients import (
    coefficient_paths_panel,
    coefficients_panel,
    permutation_importance_panel,
)
from quantlr.report.pages.features import THOUSANDTHS, feature_loss_reduction_panel, p_value_text
from quantlr.report.pages.forecast import CALIBRATION_PANEL, calibration_y_limits
from quantlr.report.pages.layout import Panel, Table
from quantlr.report.pages.model import feature_panel
from quantlr.report.style import count_text, number_text, percent_text
from quantlr.report.summary import TextTable
from quantlr.stats.verdict import is_significant

MODEL_PANEL_KEYS = ("coefficients", "calibration", "worth")
"""Keys of the panels in the page, in its order."""
FEATURE_PANELS = (coefficient_paths_panel, coefficients_panel, permutation_importance_panel)
"""The panels of the pages of which a run has one, on its features."""
MAX_CALIBRATION_ROWS = 12
WORTH_NOT_COMPUTED_TEXT = (
    "Not computed, since it takes further fits: the command quantlr worth, given this config, computes it and adds it "
    "here."
)
EARLIER_WORTH_TEXT = (
    "As of an earlier state of the prices or of the config's features, label, folds or model; quantlr worth renews it."
)
NO_WORTH_OF_CHOICE_TEXT = "Not computed: quantlr worth needs a single model, and this config chooses among candidates."

HtmlPanel = dict[str, Any]
"""Title, sentence, `table` of text and `chart`, None where there is none."""


def model_panel_tables(context: PageContext) -> dict[str, Table]:
    """Return the tables of the panels, computed here, by the keys of the pages' panels."""
    leader = context.of_leader()
    features = feature_panel(leader)
    return {CALIBRATION_PANEL.key: CALIBRATION_PANEL.make_table(context), features.key: features.make_table(leader)}


def model_panels(
    context: PageContext,
    tables: Mapping[str, Table],
    worth: pd.DataFrame | None = None,
    *,
    is_earlier_worth: bool = False,
) -> dict[str, HtmlPanel]:
    """Return the panels of a run by their keys in the page, in its order.

    Parameters
    ----------
    context : the run.
    tables : of those panels whose page was drawn, by the keys of the pages' panels.
    worth : as in ``features.csv``; None where it was not computed.
    is_earlier_worth : whether it is of other prices or another config.
    """
    features = next((panel for panel in FEATURE_PANELS if panel.key in tables), coefficient_paths_panel)
    describe = _importance if features is permutation_importance_panel else _coefficients
    return {
        "coefficients": _html_panel(features, tables, "model", describe),
        "calibration": _html_panel(CALIBRATION_PANEL, tables, "forecast", _calibration),
        "worth": worth_panel(worth, is_choice=context.config.selection is not None, is_earlier=is_earlier_worth),
    }


def _html_panel(
    panel: Panel, tables: Mapping[str, Table], page_name: str, make: Callable[[Table], HtmlPanel]
) -> HtmlPanel:
    """Return a panel, or the reason why there is none."""
    title = panel.title.partition(":")[0]
    table = tables.get(panel.key)
    if table is None:
        text = f"Not computed, since {page_name}.png was not drawn: quantlr run --pages {page_name} draws it."
        return message_panel(title, text)
    if "message" in table:
        return message_panel(title, table["message"])
    return {"title": title, **make(table)}


def message_panel(title: str, text: str) -> HtmlPanel:
    """Return a panel with a sentence in place of a chart."""
    return {"title": title, "sentence": text, "table": _text_table(TextTable("", (), ())), "chart": None}


def _text_table(table: TextTable) -> dict[str, Any]:
    return {"title": table.title, "columns": table.columns, "rows": table.rows}


def _numbers(values: Any) -> list[float]:
    """Return numbers with seven digits."""
    return [float(f"{value:.7g}") for value in np.asarray(values, dtype=np.float64).tolist()]


def _calibration(table: Table) -> HtmlPanel:
    probability, observed = table["curve_probability"], table["curve_observed_frequency"]
    count, grid = table["curve_count"], table["band_probability"]
    low, high = (np.interp(probability, grid, table[f"band_{name}"]) for name in ("low", "high"))
    is_outside = (observed < low) | (observed > high)
    n_forecasts, outside = int(count.sum()), percent_text(float(count[is_outside].sum() / count.sum()))
    sentence = (
        f"Observed frequency of up by forecast probability, of {count_text(n_forecasts, 'forecast')}: "
        f"{outside} of them are where the curve is outside the 95% band of calibrated forecasts. "
        f"{table['subtitle'].partition(chr(10))[0].capitalize()}."
    )
    band = {"low": table["band_low"], "high": table["band_high"], "observed": np.interp(grid, probability, observed)}
    shown = np.unique(np.linspace(0, len(grid) - 1, min(len(grid), MAX_CALIBRATION_ROWS)).round().astype(int))
    cells = np.column_stack([band["observed"], band["low"], band["high"]])[shown].tolist()
    labels = map(percent_text, grid[shown].tolist())
    rows = tuple((label, tuple(map(percent_text, row))) for label, row in zip(labels, cells, strict=True))
    heads = ("observed frequency", "95% band if calibrated, low", "high")
    # Of each run of equal frequencies the first and the last point: the curve is straight between them.
    rises = np.diff(observed) != 0
    is_end = np.append(rises, True) | np.insert(rises, 0, True)
    chart = {
        "kind": "calibration",
        "x_limits": _numbers(table["bin_edges"][[0, -1]]),
        "y_limits": _numbers(calibration_y_limits(table, 1.0)),
        "base_rate": float(table["base_rate"]),
        "curve": {"x": _numbers(probability[is_end]), "y": _numbers(observed[is_end])},
        "band": {"x": _numbers(grid), **{name: _numbers(values) for name, values in band.items()}},
        "bins": {"edges": _numbers(table["bin_edges"]), "count": table["count"].tolist()},
    }
    text_table = TextTable("Observed frequency by forecast probability", heads, rows)
    return {"sentence": sentence, "table": _text_table(text_table), "chart": chart}


def _coefficients(table: Table) -> HtmlPanel:
    names, is_significant_mask = table["features"], table["significant_mask"]
    significant = [name for name, is_different in zip(names, is_significant_mask, strict=True) if is_different]
    model = "the pooled model" if table["model"] == "pooled" else f"the model of {table['model']}"
    finding = "They have no standard errors."
    if np.isfinite(table["low"]).any():
        finding = (
            f"At the newest refit {len(significant)} of the {count_text(len(names), 'coefficient')} shown are "
            f"significantly different from zero (5%){': ' if significant else ''}{', '.join(significant)}."
        )
    remarks = f" Shown: {'; '.join(table['remarks'])}." if table["remarks"] else ""
    sentence = f"Log odds per standard deviation of the feature, of {model}. {finding}{remarks}"
    newest = {name: table[name][-1] for name in ("coefficients", "low", "high")}
    rows = tuple(
        (name, (text, *(number_text(float(newest[side][index]), decimals=3) for side in ("low", "high"))))
        for index, (name, text) in enumerate(zip(names, table["texts"], strict=True))
    )
    text_table = TextTable("Newest standardised coefficients", ("coefficient", "95% interval, low", "high"), rows)
    if len(table["coefficients"]) == 1:
        chart = _rows_chart(names, newest["coefficients"], table["texts"], is_significant_mask, newest)
    else:
        days = table["refit_dates"].to_numpy().astype("datetime64[ms]").astype(np.int64)
        chart = {"kind": "paths", "dates": days.tolist(), "limits": _numbers(table["limits"]), "features": names}
        chart |= {name: [_numbers(column) for column in table[name].T] for name in ("coefficients", "low", "high")}
    return {"sentence": sentence, "table": _text_table(text_table), "chart": chart}


def _importance(table: Table) -> HtmlPanel:
    names, values = table["features"], table["values"]
    sentence = f"In thousandths of a nat: {table['subtitle']}. The model has no coefficients."
    columns = ("log loss added", "95% interval, low", "high")
    cells = np.column_stack([values, table["low"], table["high"]]).tolist()
    rows = tuple(
        (name, tuple(number_text(value, decimals=3) for value in row)) for name, row in zip(names, cells, strict=True)
    )
    texts = [f"{number_text(value, decimals=3)}" for value in values]
    chart = _rows_chart(names, values, texts, table["low"] > 0, table)
    return {
        "sentence": sentence,
        "table": _text_table(TextTable("Permutation importance", columns, rows)),
        "chart": chart,
    }


def _rows_chart(
    names: list[str], values: Any, texts: list[str], mask: Any, interval: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return a chart with a row per feature: a point with its interval, or a bar; `mask` colours significant ones."""
    chart = {"kind": "rows", "names": list(names), "values": _numbers(values), "texts": texts}
    chart |= {"significant": [bool(value) for value in mask]}
    return chart | ({name: _numbers(interval[name]) for name in ("low", "high")} if interval else {})


def worth_panel(worth: pd.DataFrame | None, *, is_choice: bool = False, is_earlier: bool = False) -> HtmlPanel:
    """Return the worth of each entry of ``features``, as in ``features.csv``, or why there is none.

    With `is_earlier` the panel says that it is of other prices or another config.
    """
    title = f"Worth of the features: {feature_loss_reduction_panel.title.lower()}"
    if worth is None:
        return message_panel("Worth of the features", NO_WORTH_OF_CHOICE_TEXT if is_choice else WORTH_NOT_COMPUTED_TEXT)
    worth = worth.sort_values("statistic", ascending=False, kind="stable", na_position="last")
    reductions, alone = (THOUSANDTHS * worth[f"{which}log_loss_reduction"] for which in ("", "alone_"))
    p_values, alone_p_values = (
        [None if pd.isna(value) else float(value) for value in worth[name]]
        for name in ("holm_p_value", "alone_p_value")
    )
    mask = [is_significant(value) for value in p_values]
    sentence = (
        f"{sum(mask)} of {len(mask)} sets of features are shown to improve the forecasts: log loss without the set "
        "less that with it, in thousandths of a nat; p of the one-sided Clark-West test, adjusted by Holm's method."
    )
    sentence = f"{EARLIER_WORTH_TEXT} {sentence}" if is_earlier else sentence
    texts = [f"{number_text(value)}, {p_value_text(p)}" for value, p in zip(reductions, p_values, strict=True)]
    rows = tuple(
        (name, (number_text(value, decimals=3), p_value_text(p), number_text(own, decimals=3), p_value_text(own_p)))
        for name, value, p, own, own_p in zip(
            worth["features"], reductions, p_values, alone, alone_p_values, strict=True
        )
    )
    columns = ("without it less with it", "adjusted p", "base rate less it alone", "p alone, not adjusted")
    text_table = TextTable("Log loss, differences in thousandths of a nat", columns, rows)
    chart = _rows_chart(worth["features"].tolist(), reductions, texts, mask)
    return {"title": title, "sentence": sentence, "table": _text_table(text_table), "chart": chart}
