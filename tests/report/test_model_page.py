"""The page on the model: coefficients, losses and learning rates agree with statsmodels and with the formulas."""

from __future__ import annotations

import io
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
import quantlr
import statsmodels.api as sm
from matplotlib.colors import to_hex
from matplotlib.dates import date2num
from matplotlib.figure import Figure
from matplotlib.image import imread
from quantlr.core.values import Array
from quantlr.experiment.run import Run
from quantlr.report.context import PageContext
from quantlr.report.pages.coefficients import coefficient_table
from quantlr.report.pages.layout import figure_png, use_matplotlib_defaults
from quantlr.report.pages.learning_rate import (
    MIN_PLOTTED_EXCESS_LOSS,
    excess_loss_by_refit_table,
    loss_by_learning_rate_table,
)
from quantlr.report.pages.model import MODEL_PAGE, model_title_and_text, ordinal_text
from quantlr.report.style import BLUE, GREY
from scipy.special import expit, logit

from report.drawn_text import text_collisions

SMALL: dict[str, Any] = {
    "name": "case",
    "data": {"source": {"kind": "sample"}, "tickers": ["MSFT"], "start": "2000-03-01", "end": "2002-06-30"},
    "features": [{"kind": "lagged_returns", "lags": [1, 2]}],
    "walk_forward": {"train": 250},
}
INDEX: dict[str, Any] = {
    "name": "index",
    "data": {"source": {"kind": "sample"}, "tickers": ["^GSPC"], "end": "2005-12-31"},
    "features": [{"kind": "lagged_returns", "lags": [1, 2, 3]}, {"kind": "volatility", "windows": [20]}],
    "walk_forward": {"train": 800, "refit_every": 60},
    "model": {"tol": 1e-12},
}
LAGS = [{"kind": "lagged_returns", "lags": list(range(1, 41))}]
CONSTANT = {"kind": "clip", "of": {"kind": "lagged_returns", "lags": [2]}, "low": 0.5, "high": 0.6}
SHORT = {"train": 5, "refit_every": 5, "window": "rolling"}
CASES: dict[str, dict[str, Any]] = {
    "four sessions": {"data.end": "2001-03-07"},
    "forty features, weighted rows and a penalty": {
        "features": LAGS, "model.class_weight": "balanced", "model.half_life": 200, "model.l2": 0.01,
    },
    "forty features, fitted once": {"features": LAGS, "walk_forward.refit_every": "never"},
    "one feature, with momentum": {"features.0.lags": [1], "model.solver": "nesterov"},
    "constant feature, configured learning rate, unconverged": {
        "features": [SMALL["features"][0], CONSTANT], "model.solver": "gradient_descent", "model.learning_rate": 0.02,
        "model.max_iter": 30,
    },
    "some refits without a finite minimum": {"walk_forward": SHORT, "model.degenerate": "base_rate"},
    "no refit with a finite minimum": {
        "features.0.lags": [1, 2, 3, 4, 5, 6], "walk_forward": SHORT, "model.degenerate": "base_rate",
    },
    "three tickers, weekly, calibrated": {
        "data.tickers": ["MSFT", "IBM", "AAPL"], "label.horizon": 5, "model.calibration": "platt",
    },
    "three tickers, one model": {"data.tickers": ["MSFT", "IBM", "AAPL"], "model.scope": "pooled"},
}  # fmt: skip


def page_context(run: Run) -> PageContext:
    return PageContext.from_run(run.config, run.run_data, run.metrics, run.notes)


@cache
def case_context(case: str) -> PageContext:
    return page_context(quantlr.run(SMALL, overrides=CASES[case]))


@pytest.fixture(scope="module")
def run() -> Run:
    return quantlr.run(INDEX)


@pytest.fixture(scope="module")
def page(run: Run) -> Figure:
    return MODEL_PAGE.draw_figure(page_context(run))


def panel_axes(page: Figure, title: str) -> Any:
    return next(ax for ax in page.axes if ax.get_title(loc="left").startswith(title))


