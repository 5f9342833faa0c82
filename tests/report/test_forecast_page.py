"""The page on forecast skill: its panels agree with independent calculations, and undefined ones give a reason."""

from __future__ import annotations

import io
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
import quantlr
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.text import Annotation, Text
from quantlr.backtest.metric_types import evaluate_forecasts
from quantlr.backtest.metrics import metrics_of_section
from quantlr.core.values import Array, Forecasts
from quantlr.experiment.run import Run
from quantlr.report.context import PageContext
from quantlr.report.file_formats import nonfinite_to_none
from quantlr.report.pages import PAGES
from quantlr.report.pages.forecast import FORECAST_PAGE, calibration_table, skill_title_and_text
from quantlr.report.pages.layout import figure_png
from scipy import stats
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import roc_auc_score
from sklearn.metrics import roc_curve as sklearn_roc_curve

from markets import forecasts

CALIBRATION, ROC, BY_OUTCOME = "Calibration", "Discrimination", "Forecast probability by outcome"
RETURNS, ROLLING, YEARS, TICKERS = "Mean return by", "Rolling accuracy", "Accuracy by year", "Accuracy by ticker"


@cache
def sample_run() -> Run:
    return quantlr.run(
        {
            "name": "case",
            "data": {"source": {"kind": "sample"}, "tickers": ["MSFT"], "start": "2000-03-01", "end": "2003-06-30"},
            "features": [{"kind": "lagged_returns", "lags": [1, 2]}],
            "walk_forward": {"train": 250},
        }
    )


def page_context(forecasts: Forecasts) -> PageContext:
    """Return the context of the sample run with these forecasts in place of its own."""
    run = sample_run()
    evaluated = evaluate_forecasts(forecasts)
    values: dict[str, Any] = {}
    for metric in metrics_of_section("forecast"):
        values |= metric.compute_values(evaluated)
    metrics = nonfinite_to_none({"forecast": values})
    return PageContext(run.config, replace(run.run_data, forecasts=forecasts), evaluated, metrics, ())


def make_forecasts(probability: Array, up: Array, *, n_tickers: int = 1, horizon: int = 1) -> Forecasts:
    """Return forecasts ordered by ticker, with a base rate of 52%."""
    n_sessions = len(probability) // n_tickers
    ticker, session = np.repeat(np.arange(n_tickers), n_sessions), np.tile(np.arange(n_sessions), n_tickers)
    inside = np.clip(probability, 1e-12, 1 - 1e-12)
    return replace(
        forecasts(probability, ticker=ticker, session=session, horizon=horizon),
        tickers=tuple(f"TENLETTER{index}" for index in range(n_tickers)),
        sessions=pd.bdate_range("2001-03-01", periods=n_sessions + horizon).as_unit("us"),
        log_odds=np.log(inside / (1 - inside)),
        up=up,
        horizon_return=0.01 * (up - 0.5),
        base_rate=np.full(len(probability), 0.52),
    )


@pytest.mark.parametrize("case", ["noise", "three tickers, a week", "constant"])
def test_page_names_the_calibration_slope(case: str) -> None:
    text = " ".join(" ".join(item.get_text() for item in page(case).texts).split())
    fit = page_context(CASES[case]).metrics["forecast"]["calibration"]
    expected = "undefined" if fit is None else f"{fit['slope']:.2f}".replace("-", "−")
    assert f"Calibration slope {expected}" in text


@pytest.mark.parametrize("case", ["noise", "three tickers, a week", "four forecasts"])
def test_page_names_the_stability_of_skill(case: str) -> None:
    stability = page_context(CASES[case]).metrics["forecast"]["stability"]
    texts = [text.get_text() for ax in page(case).axes for text in ax.texts]
    text = next(text for text in texts if "by thirds" in text)
    for third in stability["thirds"]:
        assert ("–" if third["p_value"] is None else f"{third['p_value']:.3f}") in text
    assert ("break" in text) == (stability["break"] is not None)
    assert ("tickers" in text) == (stability["tickers"] is not None)


def coin_flips(n: int, *, seed: int = 0) -> Array:
    return (np.random.default_rng(seed).random(n) < 0.5).astype(np.float64)


def noise(n: int, *, decimals: int = 12, n_tickers: int = 1, horizon: int = 1) -> Forecasts:
    probability: Array = np.round(0.52 + 0.02 * np.random.default_rng(1).normal(size=n), decimals)
    return make_forecasts(probability, coin_flips(n), n_tickers=n_tickers, horizon=horizon)


