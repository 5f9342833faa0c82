"""The page of the model: what is drawn is what the walk learnt, in easy cases and hard ones."""

from __future__ import annotations

import io
from functools import cache
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import pytest
import quantlr
import statsmodels.api as sm
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.dates import date2num
from matplotlib.figure import Figure
from matplotlib.image import imread
from quantlr.core.arrays import Array
from quantlr.experiment.run import Run
from quantlr.report.context import PageContext
from quantlr.report.figures.descent import MIN_PLOTTED_EXCESS_LOSS
from quantlr.report.learnt import ModelSummary, model_title_and_text, ordinal_text, shorten_middle
from quantlr.report.pages.layout import figure_png
from quantlr.report.pages.model import model_page
from quantlr.report.style import BLUE, GREY
from scipy.special import expit, logit

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
    "forty features, and weights of all kinds": {
        "features": LAGS, "model.class_weight": "balanced", "model.half_life": 200, "model.l2": 0.01,
    },
    "forty features, fitted once": {"features": LAGS, "walk_forward.refit_every": "never"},
    "one feature, with momentum": {"features.0.lags": [1], "model.solver": "nesterov"},
    "a constant, a rate of its own, unconverged": {
        "features": [SMALL["features"][0], CONSTANT], "model.solver": "gradient_descent", "model.learning_rate": 0.02,
        "model.max_iter": 30,
    },
    "some refits without a best fit": {"walk_forward": SHORT, "model.degenerate": "base_rate"},
    "no refit with a best fit": {
        "features.0.lags": [1, 2, 3, 4, 5, 6], "walk_forward": SHORT, "model.degenerate": "base_rate",
    },
    "three tickers, weekly, calibrated": {
        "data.tickers": ["MSFT", "IBM", "AAPL"], "label.horizon": 5, "model.calibration": "platt",
    },
    "three tickers, one model": {"data.tickers": ["MSFT", "IBM", "AAPL"], "model.scope": "pooled"},
}  # fmt: skip


def shown_of(run: Run) -> PageContext:
    return PageContext.from_run(run.config, run.run_data, run.metrics, run.notes)


@cache
def hard(case: str) -> PageContext:
    return shown_of(quantlr.run(SMALL, overrides=CASES[case]))


@pytest.fixture(scope="module")
def run() -> Run:
    return quantlr.run(INDEX)


@pytest.fixture(scope="module")
def page(run: Run) -> Figure:
    return model_page(shown_of(run))


def titled(page: Figure, start: str) -> Any:
    return next(ax for ax in page.axes if ax.get_title(loc="left").startswith(start))


def named(page: Figure, name: str) -> Any:
    """The panel of one feature."""
    return next(ax for ax in page.axes if ax.texts and ax.texts[0].get_text() == name)


def curves(ax: Any) -> dict[str, tuple[Array, Array]]:
    return {
        str(line.get_label()): (np.asarray(line.get_xdata(), dtype=float), np.asarray(line.get_ydata(), dtype=float))
        for line in ax.lines
        if not str(line.get_label()).startswith("_")
    }


def training_rows(run: Run, refit: int) -> tuple[Array, Array]:
    """Standardised rows, ones in front, and labels: those known when the refit first forecasts."""
    data, session = run.run_data.dataset, run.run_data.forecasts.refits.session[refit]
    train = (data.label_known_at <= session) & ~np.isnan(data.up)
    X = data.features[train]
    return sm.add_constant((X - X.mean(axis=0)) / X.std(axis=0)), data.up[train]


def by_statsmodels(run: Run, refit: int) -> Any:
    S, y = training_rows(run, refit)
    return sm.Logit(y, S).fit(method="newton", tol=1e-13, maxiter=100, disp=0)


def test_weights_and_bands_are_the_walks_and_statsmodels(run: Run, page: Figure) -> None:
    refits = run.run_data.forecasts.refits
    assert len(refits.iterations) > 10
    deviations = []
    for refit in range(len(refits.iterations)):
        session = refits.session[refit]
        deviations.append(run.run_data.dataset.features[run.run_data.dataset.label_known_at <= session].std(axis=0))
    for at, name in enumerate(refits.columns):
        line, band = named(page, name).lines[1], named(page, name).collections[0].get_paths()[0].vertices
        weights = refits.coefficients[:, 1 + at] * np.array(deviations)[:, at]
        np.testing.assert_allclose(line.get_ydata(), weights, rtol=1e-9)
        dates = run.run_data.forecasts.sessions[refits.session]
        np.testing.assert_array_equal(date2num(line.get_xdata()), date2num(dates))
        for refit in (0, 7, len(weights) - 1):
            error = by_statsmodels(run, refit).bse[1 + at]
            here = band[np.isclose(band[:, 0], date2num(dates[refit])), 1]
            assert here.max() == pytest.approx(weights[refit] + 1.959964 * error, rel=1e-5)
            assert here.min() == pytest.approx(weights[refit] - 1.959964 * error, rel=1e-5)