def coefficient_charts(page: Figure) -> list[Any]:
    return list(panel_axes(page, "Standardised coefficients").child_axes)


def labelled_curves(ax: Any) -> dict[str, tuple[Array, Array]]:
    return {
        str(line.get_label()): (np.asarray(line.get_xdata(), dtype=float), np.asarray(line.get_ydata(), dtype=float))
        for line in ax.lines
        if not str(line.get_label()).startswith("_")
    }


def training_rows(run: Run, refit: int) -> tuple[Array, Array]:
    """Return the standardised design matrix, and the labels known when the refit first forecasts."""
    data, session = run.run_data.dataset, run.run_data.forecasts.refits.session[refit]
    train = (data.label_known_at <= session) & ~np.isnan(data.up)
    X = data.features[train]
    return sm.add_constant((X - X.mean(axis=0)) / X.std(axis=0)), data.up[train]


def fit_statsmodels(run: Run, refit: int) -> Any:
    S, y = training_rows(run, refit)
    return sm.Logit(y, S).fit(method="newton", tol=1e-13, maxiter=100, disp=0)


def test_coefficients_and_standard_errors_are_those_of_statsmodels(run: Run, page: Figure) -> None:
    refits, table = run.run_data.forecasts.refits, coefficient_table(page_context(run))
    dataset = run.run_data.dataset
    assert len(refits.iterations) > 10
    dates = run.run_data.forecasts.sessions[refits.session]
    std = np.array([dataset.features[dataset.label_known_at <= session].std(axis=0) for session in refits.session])
    charts = {chart.texts[0].get_text(): chart for chart in coefficient_charts(page)}
    for feature, name in enumerate(refits.columns):
        column = table["features"].index(name)
        weights = refits.coefficients[:, 1 + feature] * std[:, feature]
        np.testing.assert_allclose(table["coefficients"][:, column], weights, rtol=1e-9)
        line = charts[name].lines[1]
        np.testing.assert_array_equal(line.get_ydata(), table["coefficients"][:, column])
        np.testing.assert_array_equal(date2num(line.get_xdata()), date2num(dates))
        for refit in (0, 7, len(weights) - 1):
            half_width = 1.959964 * fit_statsmodels(run, refit).bse[1 + feature]
            assert table["low"][refit, column] == pytest.approx(weights[refit] - half_width, rel=1e-5)
            assert table["high"][refit, column] == pytest.approx(weights[refit] + half_width, rel=1e-5)


def test_features_are_in_order_of_their_z_statistics(run: Run, page: Figure) -> None:
    context = page_context(run)
    refits, charts = run.run_data.forecasts.refits, coefficient_charts(page)
    fit = fit_statsmodels(run, len(refits.iterations) - 1)
    order = np.argsort(-np.abs(fit.tvalues[1:]))
    assert [chart.texts[0].get_text() for chart in charts] == [refits.columns[index] for index in order]
    is_significant = (fit.pvalues < 0.05)[1:]
    assert 0 < is_significant.sum() < len(is_significant)
    colors = [to_hex(chart.lines[1].get_color()).upper() for chart in charts]
    assert colors == [BLUE if is_significant[index] else GREY for index in order]
    signs = np.sign(refits.coefficients[:, 1:])
    stability = 100 * (signs == signs[-1]).mean(axis=0)
    for text, index in zip(coefficient_table(context)["texts"], order, strict=True):
        expected = f"{fit.params[1 + index]:.3f} ± {fit.bse[1 + index]:.3f}, same sign {stability[index]:.0f}%"
        assert text == expected.replace("-", "−")
    title, text = model_title_and_text(context)
    assert title.startswith(f"{is_significant.sum()} of 4 coefficients")
    assert page.texts[0].get_text() == title
    assert f"{len(refits.iterations)} refits: {refits.iterations.mean():.1f} iterations on average" in text


