"""The page on skill: what is drawn is what was measured, and what can't be drawn is said."""

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
from quantlr.backtest.metrics import FORECAST_METRICS, evaluate_forecasts
from quantlr.core.arrays import Array
from quantlr.core.values import Forecasts
from quantlr.experiment.run import Run
from quantlr.report.context import PageContext
from quantlr.report.pages import PAGES
from quantlr.report.pages.forecast import forecast_page, forecast_title_and_text
from quantlr.report.pages.layout import figure_png
from quantlr.report.storage import nonfinite_to_none
from scipy import stats
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import roc_auc_score
from sklearn.metrics import roc_curve as sklearn_roc_curve

from markets import forecasts

SKILL, ROC, SPREAD = "Do the probabilities", "Are ups given", "Probabilities by what came"
RETURNS, ROLLING, YEARS, TICKERS = "Did higher", "Share of right calls", "Right calls by year", "Right calls by ticker"


@cache
def finished() -> Run:
    return quantlr.run(
        {
            "name": "case",
            "data": {"source": {"kind": "sample"}, "tickers": ["MSFT"], "start": "2000-03-01", "end": "2003-06-30"},
            "features": [{"kind": "lagged_returns", "lags": [1, 2]}],
            "walk_forward": {"train": 250},
        }
    )


def shown(found: Forecasts) -> PageContext:
    """Return the finished run as if these had been its forecasts."""
    done = finished()
    rows = evaluate_forecasts(found)
    metrics = nonfinite_to_none({"forecast": {key: metric(rows) for key, metric in FORECAST_METRICS.items()}})
    return PageContext(done.config, replace(done.run_data, forecasts=found), rows, metrics, ())


def made(probability: Array, up: Array, *, tickers: int = 1, horizon: int = 1, span: Array | None = None) -> Forecasts:
    """Return forecasts, a ticker's all in a row, whose base rate is 52 %."""
    n = len(probability)
    sessions = n // tickers
    ticker, session = np.repeat(np.arange(tickers), sessions), np.tile(np.arange(sessions), tickers)
    inside = np.clip(probability, 1e-12, 1 - 1e-12)
    found = forecasts(probability, ticker=ticker, session=session, horizon=horizon)
    return replace(
        found,
        tickers=tuple(f"TENLETTER{at}" for at in range(tickers)),
        sessions=pd.bdate_range("2001-03-01", periods=sessions + horizon).as_unit("us"),
        log_odds=np.log(inside / (1 - inside)),
        up=up,
        horizon_return=0.01 * (up - 0.5) if span is None else span,
        base_rate=np.full(n, 0.52),
    )


def coins(n: int, *, chance: float = 0.5, seed: int = 0) -> Array:
    return (np.random.default_rng(seed).random(n) < chance).astype(np.float64)


def noise(n: int, *, digits: int = 12, tickers: int = 1, horizon: int = 1) -> Forecasts:
    probability: Array = np.round(0.52 + 0.02 * np.random.default_rng(1).normal(size=n), digits)
    return made(probability, coins(n), tickers=tickers, horizon=horizon)


CASES: dict[str, Forecasts] = {
    "noise": noise(600),
    "constant": made(np.full(300, 0.52), coins(300)),
    "constant at one": made(np.ones(300), coins(300)),
    "only ups": made(np.linspace(0.5, 0.6, 200), np.ones(200)),
    "no ups": made(np.linspace(0.5, 0.6, 200), np.zeros(200)),
    "sure and right": made(1.0 - 1e-6 * np.linspace(0, 1, 200), np.ones(200)),
    "one": made(np.array([0.6]), np.ones(1)),
    "four": made(np.array([0.5, 0.51, 0.52, 0.53]), np.array([0.0, 1, 0, 1])),
    "ties": noise(400, digits=2),
    "saturated": made((coins(400) + 1e-9 * (coins(400, seed=3) - coins(400, seed=4))).clip(0, 1), coins(400)),
    "three tickers, a week": noise(900, tickers=3, horizon=5),
    "eight tickers": noise(1000, tickers=8),
    "500 tickers": noise(20_000, tickers=500),
    "forty years": noise(10_000),
}