CASES: dict[str, Forecasts] = {
    "noise": noise(600),
    "constant": make_forecasts(np.full(300, 0.52), coin_flips(300)),
    "constant at one": make_forecasts(np.ones(300), coin_flips(300)),
    "only ups": make_forecasts(np.linspace(0.5, 0.6, 200), np.ones(200)),
    "no ups": make_forecasts(np.linspace(0.5, 0.6, 200), np.zeros(200)),
    "certain and correct": make_forecasts(1.0 - 1e-6 * np.linspace(0, 1, 200), np.ones(200)),
    "one forecast": make_forecasts(np.array([0.6]), np.ones(1)),
    "four forecasts": make_forecasts(np.array([0.5, 0.51, 0.52, 0.53]), np.array([0.0, 1, 0, 1])),
    "ties": noise(400, decimals=2),
    "saturated": make_forecasts(
        (coin_flips(400) + 1e-9 * (coin_flips(400, seed=3) - coin_flips(400, seed=4))).clip(0, 1), coin_flips(400)
    ),
    "three tickers, a week": noise(900, n_tickers=3, horizon=5),
    "eight tickers": noise(1000, n_tickers=8),
    "500 tickers": noise(20_000, n_tickers=500),
    "forty years": noise(10_000),
}


@cache
def page(case: str) -> Figure:
    return FORECAST_PAGE.draw_figure(page_context(CASES[case]))


def panel_axes(figure: Figure, title: str) -> Axes:
    return next(ax for ax in figure.axes if ax.get_title(loc="left").startswith(title))


def axes_text(ax: Axes) -> str:
    return " ".join(" ".join(text.get_text().split()) for text in ax.texts)


def labelled_line(ax: Axes, label: str) -> Any:
    return next(line for line in ax.lines if str(line.get_label()).startswith(label))


def texts_outside_axes(figure: Figure) -> list[Text]:
    """Return header, titles, subtitles, and labels of axes and ticks."""
    texts: list[Text] = list(figure.texts)
    for ax in figure.axes:
        title = ax._left_title  # type: ignore[attr-defined]  # the public getter returns no position
        texts += [title, *(text for text in ax.texts if isinstance(text, Annotation))]
        x_labels = [text for text in ax.get_xticklabels() if ax.viewLim.x0 <= text.get_position()[0] <= ax.viewLim.x1]
        y_labels = [text for text in ax.get_yticklabels() if ax.viewLim.y0 <= text.get_position()[1] <= ax.viewLim.y1]
        texts += [ax.xaxis.label, ax.yaxis.label, *x_labels, *y_labels]
    return [text for text in texts if text.get_visible() and text.get_text().strip()]


@pytest.mark.parametrize("case", CASES)
def test_texts_do_not_overlap_or_leave_the_page(case: str) -> None:
    figure = page(case)
    FigureCanvasAgg(figure)
    figure.draw_without_rendering()
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts_outside_axes(figure)]
    for index, (text, box) in enumerate(boxes):
        assert box.x0 >= 0, text
        assert box.x1 <= figure.bbox.x1, text
        assert box.y0 >= 0, text
        for other_text, other_box in boxes[:index]:
            assert not box.padded(-1.0).overlaps(other_box.padded(-1.0)), (text, other_text)
    for ax in figure.axes:
        assert ax.has_data() or axes_text(ax), ax.get_title(loc="left")


def test_page_bytes_repeat() -> None:
    context = page_context(CASES["four forecasts"])
    png = figure_png(FORECAST_PAGE.draw_figure(context))
    assert png == figure_png(FORECAST_PAGE.draw_figure(context))
    assert imread(io.BytesIO(png)).shape[:2] == (1410, 2100)


def test_page_belongs_to_the_report() -> None:
    assert FORECAST_PAGE in PAGES


def test_texts_contain_the_metrics() -> None:
    run = sample_run()
    figure = FORECAST_PAGE.draw_figure(PageContext.from_run(run.config, run.run_data, run.metrics, run.notes))
    metrics = run.metrics["forecast"]
    title, text = (figure.texts[index].get_text().replace("\n", " ") for index in (0, 1))
    for number in (metrics["accuracy"], metrics["accuracy_base_rate"]):
        assert f"{number:.1%}" in title
    for number_text in (
        f"{metrics['n']:,} forecasts",
        f"{metrics['accuracy_ci95'][0]:.1%} to {metrics['accuracy_ci95'][1]:.1%}",
        f"p = {metrics['clark_west']['p_value']:.3f}",
        f"{metrics['log_loss']:.5f}",
        f"{metrics['log_loss_base_rate']:.5f}",
    ):
        assert number_text in text
    low, high = metrics["auc_ci95"]
    assert f"{metrics['auc']:.3f}, 95% interval {low:.3f} to {high:.3f}" in axes_text(panel_axes(figure, ROC))
    parts = metrics["reliability"]["log_loss"]
    assert f"discrimination {parts['discrimination']:.5f}" in axes_text(panel_axes(figure, CALIBRATION))
    assert f"miscalibration {parts['miscalibration']:.5f}" in axes_text(panel_axes(figure, CALIBRATION))