def test_sigmoid_and_observed_frequencies_are_those_of_pandas_groups(run: Run, page: Figure) -> None:
    ax, table = panel_axes(page, "Sigmoid"), run.forecasts.dropna(subset="up")
    z, probability = labelled_curves(ax)["sigmoid"]
    np.testing.assert_allclose(probability, expit(z), rtol=1e-12)
    bin_log_odds, frequency = labelled_curves(ax)["observed, 95%"]
    group = pd.qcut(table["probability"], 10, labels=False)
    means = table.assign(up=table["up"].astype(float)).groupby(group)[["probability", "up"]].mean()
    np.testing.assert_allclose(bin_log_odds, logit(means["probability"]), atol=2e-3)
    np.testing.assert_allclose(frequency, means["up"], atol=0.02)
    heights = np.array([bar.get_height() for bar in ax.patches])
    edges = np.append([bar.get_x() for bar in ax.patches], z[-1])
    counts = np.histogram(logit(table["probability"]), bins=edges)[0]
    np.testing.assert_allclose(heights / heights.max(), counts / counts.max(), atol=0.02)
    full, slope = panel_axes(page, "Full sigmoid").lines, panel_axes(page, "Slope").lines
    for line, values in ((full[0], expit), (slope[0], lambda z: expit(z) * (1 - expit(z)))):
        np.testing.assert_allclose(line.get_ydata(), values(np.asarray(line.get_xdata())), atol=1e-15)
    central_range = logit(np.quantile(table["probability"], [0.005, 0.995]))
    used = np.asarray(full[1].get_xdata())
    np.testing.assert_allclose([used[0], used[-1]], central_range, atol=0.051)


def test_calibrated_forecasts_are_drawn_at_their_calibrated_log_odds() -> None:
    calibrated = quantlr.run(INDEX, overrides={"model.calibration": "platt"})
    assert not (calibrated.run_data.forecasts.refits.platt_coefficients == [0.0, 1.0]).all()
    ax = panel_axes(MODEL_PAGE.draw_figure(page_context(calibrated)), "Sigmoid")
    probability = calibrated.forecasts.dropna(subset="up")["probability"].to_numpy()
    bin_log_odds, _ = labelled_curves(ax)["observed, 95%"]
    parts = np.array_split(np.sort(probability), 10)
    np.testing.assert_allclose(expit(bin_log_odds), [part.mean() for part in parts], atol=1e-3)
    assert "Platt" in ax.get_xlabel()


def test_excess_losses_begin_at_the_base_rate_and_end_at_the_minimum_of_statsmodels(run: Run, page: Figure) -> None:
    refits, table = run.run_data.forecasts.refits, excess_loss_by_refit_table(page_context(run))
    drawn = np.linspace(0, len(refits.session) - 1, 5).round().astype(int)
    dates = run.run_data.forecasts.sessions[refits.session[drawn]]
    ax = panel_axes(page, "Training loss")
    assert list(labelled_curves(ax)) == table["labels"] == [f"{date:%b %Y}" for date in dates]
    for refit, excess in zip(drawn, table["excess_loss"], strict=True):
        y, log_likelihood = training_rows(run, refit)[1], fit_statsmodels(run, refit).llf
        base_rate = y.mean()
        entropy = -base_rate * np.log(base_rate) - (1 - base_rate) * np.log(1 - base_rate)
        assert excess[0] == pytest.approx(entropy + log_likelihood / len(y), rel=1e-8)
        assert excess[~np.isnan(excess)][-1] <= 1e-15
    for iterations, excess in labelled_curves(ax).values():
        assert iterations[0] == 0
        assert np.nanmin(excess) >= MIN_PLOTTED_EXCESS_LOSS
    bars = panel_axes(page, "Refits by iterations").patches
    counts = np.bincount(refits.iterations)[refits.iterations.min() :]
    assert [bar.get_width() for bar in bars] == counts.tolist()


