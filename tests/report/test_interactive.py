"""Interactive charts: their numbers are those of the pages, within their limits of size, and a browser draws them."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import quantlr
from quantlr.core.values import Array
from quantlr.model.contributions import log_odds_contributions
from quantlr.report.context import PageContext
from quantlr.report.html import render_template, report_html
from quantlr.report.interactive import InteractivePart, interactive_data, json_for_html
from quantlr.report.pages.holdings import price_panel_table
from quantlr.report.pages.tearsheet import growth_table

from chromium import BROWSER, NO_BROWSER_REASON, ChromiumTab, open_chromium
from report.cases import case_context

MAX_ADDED_BYTES = 2_000_000
EXTREME_CASES = ("four sessions", "no trades", "ruin", "losses", "weekly", "60 very long names")
SEVERAL = "three tickers, five sessions ahead"


def series(data: dict[str, Any], columns: dict[str, Any], name: str) -> pd.Series[float]:
    """Return a column of the page by date, without the dates at which it is undefined."""
    days = np.frombuffer(base64.b64decode(data["dates"]), dtype="<i4")
    dates = pd.DatetimeIndex(days.astype("datetime64[D]")).as_unit("us")
    column = columns[name]
    if "float32" in column:
        values = np.frombuffer(base64.b64decode(column["float32"]), dtype="<f4").astype(np.float64)
    else:
        steps = np.frombuffer(base64.b64decode(column["int16"]), dtype="<i2").astype(np.float64)
        values = np.where(steps == -32_768, np.nan, steps * column["step"])
    return pd.Series(values, index=dates).dropna()


def assert_equal_to(drawn: pd.Series[float], dates: pd.DatetimeIndex, values: Array) -> None:
    expected = pd.Series(values, index=dates).dropna()
    assert (drawn.index == expected.index).all()
    np.testing.assert_allclose(drawn, expected, rtol=1e-6, atol=expected.abs().max() / 60_000)


@pytest.mark.parametrize("name", ["price", "net_equity", "gross_equity", "benchmark_equity"])
def test_prices_and_equities_have_seven_digits(name: str) -> None:
    context = case_context("three years")
    data, growth = interactive_data(context), growth_table(context)
    if name == "price":
        drawn, expected = series(data, data["tickers"][0]["columns"], name), context.run_data.result.price[:, 0]
    else:
        drawn, expected = series(data, data["columns"], name), growth[name]
    np.testing.assert_allclose(drawn, expected, rtol=1e-7)


@pytest.mark.parametrize("case", ["three years", SEVERAL, "missing months"])
def test_numbers_equal_the_tables_of_the_pages(case: str) -> None:
    context = case_context(case)
    data, run_data = interactive_data(context), context.run_data
    growth = growth_table(context)
    for name in ("net_equity", "gross_equity", "benchmark_equity", "net_drawdown", "benchmark_drawdown"):
        assert_equal_to(series(data, data["columns"], name), growth["dates"], growth[name])
    for index, ticker in enumerate(data["tickers"]):
        own_trades = context.trades[context.trades["ticker"] == ticker["ticker"]]
        prices = price_panel_table(run_data.result, index, own_trades, name="", fill="next_close")
        assert_equal_to(series(data, ticker["columns"], "price"), prices["dates"], prices["price"])
        forecasts = run_data.forecasts
        rows = forecasts.ticker == index
        dates = forecasts.sessions[forecasts.session[rows]]
        for name in ("probability", "base_rate", "up"):
            assert_equal_to(series(data, ticker["columns"], name), dates, getattr(forecasts, name)[rows])
        starts = run_data.result.fill_dates[:-1]
        assert_equal_to(series(data, ticker["columns"], "weight"), starts, run_data.result.weight[:, index])
        assert_equal_to(series(data, ticker["columns"], "cost"), starts, run_data.result.ticker_cost[:, index])
        assert len(ticker["trades"]["long"][0]) == int((own_trades["side"] == "long").sum())


def test_contributions_equal_those_of_predict_and_sum_to_the_log_odds() -> None:
    config = {
        "name": "case",
        "data": {"source": {"kind": "sample"}, "tickers": ["MSFT", "IBM"], "start": "2000-03-01", "end": "2002-06-30"},
        "features": [{"kind": "lagged_returns", "lags": [1, 2]}, {"kind": "volatility", "windows": [20]}],
        "walk_forward": {"train": 250},
        "model": {"calibration": "platt"},
    }
    data, predictions = quantlr.run(config).run_data, quantlr.predict(config)
    for index, prediction in enumerate(predictions.tickers):
        newest = log_odds_contributions(data.dataset, data.forecasts, index)[-1]
        np.testing.assert_allclose(newest, [part.log_odds for part in prediction.contributions], rtol=1e-9)
        assert prediction.at_the_mean is not None
        assert newest.sum() + prediction.at_the_mean == pytest.approx(prediction.log_odds)


@pytest.mark.parametrize("scope", ["per_ticker", "pooled"])
def test_contributions_equal_a_loop_over_forecasts(scope: str) -> None:
    config = {
        "name": "case",
        "data": {"source": {"kind": "sample"}, "tickers": ["MSFT", "IBM"], "start": "2000-03-01", "end": "2002-06-30"},
        "features": [{"kind": "lagged_returns", "lags": [1, 2]}],
        "walk_forward": {"train": 250},
        "model": {"scope": scope},
    }
    run = quantlr.run(config)
    data, coefficients = run.run_data, run.coefficients
    dataset, forecasts = data.dataset, data.forecasts
    for ticker in range(2):
        contributions = log_odds_contributions(dataset, forecasts, ticker)
        models = coefficients[coefficients["ticker"].isna() | (coefficients["ticker"] == dataset.tickers[ticker])]
        for row, forecast in list(enumerate(np.flatnonzero(forecasts.ticker == ticker)))[::37]:
            fold = forecasts.fold[forecast]
            folds = [forecasts.folds[ticker]] if scope == "per_ticker" else forecasts.folds
            training_rows = np.concatenate(
                [np.arange(len(dataset.up))[ticker_folds[fold].train] for ticker_folds in folds]
            )
            training_rows = training_rows[~np.isnan(dataset.up[training_rows])]
            own = (dataset.ticker == ticker) & (dataset.session == forecasts.session[forecast])
            distance = dataset.features[own][0] - dataset.features[training_rows].mean(axis=0)
            weights = models.iloc[fold][list(dataset.columns)].to_numpy(dtype=float)
            np.testing.assert_allclose(contributions[row], weights * distance, rtol=1e-8)


@pytest.mark.parametrize("case", EXTREME_CASES)
def test_every_run_has_charts_with_sentences_and_tables(case: str) -> None:
    part = InteractivePart.from_context(case_context(case))
    assert list(part.texts) == ["price", "probability", "equity", "drawdown"]
    for chart in part.texts.values():
        assert chart["sentence"].endswith(".")
        assert "nan" not in chart["sentence"] + str(chart["table"])
        assert all(len(cells) == len(chart["table"]["columns"]) for _, cells in chart["table"]["rows"])
    assert len(part.json) + sum(map(len, part.scripts)) < MAX_ADDED_BYTES


def test_large_runs_leave_out_tickers_and_say_so() -> None:
    context = case_context("60 very long names")
    data = interactive_data(context)
    assert 1 <= len(data["tickers"]) < 60
    assert f"first {len(data['tickers'])} of 60 tickers" in data["remark"]
    assert interactive_data(case_context(SEVERAL))["remark"] == ""


def test_table_by_year_has_values_at_the_end_of_each_year() -> None:
    context = case_context("three years")
    growth = growth_table(context)
    by_year = pd.Series(growth["net_equity"], index=growth["dates"]).groupby(growth["dates"].year).last()
    rows = interactive_data(context)["charts"]["equity"]["table"]["rows"]
    assert [(label, cells[0]) for label, cells in rows] == [
        (str(year), f"{value:.2f}") for year, value in by_year.items()
    ]
    fall = pd.Series(growth["net_drawdown"], index=growth["dates"]).groupby(growth["dates"].year).min()
    rows = interactive_data(context)["charts"]["drawdown"]["table"]["rows"]
    assert [cells[0] for _, cells in rows] == [f"{100 * value:.1f}%".replace("-", "−") for value in fall]


def test_sessions_held_by_year_equal_the_mean_of_signs_of_weights() -> None:
    context = case_context("three years")
    result = context.run_data.result
    signs = pd.Series(result.weight[:, 0] > 0, index=result.fill_dates[:-1]).groupby(result.fill_dates[:-1].year).mean()
    rows = interactive_data(context)["tickers"][0]["charts"]["price"]["table"]["rows"]
    for (label, cells), (year, share) in list(zip(rows, signs.items(), strict=True))[:-1]:  # no return after the last
        assert (label, cells[1]) == (str(year), f"{100 * share:.1f}%")


def test_json_can_stand_in_a_script_element() -> None:
    value = {"</script><!--": ["<b>", float("nan")]}
    assert "<" not in json_for_html(value)
    assert json.loads(json_for_html(value)) == {"</script><!--": ["<b>", None]}


def page_of(context: PageContext) -> str:
    provenance = {"data": {"source": "made up", "sha256": "ab12"}, "versions": {"python": "3.11"}}
    return report_html(context, {}, config_yaml="", provenance=provenance, trades_by_side=pd.DataFrame()).decode()


def test_policy_allows_the_scripts_of_the_page_by_their_hashes_and_no_other() -> None:
    text = page_of(case_context("three years"))
    scripts = re.findall(r"<script>(.*?)</script>", text, flags=re.DOTALL)
    hashes = {base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts}
    (policy,) = re.findall(r'script-src ([^"]*)"', text)
    assert {source.removeprefix("'sha256-").rstrip("'") for source in unescape(policy).split()} == hashes
    assert len(scripts) == 3


needs_browser = pytest.mark.skipif(BROWSER is None, reason=NO_BROWSER_REASON)


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChromiumTab]:
    """Return a browser that shows the report of a run with several tickers."""
    folder = tmp_path_factory.mktemp("interactive")
    (folder / "report.html").write_text(page_of(case_context(SEVERAL)))
    with open_chromium(folder / "profile") as tab:
        tab.resize(1200, 1500)
        tab.open((folder / "report.html").as_uri())
        tab.wait_for("interactiveCharts.drawn.then(() => true)")
        yield tab


def hover(tab: ChromiumTab, key: str, fraction: float) -> None:
    """Move the mouse over a chart, to a fraction of its width."""
    box = f"document.querySelector('[data-part={key}] .canvas')"
    tab.evaluate(f"{box}.scrollIntoView({{block: 'center', behavior: 'instant'}})")
    left, top, width, height = tab.evaluate(
        f"(() => {{ const r = {box}.getBoundingClientRect(); return [r.x, r.y, r.width, r.height]; }})()"
    )
    for step in (0, 1):
        tab.move_mouse(left + fraction * width + step, top + height / 2)


@needs_browser
def test_crosshair_is_at_one_session_in_all_charts(tab: ChromiumTab) -> None:
    tab.evaluate("document.querySelector('[data-part=all]').click()")
    sessions = []
    for key, fraction in (("price", 0.3), ("drawdown", 0.6)):
        before = tab.evaluate("interactiveCharts.session")
        hover(tab, key, fraction)
        tab.wait_for(f"interactiveCharts.session !== '{before}'")
        sessions.append(tab.evaluate("interactiveCharts.session"))
        tab.wait_for(f"document.querySelector('[data-part=readout] dd').textContent === '{sessions[-1]}'")
        locations = tab.evaluate("Object.values(interactiveCharts.charts).map(chart => chart.span.location)")
        assert len(locations) == 4
        assert {pd.Timestamp(value, unit="ms").strftime("%Y-%m-%d") for value in locations} == {sessions[-1]}
    assert sessions[0] < sessions[1]


@needs_browser
def test_readout_has_the_numbers_of_the_session(tab: ChromiumTab) -> None:
    context = case_context(SEVERAL)
    tab.evaluate("interactiveCharts.select(200)")
    forecasts = context.run_data.forecasts
    session = forecasts.sessions[np.unique(forecasts.session)][200]
    tab.wait_for(f"document.querySelector('[data-part=readout] dd').textContent === '{session:%Y-%m-%d}'")
    text = tab.evaluate("document.querySelector('[data-part=readout]').textContent")
    row = np.flatnonzero((forecasts.ticker == 0) & (forecasts.sessions[forecasts.session] == session))[0]
    assert f"{100 * forecasts.probability[row]:.1f}%" in text
    equity = growth_table(context)
    (value,) = equity["net_equity"][equity["dates"] == session]
    assert f"{value:.4f}" in text
    for name in forecasts.refits.columns:
        assert name in text


@needs_browser
def test_zoom_is_the_same_in_all_charts_and_heights_follow(tab: ChromiumTab) -> None:
    tab.evaluate("document.querySelector('[data-part=all]').click()")
    wide = tab.evaluate("[interactiveCharts.xRange.start, interactiveCharts.xRange.end]")
    tab.evaluate("document.querySelector('[data-part=in]').click()")
    ranges = tab.evaluate(
        "Object.values(interactiveCharts.charts).map(({figure}) => [figure.x_range.start, figure.x_range.end])"
    )
    assert all(pair == ranges[0] for pair in ranges)
    assert ranges[0][1] - ranges[0][0] == pytest.approx((wide[1] - wide[0]) / 2)
    height = "interactiveCharts.charts.price.figure.y_range"
    shown = tab.evaluate(f"[{height}.start, {height}.end]")
    data = interactive_data(case_context(SEVERAL))
    price = series(data, data["tickers"][0]["columns"], "price")
    inside = price[
        (price.index >= pd.Timestamp(ranges[0][0], unit="ms")) & (price.index <= pd.Timestamp(ranges[0][1], unit="ms"))
    ]
    assert shown[0] <= inside.min() <= inside.max() <= shown[1]
    assert shown[1] - shown[0] < 1.3 * (inside.max() - inside.min())


@needs_browser
def test_another_ticker_changes_its_charts_only(tab: ChromiumTab) -> None:
    title = "document.querySelector('[data-part=price] p').textContent"
    equity = tab.evaluate("Array.from(interactiveCharts.source.data.net_equity)")
    before = tab.evaluate(title)
    tab.evaluate(
        "(() => { const menu = document.querySelector('[data-part=ticker]');"
        " menu.value = menu.options[1].value; menu.dispatchEvent(new Event('change')); })()"
    )
    assert tab.evaluate(title) != before
    assert tab.evaluate("Array.from(interactiveCharts.source.data.net_equity)") == equity


@needs_browser
def test_newer_data_keep_zoom_and_session(tab: ChromiumTab) -> None:
    tab.evaluate("document.querySelector('[data-part=in]').click(); interactiveCharts.select(150)")
    state = "[interactiveCharts.xRange.start, interactiveCharts.xRange.end, interactiveCharts.session]"
    before = tab.evaluate(state)
    context = case_context(SEVERAL)
    result = replace(context.run_data.result, equity=2 * context.run_data.result.equity)
    newer = json_for_html(interactive_data(replace(context, run_data=replace(context.run_data, result=result))))
    tab.evaluate(f"interactiveCharts.update({newer})")
    assert tab.evaluate(state) == before
    assert tab.evaluate("interactiveCharts.source.data.net_equity[100]") == pytest.approx(result.equity[98], rel=1e-6)


@needs_browser
@pytest.mark.parametrize("dark", [False, True])
def test_charts_are_drawn_in_the_colours_of_the_page_without_messages(
    tab: ChromiumTab, tmp_path: Path, dark: bool
) -> None:
    tab.screenshot(tmp_path / "page.png", width=1200, height=1500, dark=dark)
    ink = tab.evaluate("interactiveCharts.charts.price.figure.xaxes[0].major_label_text_color")
    assert ink == tab.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--ink').trim()")
    assert tab.messages == []


@needs_browser
def test_page_fits_a_phone(tab: ChromiumTab) -> None:
    tab.resize(390, 800)
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    tab.resize(1200, 1500)


def test_notebook_page_is_complete_in_itself() -> None:
    context = case_context("three years")
    page = render_template("interactive_page.html", context=context, interactive=InteractivePart.from_context(context))
    assert "<main data-interactive>" in page
    assert not re.search(r"<(link|script|img)[^>]* (src|href)=", page)
