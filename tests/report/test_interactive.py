"""Interactive charts: their numbers are those of the pages, within their limits of size, and a browser draws them."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import zlib
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
from quantlr.model.contributions import LogOddsContributions
from quantlr.report.context import PageContext
from quantlr.report.html import render_template, report_html
from quantlr.report.interactive import interactive_data, json_for_html
from quantlr.report.interactive_page import InteractivePart, bokeh_script
from quantlr.report.model_panels import model_panel_tables, model_panels
from quantlr.report.pages.coefficients import coefficient_table
from quantlr.report.pages.holdings import price_panel_table
from quantlr.report.pages.layout import Picture, Table
from quantlr.report.pages.tearsheet import growth_table

from chromium import BROWSER, NO_BROWSER_REASON, ChromiumTab, open_chromium
from report.cases import case_context

MAX_ADDED_BYTES = 2_000_000
EXTREME_CASES = ("four sessions", "no trades", "ruin", "losses", "weekly", "60 very long names")
SEVERAL = "three tickers, five sessions ahead"


def array(owner: dict[str, Any], place: dict[str, Any]) -> Array:
    """Return an array of the run or of one of its tickers, NaN where undefined."""
    dtype = {"int16": "<i2", "int32": "<i4", "float32": "<f4"}[place["type"]]
    content = zlib.decompress(base64.b64decode(owner["numbers"]))
    values = np.frombuffer(content, dtype, place["length"], place["start"]).astype(np.float64)
    return np.where(values == -32_768, np.nan, values * place["step"]) if "step" in place else values


def dates_of(data: dict[str, Any]) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(array(data, data["dates"]).astype("datetime64[D]")).as_unit("us")


def series(data: dict[str, Any], owner: dict[str, Any], name: str) -> pd.Series[float]:
    """Return a column of the run or of a ticker by date, without the dates at which it is undefined."""
    return pd.Series(array(owner, owner["columns"][name]), index=dates_of(data)).dropna()


def assert_equal_to(drawn: pd.Series[float], dates: pd.DatetimeIndex, values: Array) -> None:
    expected = pd.Series(values, index=dates).dropna()
    assert (drawn.index == expected.index).all()
    np.testing.assert_allclose(drawn, expected, rtol=1e-6, atol=expected.abs().max() / 60_000)


def assert_trades_equal(data: dict[str, Any], ticker: dict[str, Any], expected: pd.DataFrame) -> None:
    """Compare a ticker's trades with rows of ``trades.csv``."""
    trades, dates = {name: array(ticker, place) for name, place in ticker["trades"].items()}, dates_of(data)
    assert (dates[trades["entry"].astype(int)] == expected["entry"]).all()
    exit_ = pd.Series(dates[trades["exit"].astype(int)], index=expected.index)
    assert (exit_ == expected["exit"].fillna(dates[-1])).all()
    assert (np.where(trades["size"] > 0, "long", "short") == expected["side"]).all()
    for name in ("return", "cost", "profit"):
        np.testing.assert_allclose(trades[name], expected[name], atol=expected[name].abs().max() / 60_000)
    np.testing.assert_allclose(np.abs(trades["size"]), expected["size"], atol=expected["size"].max() / 60_000)


@pytest.mark.parametrize("name", ["price", "net_equity", "gross_equity", "benchmark_equity"])
def test_prices_and_equities_have_seven_digits(name: str) -> None:
    context = case_context("three years")
    data, growth = interactive_data(context), growth_table(context)
    if name == "price":
        drawn, expected = series(data, data["tickers"][0], name), context.run_data.result.price[:, 0]
    else:
        drawn, expected = series(data, data, name), growth[name]
    np.testing.assert_allclose(drawn, expected, rtol=1e-7)