def test_panels_are_in_order_and_blue_where_zero_lies_outside(run: Run, page: Figure) -> None:
    refits, newest = run.run_data.forecasts.refits, len(run.run_data.forecasts.refits.iterations) - 1
    found = by_statsmodels(run, newest)
    order = np.argsort(-np.abs(found.tvalues[1:]))
    panels: list[Any] = [ax for ax in page.axes if ax.texts and ax.texts[0].get_text() in refits.columns]
    assert [ax.texts[0].get_text() for ax in panels] == [refits.columns[at] for at in order]
    told = (found.pvalues < 0.05)[1:]
    assert 0 < told.sum() < len(told)
    assert [to_hex(ax.lines[1].get_color()).upper() for ax in panels] == [BLUE if told[at] else GREY for at in order]
    signs = np.sign(refits.coefficients[:, 1:])
    held = 100 * (signs == signs[-1]).mean(axis=0)
    for ax, at in zip(panels, order, strict=True):
        words = f"{found.params[1 + at]:.3f} ± {found.bse[1 + at]:.3f}, sign held {held[at]:.0f}%".replace("-", "−")
        assert ax.texts[1].get_text() == words
    title, text = model_title_and_text(ModelSummary.from_context(shown_of(run)), shown_of(run))
    assert title.startswith(f"{told.sum()} of 4 weights can be told from zero")
    assert page.texts[0].get_text() == title
    assert f"{len(refits.iterations)} refits took {refits.iterations.mean():.1f} updates on average" in text


def test_the_sigmoid_is_where_the_forecasts_are(run: Run, page: Figure) -> None:
    ax, table = titled(page, "The sigmoid"), run.forecasts.dropna(subset="up")
    z, g = curves(ax)["sigmoid"]
    np.testing.assert_allclose(g, expit(z), rtol=1e-12)
    bin_z, share = curves(ax)["ups that came, 95%"]
    group = pd.qcut(table["probability"], 10, labels=False)
    means = table.assign(up=table["up"].astype(float)).groupby(group)[["probability", "up"]].mean()
    np.testing.assert_allclose(bin_z, logit(means["probability"]), atol=2e-3)
    np.testing.assert_allclose(share, means["up"], atol=0.02)
    heights = np.array([bar.get_height() for bar in ax.patches])
    edges = np.append([bar.get_x() for bar in ax.patches], z[-1])
    counts = np.histogram(logit(table["probability"]), bins=edges)[0]
    np.testing.assert_allclose(heights / heights.max(), counts / counts.max(), atol=0.02)
    whole, slope = titled(page, "all of").lines, titled(page, "slope").lines
    for line, values in ((whole[0], expit), (slope[0], lambda at: expit(at) * (1 - expit(at)))):
        np.testing.assert_allclose(line.get_ydata(), values(np.asarray(line.get_xdata())), atol=1e-15)
    span = logit(np.quantile(table["probability"], [0.005, 0.995]))
    used = np.asarray(whole[1].get_xdata())
    np.testing.assert_allclose([used[0], used[-1]], span, atol=0.051)


def test_a_calibrated_forecast_stands_on_the_sigmoid_at_its_own_log_odds() -> None:
    calibrated = quantlr.run(INDEX, overrides={"model.calibration": "platt"})
    assert not (calibrated.run_data.forecasts.refits.platt_coefficients == [0.0, 1.0]).all()
    ax = titled(model_page(shown_of(calibrated)), "The sigmoid")
    probability = calibrated.forecasts.dropna(subset="up")["probability"].to_numpy()
    bin_z, _ = curves(ax)["ups that came, 95%"]
    parts = np.array_split(np.sort(probability), 10)
    np.testing.assert_allclose(expit(bin_z), [part.mean() for part in parts], atol=1e-3)
    assert "Platt" in ax.get_xlabel()


def test_losses_fall_from_the_base_rate_to_statsmodels_best(run: Run, page: Figure) -> None:
    ax, refits = titled(page, "The loss falls"), run.run_data.forecasts.refits
    drawn = np.linspace(0, len(refits.session) - 1, 5).round().astype(int)
    dates = run.run_data.forecasts.sessions[refits.session[drawn]]
    assert list(curves(ax)) == [f"{date:%b %Y}" for date in dates]
    for refit, (updates, excess) in zip(drawn, curves(ax).values(), strict=True):
        y, best = training_rows(run, refit)[1], by_statsmodels(run, refit).llf
        up = y.mean()
        start = -up * np.log(up) - (1 - up) * np.log(1 - up)
        assert excess[0] == pytest.approx(start + best / len(y), rel=1e-8)
        seen = excess[~np.isnan(excess)]
        assert updates[0] == 0
        assert seen[-1] <= 1e-15
        assert seen.min() >= MIN_PLOTTED_EXCESS_LOSS
    bars = titled(page, "updates in the").patches
    counts = np.bincount(refits.iterations)[refits.iterations.min() :]
    assert [bar.get_width() for bar in bars] == counts.tolist()