@cache
def page(case: str) -> Figure:
    return forecast_page(shown(CASES[case]))


def panel(figure: Figure, title: str) -> Axes:
    return next(ax for ax in figure.axes if ax.get_title(loc="left").startswith(title))


def words(ax: Axes) -> str:
    return " ".join(" ".join(text.get_text().split()) for text in ax.texts)


def line(ax: Axes, label: str) -> Any:
    return next(line for line in ax.lines if line.get_label() == label)


def texts(figure: Figure) -> list[Text]:
    """Return what is written outside the axes: heads, titles, words below them, labels of axes and ticks."""
    found: list[Text] = list(figure.texts)
    for ax in figure.axes:
        left = ax._left_title  # type: ignore[attr-defined]  # its public getter gives the words without their place
        found += [left, *(text for text in ax.texts if isinstance(text, Annotation))]
        if ax.axison:
            across = [text for text in ax.get_xticklabels() if ax.viewLim.x0 <= text.get_position()[0] <= ax.viewLim.x1]
            up = [text for text in ax.get_yticklabels() if ax.viewLim.y0 <= text.get_position()[1] <= ax.viewLim.y1]
            found += [ax.xaxis.label, ax.yaxis.label, *across, *up]
    return [text for text in found if text.get_visible() and text.get_text().strip()]


@pytest.mark.parametrize("case", CASES)
def test_nothing_is_blank_cut_off_or_upon_another(case: str) -> None:
    figure = page(case)
    FigureCanvasAgg(figure)
    figure.draw_without_rendering()
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts(figure)]
    for at, (text, box) in enumerate(boxes):
        assert box.x0 >= 0, text
        assert box.x1 <= figure.bbox.x1, text
        assert box.y0 >= 0, text
        for other, another in boxes[:at]:
            assert not box.padded(-1.0).overlaps(another.padded(-1.0)), (text, other)
    for ax in figure.axes:
        assert ax.has_data() or words(ax), ax.get_title(loc="left")


def test_the_page_is_the_same_twice() -> None:
    picture = figure_png(forecast_page(shown(CASES["four"])))
    assert picture == figure_png(forecast_page(shown(CASES["four"])))
    assert imread(io.BytesIO(picture)).shape[:2] == (1410, 2100)


def test_the_page_is_one_of_the_reports() -> None:
    assert ("forecast.png", forecast_page) in [(page.file_name, page.draw_figure) for page in PAGES]


def test_the_numbers_in_words_are_those_of_the_metrics() -> None:
    done = finished()
    figure, skill = (
        forecast_page(PageContext.from_run(done.config, done.run_data, done.metrics, done.notes)),
        done.metrics["forecast"],
    )
    title, text = (figure.texts[at].get_text().replace("\n", " ") for at in (0, 1))
    assert title == (
        f"No evidence that it knew: {skill['accuracy']:.1%} of its calls were right, "
        f"{skill['accuracy_base_rate']:.1%} of the base rate's"
    )
    for said in (
        f"{skill['n']:,} forecasts",
        f"{skill['accuracy_ci95'][0]:.1%} to {skill['accuracy_ci95'][1]:.1%}",
        f"p = {skill['pesaran_timmermann']['p_value']:.3f}",
        f"Log loss {skill['log_loss']:.5f}",
        f"the base rate's {skill['log_loss_base_rate']:.5f}",
    ):
        assert said in text
    low, high = skill["auc_ci95"]
    assert f"{skill['auc']:.3f}, 95% interval {low:.3f} to {high:.3f}" in words(panel(figure, ROC))
    parts = skill["reliability"]["log_loss"]
    assert f"gains {parts['discrimination']:.5f}" in words(panel(figure, SKILL))
    assert f"loses {parts['miscalibration']:.5f}" in words(panel(figure, SKILL))