def skill_test(p_value: float | None, *, sessions: int = 900) -> dict[str, Any]:
    return {"clark_west": {"p_value": p_value, "sessions": sessions, "min_sessions": 40}}


def test_title_follows_the_skill_test_and_the_log_loss() -> None:
    metrics = {"n": 9, "accuracy": 0.56, "accuracy_ci95": (0.4, 0.6), "accuracy_base_rate": 0.53,
               "log_loss": 0.68, "log_loss_base_rate": 0.69}  # fmt: skip
    cases: list[dict[str, Any]] = [
        skill_test(0.01),
        skill_test(0.01) | {"accuracy": 0.52},
        skill_test(0.01) | {"log_loss": 0.69},
        skill_test(0.05),
        skill_test(None),
    ]
    titles = [skill_title_and_text({**metrics, **case})[0] for case in cases]
    findings = [title.partition(":")[0] for title in titles]
    assert len(set(findings)) == 5
    assert findings[3].startswith("No evidence")
    assert [title.partition(":")[2] for title in titles] == [
        f" accuracy {accuracy}%, majority-class baseline 53.0%" for accuracy in ("56.0", "52.0", "56.0", "56.0", "56.0")
    ]
    assert "∞" in skill_title_and_text({**metrics, **cases[0], "log_loss_base_rate": None})[1]
    assert "39 sessions, needed 40" in skill_title_and_text({**metrics, **skill_test(None, sessions=39)})[1]


def test_reliability_curve_is_that_of_scikit_learn() -> None:
    forecasts, figure = CASES["noise"], page("noise")
    ax, table = panel_axes(figure, CALIBRATION), calibration_table(page_context(CASES["noise"]))
    order = np.argsort(forecasts.probability)
    expected = IsotonicRegression().fit_transform(forecasts.probability, forecasts.up)[order]
    np.testing.assert_array_equal(table["curve_probability"], forecasts.probability[order])
    np.testing.assert_allclose(table["curve_observed_frequency"], expected, atol=1e-9)
    np.testing.assert_array_equal(labelled_line(ax, "observed").get_ydata(), table["curve_observed_frequency"])
    assert set(labelled_line(ax, "base rate").get_xdata()) == {0.52}
    counts_ax = figure.axes[figure.axes.index(ax) + 1]
    assert counts_ax.get_xlim() == ax.get_xlim()
    counts, edges, _ = counts_ax.patches[0].get_data()  # type: ignore[attr-defined]  # of a StepPatch
    np.testing.assert_array_equal(counts, np.histogram(forecasts.probability, edges)[0])


def test_roc_curve_is_that_of_scikit_learn() -> None:
    forecasts, ax = CASES["ties"], panel_axes(page("ties"), ROC)
    false_positive_rate, true_positive_rate, _ = sklearn_roc_curve(
        forecasts.up, forecasts.probability, drop_intermediate=False
    )
    line = labelled_line(ax, "forecasts")
    np.testing.assert_allclose(line.get_xdata(), false_positive_rate, atol=1e-12)
    np.testing.assert_allclose(line.get_ydata(), true_positive_rate, atol=1e-12)
    assert f"{roc_auc_score(forecasts.up, forecasts.probability):.3f}" in axes_text(ax)
    assert len(ax.collections) == 1


def test_probability_by_outcome_is_a_histogram_of_each_outcome() -> None:
    forecasts, ax = CASES["noise"], panel_axes(page("noise"), BY_OUTCOME)
    for patch, outcome in zip((ax.patches[0], ax.patches[2]), (0, 1), strict=True):
        values, edges, _ = patch.get_data()  # type: ignore[attr-defined]  # of a StepPatch
        probability = forecasts.probability[forecasts.up == outcome]
        np.testing.assert_allclose(values, np.histogram(probability, edges)[0] / len(probability))