def test_rates_do_what_the_formula_does_step_by_step(run: Run, page: Figure) -> None:
    newest = len(run.run_data.forecasts.refits.session) - 1
    S, y = training_rows(run, newest)
    best, L = -by_statsmodels(run, newest).llf / len(y), np.linalg.eigvalsh(S.T @ S / (4 * len(y)))[-1]

    def losses(alpha: float) -> list[float]:
        theta, found = np.zeros(S.shape[1]), []
        for _ in range(51):
            z = S @ theta
            found.append(float(np.mean(np.logaddexp(0, z) - y * z) - best))
            theta = theta - alpha * S.T @ (expit(z) - y) / len(y)
        return found

    by_update, by_rate = titled(page, "A learning rate"), titled(page, "Below 2/L")
    small, derived, near, beyond = (excess for _, excess in curves(by_update).values())
    for excess, alpha in ((small, 0.01 / L), (derived, 1 / L), (near, 1.95 / L)):
        np.testing.assert_allclose(
            excess[:51], np.maximum(losses(alpha), MIN_PLOTTED_EXCESS_LOSS), rtol=1e-6, atol=1e-14
        )
    assert beyond[50:].min() > 0.1
    rate, after = curves(by_rate)["after 20"]
    np.testing.assert_allclose(rate * L, np.sort(rate * L))
    for at in (0, 8, 15):
        assert after[at] == pytest.approx(max(losses(rate[at])[20], MIN_PLOTTED_EXCESS_LOSS), rel=1e-6, abs=1e-14)
    limits = [line for line in by_rate.lines if line.get_linestyle() == "--"]
    assert [line.get_xdata()[0] for line in limits] == pytest.approx([2 / L])
    marks = [line.get_xdata()[0] for line in by_rate.lines if line.get_marker() == "^"]
    assert marks[:3] == pytest.approx([0.01 / L, 1 / L, 1.95 / L])


@pytest.mark.filterwarnings("ignore:divide by zero encountered in log:RuntimeWarning")
@pytest.mark.parametrize("case", CASES)
def test_a_hard_case_is_drawn_with_every_word_on_the_page_and_none_on_another(case: str) -> None:
    page = model_page(hard(case))
    renderer = FigureCanvasAgg(page).get_renderer()
    page.draw(renderer)
    boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in words(page)]
    assert len(boxes) > 20
    for text, box in boxes:
        assert box.x0 >= 0, text
        assert box.y0 >= 0, text
        assert box.x1 <= page.bbox.width, text
    for (one, here), (other, there) in combinations(boxes, 2):
        wide, high = min(here.x1, there.x1) - max(here.x0, there.x0), min(here.y1, there.y1) - max(here.y0, there.y0)
        assert wide <= 2 or high <= 2, f"{one!r} and {other!r} overlap"


def words(page: Figure) -> list[Any]:
    """Every text that is seen."""
    found: list[Any] = list(page.texts)
    axes: list[Any] = page.axes
    for ax in axes:
        found += [*ax.texts, ax._left_title, ax.xaxis.label]
        found += ax.get_legend().get_texts() if ax.get_legend() else []
        for axis in (ax.xaxis, ax.yaxis) if ax.axison else ():
            found += [tick.label1 for tick in axis._update_ticks()]
    return [text for text in found if text.get_visible() and text.get_text().strip()]


def said_of(case: str) -> tuple[str, str]:
    return model_title_and_text(ModelSummary.from_context(hard(case)), hard(case))


def test_what_went_wrong_is_the_title() -> None:
    unconverged, _ = said_of("a constant, a rate of its own, unconverged")
    assert unconverged.endswith("refits did not converge: weights are under way")
    nothing, text = said_of("no refit with a best fit")
    assert nothing == "Nothing was learnt: no refit had a best fit, every forecast is a base rate"
    assert "refits had no best fit." in text
    _, text = said_of("some refits without a best fit")
    assert "refits had no best fit. The others took" in text


def test_of_several_tickers_the_one_that_is_drawn_is_named() -> None:
    title, text = said_of("three tickers, weekly, calibrated")
    assert title.startswith("MSFT: ")
    assert "Drawn: MSFT, of 3 tickers the first with most refits; lagged_returns_" in text
    assert "Errors are by session, over 10 lags, since labels overlap." in text
    title, text = said_of("three tickers, one model")
    assert not title.startswith("MSFT")
    assert "One model for all 3 tickers." in text
    assert "Errors are by session, over 2 lags, since tickers share sessions." in text


def test_a_page_is_the_same_twice(run: Run, page: Figure) -> None:
    once = figure_png(page)
    assert once == figure_png(model_page(shown_of(run)))
    assert imread(io.BytesIO(once)).shape[:2] == (1410, 2100)


@pytest.mark.parametrize(
    ("number", "text"), [(2, "2nd"), (3, "3rd"), (11, "11th"), (12, "12th"), (21, "21st"), (29, "29th"), (113, "113th")]
)
def test_ordinals(number: int, text: str) -> None:
    assert ordinal_text(number) == text


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("volatility_20", "volatility_20"),
        ("a" * 26, "a" * 26),
        ("product(lagged_returns_1,volatility_20)", "product(lagge…latility_20)"),
    ],
)
def test_long_names_keep_their_beginning_and_end(name: str, expected: str) -> None:
    assert shorten_middle(name) == expected
    assert len(expected) <= 26