def test_learning_rate_study_is_gradient_descent(run: Run, page: Figure) -> None:
    newest, table = len(run.run_data.forecasts.refits.session) - 1, loss_by_learning_rate_table(page_context(run))
    X, y = training_rows(run, newest)
    minimum, lipschitz = -fit_statsmodels(run, newest).llf / len(y), np.linalg.eigvalsh(X.T @ X / (4 * len(y)))[-1]

    def excess_losses(learning_rate: float) -> list[float]:
        theta, losses = np.zeros(X.shape[1]), []
        for _ in range(51):
            z = X @ theta
            losses.append(float(np.mean(np.logaddexp(0, z) - y * z) - minimum))
            theta = theta - learning_rate * X.T @ (expit(z) - y) / len(y)
        return losses

    small, derived, near, above = table["excess_loss"]
    for excess, rate in ((small, 0.01 / lipschitz), (derived, 1 / lipschitz), (near, 1.95 / lipschitz)):
        np.testing.assert_allclose(excess[:51], np.maximum(excess_losses(rate), 0.0), rtol=1e-6, atol=1e-14)
    assert above[50:].min() > 0.1
    assert table["learning_rates"][:3] * lipschitz == pytest.approx([0.01, 1.0, 1.95])
    assert table["max_stable_rate"] == pytest.approx(2 / lipschitz)
    rates, after_20 = table["learning_rate_grid"], table["grid_excess_loss"][table["compared_iterations"].index(20)]
    np.testing.assert_array_equal(rates, np.sort(rates))
    for index in (0, 8, 15):
        assert after_20[index] == pytest.approx(max(excess_losses(rates[index])[20], 0.0), rel=1e-6, abs=1e-14)
    ax = panel_axes(page, "Excess loss by learning rate")
    np.testing.assert_array_equal(labelled_curves(ax)["after 20"][1], np.maximum(after_20, MIN_PLOTTED_EXCESS_LOSS))
    limits = [line for line in ax.lines if line.get_linestyle() == "--"]
    assert [line.get_xdata()[0] for line in limits] == pytest.approx([2 / lipschitz])


@pytest.mark.filterwarnings("ignore:divide by zero encountered in log:RuntimeWarning")
@pytest.mark.parametrize("case", CASES)
def test_texts_of_a_hard_case_do_not_overlap_or_leave_the_page(case: str) -> None:
    with use_matplotlib_defaults():
        assert not text_collisions(MODEL_PAGE.draw_figure(case_context(case)))


def test_title_reports_refits_that_did_not_converge_or_have_no_minimum() -> None:
    title, _ = model_title_and_text(case_context("constant feature, configured learning rate, unconverged"))
    assert "did not converge" in title
    title, text = model_title_and_text(case_context("no refit with a finite minimum"))
    assert title.startswith("No refit")
    assert "refits have no finite minimum" in text
    _, text = model_title_and_text(case_context("some refits without a finite minimum"))
    assert "refits have no finite minimum. The other refits: " in text


def test_text_names_the_ticker_whose_model_is_drawn() -> None:
    title, text = model_title_and_text(case_context("three tickers, weekly, calibrated"))
    assert title.startswith("MSFT: ")
    assert "MSFT, the first of 3 tickers" in text
    assert "10 lags, because labels overlap" in text
    title, text = model_title_and_text(case_context("three tickers, one model"))
    assert not title.startswith("MSFT")
    assert "One model for all 3 tickers" in text
    assert "2 lags, because tickers share sessions" in text


def test_page_bytes_repeat(run: Run, page: Figure) -> None:
    png = figure_png(page)
    assert png == figure_png(MODEL_PAGE.draw_figure(page_context(run)))
    assert imread(io.BytesIO(png)).shape[:2] == (1410, 2100)


@pytest.mark.parametrize(
    ("number", "text"), [(2, "2nd"), (3, "3rd"), (11, "11th"), (12, "12th"), (21, "21st"), (29, "29th"), (113, "113th")]
)
def test_ordinal_text(number: int, text: str) -> None:
    assert ordinal_text(number) == text