@pytest.mark.parametrize(
    ("accuracy", "p_value", "log_loss", "title"),
    [
        (0.56, 0.01, 0.68, "It knew something: 56.0% of its calls were right, 53.0% of the base rate's"),
        (0.52, 0.01, 0.68, "It knew, but called no better: 52.0%"),
        (0.56, 0.01, 0.69, "Calls beat chance, probabilities don't: 56.0%"),
        (0.56, 0.05, 0.68, "No evidence that it knew: 56.0%"),
        (0.56, None, 0.68, "Nothing tells whether it knew: 56.0%"),
    ],
)
def test_the_title_claims_what_the_test_and_the_log_loss_show(
    accuracy: float, p_value: float | None, log_loss: float, title: str
) -> None:
    test = None if p_value is None else {"statistic": 1.0, "p_value": p_value}
    found = {"n": 9, "accuracy": accuracy, "accuracy_ci95": (0.4, 0.6), "accuracy_base_rate": 0.53,
             "log_loss": log_loss, "log_loss_base_rate": 0.69, "pesaran_timmermann": test}  # fmt: skip
    assert forecast_title_and_text(found)[0].startswith(title)
    assert forecast_title_and_text({**found, "log_loss_base_rate": None})[1].endswith("better than the base rate's ∞.")


def test_the_reliability_curve_is_scikit_learns_and_the_base_rate_is_marked() -> None:
    found, figure = CASES["noise"], page("noise")
    ax = panel(figure, SKILL)
    curve = line(ax, "came up")
    order = np.argsort(found.probability)
    expected = IsotonicRegression().fit_transform(found.probability, found.up)[order]
    np.testing.assert_array_equal(curve.get_xdata(), found.probability[order])
    np.testing.assert_allclose(curve.get_ydata(), expected, atol=1e-9)
    assert set(line(ax, "base rate").get_xdata()) == {0.52}
    below = figure.axes[figure.axes.index(ax) + 1]
    assert below.get_xlim() == ax.get_xlim()
    counts, edges, _ = below.patches[0].get_data()  # type: ignore[attr-defined]  # of a StepPatch
    np.testing.assert_array_equal(counts, np.histogram(found.probability, edges)[0])


def test_the_roc_curve_is_scikit_learns() -> None:
    found = CASES["ties"]
    ax = panel(page("ties"), ROC)
    false_up, true_up, _ = sklearn_roc_curve(found.up, found.probability, drop_intermediate=False)
    np.testing.assert_allclose(line(ax, "the forecasts").get_xdata(), false_up, atol=1e-12)
    np.testing.assert_allclose(line(ax, "the forecasts").get_ydata(), true_up, atol=1e-12)
    assert f"{roc_auc_score(found.up, found.probability):.3f}" in words(ax)
    assert len(ax.collections) == 1


def test_probabilities_by_outcome_are_shares_of_each() -> None:
    found = CASES["noise"]
    ax = panel(page("noise"), SPREAD)
    for patch, came in zip((ax.patches[0], ax.patches[2]), (0, 1), strict=True):
        values, edges, _ = patch.get_data()  # type: ignore[attr-defined]  # of a StepPatch
        mine = found.probability[found.up == came]
        np.testing.assert_allclose(values, np.histogram(mine, edges)[0] / len(mine))


def bars(ax: Axes) -> tuple[Array, Array, Array]:
    """Return places and both ends of error bars."""
    container = next(item for item in ax.containers if isinstance(item, ErrorbarContainer))
    segments = np.array(container.lines[2][0].get_segments())
    points = container.lines[0]
    across = int(np.ptp(segments[0][:, 0]) == 0)
    return np.asarray((points.get_xdata(), points.get_ydata())[across]), segments[:, 0, across], segments[:, 1, across]


