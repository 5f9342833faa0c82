"""Interactive panels on the model: their numbers are those that the pictures draw."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from quantlr.experiment.worth import forecasts_sha256, read_saved_worth
from quantlr.report.html import add_worth_to_report
from quantlr.report.model_panels import model_panel_tables, model_panels, worth_panel
from quantlr.report.pages import layout
from quantlr.report.pages.coefficients import coefficient_paths_panel
from quantlr.report.pages.features import alone_loss_reduction_table, loss_reduction_table
from quantlr.report.pages.forecast import FORECAST_PAGE
from quantlr.report.pages.layout import use_matplotlib_defaults
from quantlr.report.style import number_text

from report.cases import case_context
from report.test_features_page import features_context, worth_of_sample
from report.test_interactive import page_of

WITH_COEFFICIENTS = ("three years", "many features, many refits", "a choice")


def test_picture_and_chart_of_the_calibration_have_the_same_numbers() -> None:
    context = case_context("three years")
    with use_matplotlib_defaults():
        figure = FORECAST_PAGE.draw_figure(context)
    axes = next(ax for ax in figure.axes if ax.get_title(loc="left").startswith("Calibration"))
    (line,) = [line for line in axes.lines if line.get_label() == "observed frequency"]
    x, y = (np.asarray(values, dtype=float) for values in line.get_data())
    chart = model_panels(context, model_panel_tables(context))["calibration"]["chart"]
    np.testing.assert_allclose(np.interp(x, chart["curve"]["x"], chart["curve"]["y"]), y, atol=1e-5)
    assert chart["x_limits"] == pytest.approx(axes.get_xlim())


def test_pages_hand_over_the_tables_of_their_interactive_panels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "figure_png", lambda _: b"")
    context = case_context("three years")
    tables, expected = FORECAST_PAGE.render_picture(context).tables, model_panel_tables(context)
    assert list(tables) == ["calibration"]
    for name, values in expected["calibration"].items():
        np.testing.assert_array_equal(tables["calibration"][name], values)


@pytest.mark.parametrize("case", WITH_COEFFICIENTS)
def test_coefficients_equal_the_table_of_the_page(case: str) -> None:
    context = case_context(case)
    tables = model_panel_tables(context)
    table, panel = tables["coefficient_paths"], model_panels(context, tables)["coefficients"]
    chart = panel["chart"]
    assert chart["features"] == table["features"]
    assert [pd.Timestamp(value, unit="ms") for value in chart["dates"]] == list(table["refit_dates"])
    for name in ("coefficients", "low", "high"):
        np.testing.assert_allclose(np.array(chart[name], dtype=float).T, table[name], rtol=1e-6, atol=1e-12)
    n_significant = int(table["significant_mask"].sum())
    assert f"{n_significant} of the {len(table['features'])} coefficient" in panel["sentence"]
    assert [label for label, _ in panel["table"]["rows"]] == table["features"]


def test_model_without_coefficients_shows_permutation_importance() -> None:
    context = case_context("without coefficients")
    tables = model_panel_tables(context)
    table, chart = tables["permutation_importance"], model_panels(context, tables)["coefficients"]["chart"]
    assert chart["names"] == table["features"]
    for key, name in (("values", "values"), ("low", "low"), ("high", "high")):
        np.testing.assert_allclose(chart[key], table[name], rtol=1e-6)
    assert chart["significant"] == (table["low"] > 0).tolist()


def test_single_refit_has_a_row_per_feature() -> None:
    context = case_context("ten very long names, fitted once")
    tables = model_panel_tables(context)
    chart = model_panels(context, tables)["coefficients"]["chart"]
    np.testing.assert_allclose(chart["values"], tables["coefficients"]["coefficients"][-1], rtol=1e-6)


def test_panels_of_pages_that_were_not_drawn_say_how_to_get_them() -> None:
    panels = model_panels(case_context("three years"), {})
    assert {key: panel["chart"] for key, panel in panels.items()} == dict.fromkeys(panels)
    assert "--pages forecast" in panels["calibration"]["sentence"]
    assert "--pages model" in panels["coefficients"]["sentence"]
    assert "quantlr worth" in panels["worth"]["sentence"]
    assert coefficient_paths_panel.title.startswith(panels["coefficients"]["title"])


def test_worth_equals_the_tables_of_the_page() -> None:
    table, context = worth_of_sample().table, features_context()
    panel, expected = worth_panel(table), loss_reduction_table(context)
    assert panel["chart"]["names"] == expected["names"]
    np.testing.assert_allclose(panel["chart"]["values"], expected["values"], rtol=1e-6)
    assert panel["chart"]["significant"] == expected["significant_mask"].tolist()
    alone = alone_loss_reduction_table(context)
    rows = [cells for _, cells in panel["table"]["rows"]]
    assert [cells[1] for cells in rows] == expected["texts"]
    assert [cells[2:] for cells in rows] == [
        (number_text(value, decimals=3), text) for value, text in zip(alone["values"], alone["texts"], strict=True)
    ]


@pytest.mark.usefixtures("without_drawing")
def test_worth_is_added_to_a_report_and_replaces_the_former(tmp_path: Path) -> None:
    result, table = worth_of_sample(), worth_of_sample().table
    page = page_of(result.run.page_context).encode()
    (tmp_path / "case").mkdir()
    (tmp_path / "case" / "report.html").write_bytes(page)
    (tmp_path / "case" / "config.yaml").write_text(result.run.config.to_yaml(folder=tmp_path / "case"))
    assert read_saved_worth(tmp_path / "case") is None
    paths = result.save(tmp_path)
    added = (tmp_path / "case" / "report.html").read_bytes()
    assert tmp_path / "case" / "report.html" in paths
    assert b"Not computed, since it takes further fits" not in added
    assert add_worth_to_report(added, table) == added
    assert len(added) > len(page)
    assert add_worth_to_report(b"<html>of an earlier version</html>", table) == b"<html>of an earlier version</html>"
    saved = read_saved_worth(tmp_path / "case")
    assert saved is not None
    assert worth_panel(saved) == worth_panel(table)


def test_worth_is_of_the_config_and_prices_that_its_forecasts_depend_on(tmp_path: Path) -> None:
    config, prices = worth_of_sample().run.config, worth_of_sample().run.run_data.prices
    digest = forecasts_sha256(config, prices)
    assert set(worth_of_sample().table["forecasts_sha256"]) == {digest}
    same = config.model_copy(update={"execution": config.execution.model_copy(update={"commission_bps": 9.0})})
    assert forecasts_sha256(same, prices) == digest
    other = config.model_copy(update={"walk_forward": config.walk_forward.model_copy(update={"train": 260})})
    assert forecasts_sha256(other, prices) != digest
    assert forecasts_sha256(config, replace(prices, sha256="of other prices")) != digest
    usual, earlier = (worth_panel(worth_of_sample().table, is_earlier=is_earlier) for is_earlier in (False, True))
    assert earlier["sentence"].endswith(usual["sentence"])
    assert "earlier state" in earlier["sentence"]
    (tmp_path / "features.csv").write_text("features,statistic,holm_p_value,alone_p_value\nlag,1.0,0.5,0.5\n")
    former = read_saved_worth(tmp_path)
    assert former is not None, "of a version without the digest"
    assert digest not in set(former["forecasts_sha256"])