@pytest.mark.parametrize("case", ["three years", SEVERAL, "missing months"])
def test_numbers_equal_the_tables_of_the_pages(case: str) -> None:
    context = case_context(case)
    data, run_data = interactive_data(context), context.run_data
    growth = growth_table(context)
    for name in ("net_equity", "gross_equity", "benchmark_equity", "net_drawdown", "benchmark_drawdown"):
        assert_equal_to(series(data, data, name), growth["dates"], growth[name])
    for index, ticker in enumerate(data["tickers"]):
        own_trades = context.trades[context.trades["ticker"] == ticker["ticker"]]
        prices = price_panel_table(context, index, own_trades)
        assert_equal_to(series(data, ticker, "price"), prices["dates"], prices["price"])
        forecasts = run_data.forecasts
        rows = forecasts.ticker == index
        dates = forecasts.sessions[forecasts.session[rows]]
        for name in ("probability", "base_rate", "up"):
            assert_equal_to(series(data, ticker, name), dates, getattr(forecasts, name)[rows])
        starts = run_data.result.fill_dates[:-1]
        assert_equal_to(series(data, ticker, "weight"), starts, run_data.result.weight[:, index])
        assert_equal_to(series(data, ticker, "cost"), starts, run_data.result.ticker_cost[:, index])
        assert_trades_equal(data, ticker, own_trades)


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
        newest = LogOddsContributions(data.dataset, data.forecasts).of_ticker(index)[-1]
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
        contributions = LogOddsContributions(dataset, forecasts).of_ticker(ticker)
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
    part = InteractivePart.from_context(case_context(case), {})
    assert list(part.texts) == ["price", "trades", "probability", "equity", "drawdown"]
    for chart in part.texts.values():
        assert chart["sentence"].endswith(".")
        assert "nan" not in chart["sentence"] + str(chart["table"])
        assert all(len(cells) == len(chart["table"]["columns"]) for _, cells in chart["table"]["rows"])
    assert len(part.json) + len(part.bokeh) + sum(map(len, part.scripts)) < MAX_ADDED_BYTES


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


def page_of(context: PageContext, tables: dict[str, Table] | None = None) -> str:
    """Return a report without pictures, with the tables of panels of its pages by key."""
    provenance = {"data": {"source": "made up", "sha256": "ab12"}, "versions": {"python": "3.11"}}
    pictures = {"page.png": Picture("Page", "", "", "", b"", 3, 2, tables=tables)} if tables else {}
    return report_html(context, pictures, config_yaml="", provenance=provenance, trades_by_side=pd.DataFrame()).decode()


def test_policy_allows_the_scripts_of_the_page_by_their_hashes_and_no_other() -> None:
    text = page_of(case_context("three years"))
    scripts = re.findall(r"<script>(.*?)</script>", text, flags=re.DOTALL)
    (policy,) = re.findall(r'script-src ([^"]*)"', text)
    (packed,) = re.findall(r"<script type=\"text/plain\" data-bokeh>(.*?)</script>", text, flags=re.DOTALL)
    scripts.append(zlib.decompress(base64.b64decode(packed)).decode())
    assert scripts[-1] == bokeh_script()
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    assert sorted(source.removeprefix("'sha256-").rstrip("'") for source in unescape(policy).split()) == sorted(hashes)


needs_browser = pytest.mark.skipif(BROWSER is None, reason=NO_BROWSER_REASON)


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChromiumTab]:
    """Return a browser that shows the report of a run with several tickers."""
    folder = tmp_path_factory.mktemp("interactive")
    context = case_context(SEVERAL)
    (folder / "report.html").write_text(page_of(context, model_panel_tables(context)))
    with open_chromium(folder / "profile") as tab:
        tab.resize(1200, 1500)
        tab.open((folder / "report.html").as_uri())
        tab.wait_for("window.interactiveCharts !== undefined")
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
    price = series(data, data["tickers"][0], "price")
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


def chosen_trade(tab: ChromiumTab) -> str:
    return str(tab.evaluate("document.querySelector('[data-part=trade]').textContent"))


@needs_browser
def test_trade_chosen_from_the_list_is_shown_and_enlarged(tab: ChromiumTab) -> None:
    tab.evaluate("document.querySelector('[data-part=trade-list]').open = true")
    tab.evaluate("document.querySelector('[data-part=all]').click()")
    tab.evaluate("document.querySelector('[data-part=ticker]').selectedIndex = 0")
    tab.evaluate("document.querySelector('[data-part=ticker]').dispatchEvent(new Event('change'))")
    context = case_context(SEVERAL)
    trades = context.trades[context.trades["ticker"] == context.forecast_tickers[0]].reset_index(drop=True)
    worst = trades.iloc[int((trades["return"] - trades["cost"]).argmin())]
    order = "document.querySelector('[data-part=trade-order]')"
    tab.evaluate(f"{order}.value = 'worst'; {order}.dispatchEvent(new Event('change'))")
    tab.wait_for("document.querySelectorAll('[data-part=trade-rows] button').length > 0")
    tab.evaluate("document.querySelector('[data-part=trade-rows] button').focus()")
    for kind in ("rawKeyDown", "char", "keyUp"):  # as a keyboard does
        tab.send("Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter", windowsVirtualKeyCode=13, text="\r")
    tab.wait_for("interactiveCharts.trades.chosen >= 0")
    text = chosen_trade(tab)
    assert f"{worst['entry']:%Y-%m-%d}" in text
    assert f"{100 * (worst['return'] - worst['cost']):.2f}%".replace("-", "−") in text
    assert f"{100 * worst['cost']:.3f}%" in text
    assert str(worst["side"]) in text
    start, end = tab.evaluate("[interactiveCharts.xRange.start, interactiveCharts.xRange.end]")
    assert start < worst["entry"].timestamp() * 1000 < end
    assert end - start < 5 * max((worst["exit"] - worst["entry"]).total_seconds() * 1000, 20 * 86_400_000)
    assert tab.evaluate("interactiveCharts.session") == f"{worst['entry']:%Y-%m-%d}"
    pressed = "document.querySelector('[data-part=trade-rows] [aria-pressed=true]').textContent"
    assert tab.evaluate(pressed) == f"{worst['entry']:%Y-%m-%d}"