def error_bars(ax: Axes) -> tuple[Array, Array, Array]:
    """Return points and both ends of error bars."""
    container = next(item for item in ax.containers if isinstance(item, ErrorbarContainer))
    segments = np.array(container.lines[2][0].get_segments())
    points = container.lines[0]
    axis = int(np.ptp(segments[0][:, 0]) == 0)
    return np.asarray((points.get_xdata(), points.get_ydata())[axis]), segments[:, 0, axis], segments[:, 1, axis]


def test_returns_by_probability_are_those_of_pandas_groups() -> None:
    returns = np.random.default_rng(5).normal(0.001, 0.01, 600)
    forecasts = replace(CASES["noise"], horizon_return=returns)
    ax = panel_axes(FORECAST_PAGE.draw_figure(page_context(forecasts)), RETURNS)
    groups = pd.Series(returns).groupby(pd.qcut(forecasts.probability, 10, labels=False))
    mean, low, high = error_bars(ax)
    np.testing.assert_allclose(mean, groups.mean(), atol=1e-15)
    np.testing.assert_allclose((high - low) / 2, stats.norm.ppf(0.975) * groups.sem(), rtol=1e-9)
    difference = groups.mean().iloc[-1] - groups.mean().iloc[0]
    half_width = stats.norm.ppf(0.975) * np.hypot(groups.sem().iloc[-1], groups.sem().iloc[0])
    assert f"{100 * difference:.2f}% ± {100 * half_width:.2f}%".replace("-", "−") in axes_text(ax)


def test_accuracy_by_year_is_that_of_pandas_with_wilson_intervals() -> None:
    forecasts, ax = CASES["noise"], panel_axes(page("noise"), YEARS)
    hits = (forecasts.probability > 0.5) == (forecasts.up == 1)
    years = pd.Series(hits).groupby(forecasts.sessions.year[forecasts.session])
    mean, low, high = error_bars(ax)
    np.testing.assert_allclose(mean, years.mean())
    for index, (_, year_hits) in enumerate(years):
        interval = stats.binomtest(int(year_hits.sum()), len(year_hits)).proportion_ci(method="wilson")
        assert (low[index], high[index]) == pytest.approx((interval.low, interval.high))
    baseline = [segment[0, 1] for segment in ax.collections[1].get_segments()]  # type: ignore[attr-defined]
    expected = pd.Series(forecasts.up == 1).groupby(forecasts.sessions.year[forecasts.session]).mean()
    np.testing.assert_allclose(baseline, expected)


def accuracy_by_ticker(forecasts: Forecasts) -> Any:
    hits = (forecasts.probability > 0.5) == (forecasts.up == 1)
    return pd.Series(hits).groupby(forecasts.ticker).mean()


def test_few_tickers_have_a_row_each_in_order_of_accuracy() -> None:
    forecasts, ax = CASES["eight tickers"], panel_axes(page("eight tickers"), TICKERS)
    accuracy = accuracy_by_ticker(forecasts).sort_values(kind="stable")
    np.testing.assert_allclose(error_bars(ax)[0], accuracy)
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert labels == [forecasts.tickers[int(index)] for index in accuracy.index]


def test_many_tickers_are_ranked_beside_the_expected_order_statistics() -> None:
    forecasts, ax = CASES["500 tickers"], panel_axes(page("500 tickers"), TICKERS)
    difference = accuracy_by_ticker(forecasts) - pd.Series(forecasts.up).groupby(forecasts.ticker).mean()
    np.testing.assert_allclose(np.asarray(ax.lines[-1].get_ydata()), np.sort(difference), atol=1e-12)
    expected = labelled_line(ax, "expected under no skill").get_ydata()
    assert np.ptp(expected) == pytest.approx(np.ptp(difference), rel=0.5)
    text = axes_text(ax)
    assert f"in {(difference > 1e-12).sum()} of 500 tickers" in text
    assert forecasts.tickers[int(difference.argmax())] in text
    assert forecasts.tickers[int(difference.argmin())] in text


@pytest.mark.parametrize(
    ("case", "title"),
    [
        ("only ups", ROC),
        ("no ups", ROC),
        ("constant", RETURNS),
        ("four forecasts", RETURNS),
        ("four forecasts", ROLLING),
    ],
)
def test_panel_without_defined_values_gives_the_reason(case: str, title: str) -> None:
    ax = panel_axes(page(case), title)
    assert not ax.lines
    assert axes_text(ax)


def test_roc_band_needs_enough_forecasts() -> None:
    ax = panel_axes(page("four forecasts"), ROC)
    assert ax.lines
    assert not ax.collections


def test_single_ticker_has_no_panel_by_ticker() -> None:
    assert not [ax for ax in page("noise").axes if ax.get_title(loc="left") == TICKERS]