def test_returns_are_those_of_pandas_groups() -> None:
    found = replace(CASES["noise"], horizon_return=np.random.default_rng(5).normal(0.001, 0.01, 600))
    ax = panel(forecast_page(shown(found)), RETURNS)
    by = pd.Series(found.horizon_return).groupby(pd.qcut(found.probability, 10, labels=False))
    mean, low, high = bars(ax)
    np.testing.assert_allclose(mean, by.mean(), atol=1e-15)
    np.testing.assert_allclose((high - low) / 2, stats.norm.ppf(0.975) * by.sem(), rtol=1e-9)
    ahead = by.mean().iloc[-1] - by.mean().iloc[0]
    reach = stats.norm.ppf(0.975) * np.hypot(by.sem().iloc[-1], by.sem().iloc[0])
    assert f"{100 * ahead:.2f}% ± {100 * reach:.2f}%".replace("-", "−") in words(ax)


def test_right_calls_by_year_are_those_of_pandas_with_wilsons_interval() -> None:
    found = CASES["noise"]
    ax = panel(page("noise"), YEARS)
    right = (found.probability > 0.5) == (found.up == 1)
    years = pd.Series(right).groupby(found.sessions.year[found.session])
    mean, low, high = bars(ax)
    np.testing.assert_allclose(mean, years.mean())
    for at, (_, calls) in enumerate(years):
        interval = stats.binomtest(int(calls.sum()), len(calls)).proportion_ci(method="wilson")
        assert (low[at], high[at]) == pytest.approx((interval.low, interval.high))
    base = [segment[0, 1] for segment in ax.collections[1].get_segments()]  # type: ignore[attr-defined]
    np.testing.assert_allclose(base, pd.Series(found.up == 1).groupby(found.sessions.year[found.session]).mean())


def test_a_few_tickers_have_a_row_each_the_best_on_top() -> None:
    found = CASES["eight tickers"]
    ax = panel(page("eight tickers"), TICKERS)
    right = pd.Series((found.probability > 0.5) == (found.up == 1)).groupby(found.ticker).mean()
    order = right.sort_values(kind="stable")
    np.testing.assert_allclose(bars(ax)[0], order)
    assert [label.get_text() for label in ax.get_yticklabels()] == [found.tickers[int(at)] for at in order.index]


def test_many_tickers_are_ranked_beside_luck_and_the_ends_are_named() -> None:
    found = CASES["500 tickers"]
    ax = panel(page("500 tickers"), TICKERS)
    right = pd.Series((found.probability > 0.5) == (found.up == 1)).groupby(found.ticker).mean()
    ahead = right - pd.Series(found.up).groupby(found.ticker).mean()
    np.testing.assert_allclose(np.asarray(ax.lines[-1].get_ydata()), np.sort(ahead), atol=1e-12)
    luck = line(ax, "luck alone, if tickers were independent").get_ydata()
    assert np.ptp(luck) == pytest.approx(np.ptp(ahead), rel=0.5)
    told = words(ax)
    assert f"ahead of the base rate's call in {(ahead > 1e-12).sum()} of 500 tickers" in told
    assert found.tickers[int(ahead.argmax())] in told
    assert found.tickers[int(ahead.argmin())] in told


@pytest.mark.parametrize(
    ("case", "title", "said"),
    [
        ("only ups", ROC, "Only ups came"),
        ("no ups", ROC, "Only moves that were not up came"),
        ("constant", RETURNS, "The probabilities hardly ever differ"),
        ("constant", ROC, "the probabilities never differ"),
        ("four", RETURNS, "too few forecasts"),
        ("four", ROLLING, "no more than 4 sessions: too few to follow"),
        ("four", ROC, "too few forecasts for a band"),
    ],
)
def test_what_is_undefined_is_said_in_its_place(case: str, title: str, said: str) -> None:
    assert said in words(panel(page(case), title))


def test_one_ticker_is_not_compared_with_others() -> None:
    figure = page("noise")
    assert not [ax for ax in figure.axes if ax.get_title(loc="left") == TICKERS]