@needs_browser
def test_trade_clicked_in_the_chart_of_the_price_is_shown(tab: ChromiumTab) -> None:
    tab.evaluate("interactiveCharts.trades.choose(-1); document.querySelector('[data-part=all]').click()")
    box = "document.querySelector('[data-part=price] .canvas')"
    tab.evaluate(f"{box}.scrollIntoView({{block: 'center', behavior: 'instant'}})")
    left, top, width, height = tab.evaluate(
        f"(() => {{ const r = {box}.getBoundingClientRect(); return [r.x, r.y, r.width, r.height]; }})()"
    )
    context = case_context(SEVERAL)
    trades = context.trades[context.trades["ticker"] == context.forecast_tickers[0]]
    longest = trades.iloc[int((trades["exit"] - trades["entry"]).argmax())]
    middle = (longest["entry"] + (longest["exit"] - longest["entry"]) / 2).timestamp() * 1000
    start, end = tab.evaluate("[interactiveCharts.xRange.start, interactiveCharts.xRange.end]")
    x = left + 62 + (width - 70) * (middle - start) / (end - start)  # 62 and 8 pixels beside the axes
    for kind in ("mousePressed", "mouseReleased"):
        tab.send("Input.dispatchMouseEvent", type=kind, x=x, y=top + height / 2, button="left", clickCount=1)
    tab.wait_for("interactiveCharts.trades.chosen >= 0")
    assert f"{longest['entry']:%Y-%m-%d}" in chosen_trade(tab)
    assert f"{longest['exit']:%Y-%m-%d}" in chosen_trade(tab)


@needs_browser
def test_coefficients_share_the_time_axis_and_a_name_shows_its_interval(tab: ChromiumTab) -> None:
    tab.evaluate("document.querySelector('[data-part=in]').click(); interactiveCharts.select(300)")
    panel = "interactiveCharts.panels.shown.coefficients"
    ranges = [
        tab.evaluate(f"[{name}.start, {name}.end]") for name in ("interactiveCharts.xRange", f"{panel}.figure.x_range")
    ]
    assert ranges[0] == ranges[1]
    tab.wait_for(f"{panel}.crosshair.location === interactiveCharts.charts.price.span.location")
    names = coefficient_table(case_context(SEVERAL))["features"]
    buttons = "document.querySelectorAll('[data-part=coefficients] .legend button')"
    assert tab.evaluate(f"Array.from({buttons}, button => button.textContent)") == names
    tab.evaluate(f"{buttons}[1].click()")
    alphas = f"{panel}.glyphs.slice(0, {len(names)}).map(({{glyph}}) => glyph.line_alpha.value)"
    assert tab.evaluate(alphas) == [0.25, 1]
    tab.evaluate(f"{buttons}[1].click()")
    assert tab.evaluate(alphas) == [1, 1]


@needs_browser
def test_newer_panels_replace_the_former_ones(tab: ChromiumTab) -> None:
    context = case_context(SEVERAL)
    panels = model_panels(context, model_panel_tables(context))
    chart = {
        "kind": "rows",
        "names": ["a", "b"],
        "values": [1.0, -1.0],
        "texts": ["1", "-1"],
        "significant": [True, False],
    }
    other = {**panels, "coefficients": panels["coefficients"] | {"chart": chart}}
    for newer, kind in ((other, "rows"), (panels, "paths")):
        tab.evaluate(f"interactiveCharts.panels.update({json_for_html(newer)})")
        assert tab.evaluate("interactiveCharts.panels.shown.coefficients.chart.kind") == kind
        assert tab.evaluate("document.querySelectorAll('[data-part=coefficients] .bk-Figure').length") == 1
    assert tab.evaluate("document.querySelector('[data-part=worth] .canvas').hidden")
    assert tab.messages == []


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
    page = render_template(
        "interactive_page.html", context=context, interactive=InteractivePart.from_context(context, {})
    )
    assert "<main data-interactive>" in page
    assert not re.search(r"<(link|script|img)[^>]* (src|href)=\"(?!data:)", page)
