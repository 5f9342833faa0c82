"""The Clark-West test against a loop over its definition, plain regressions, and its size and power."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import statsmodels.api as sm
from quantlr.core.values import Array, Forecasts
from quantlr.stats.clark_west import (
    base_rate_forecasts,
    block_mean_variance_share,
    clark_west_terms,
    clark_west_test,
    mean_of_known_outcomes,
    nested_clark_west_test,
    years_needed,
)
from quantlr.stats.cosine_test import cosine_test
from scipy import stats
from scipy.signal import lfilter

from markets import forecasts


def simulated_forecasts(
    seed: int,
    *,
    sessions: int = 400,
    tickers: int = 1,
    horizon: int = 1,
    skill: float = 0.0,
    persistence: float = 0.0,
    shift: float = 0.0,
    up_rate: float = 0.54,
) -> Forecasts:
    """Return forecasts whose score is an AR(1) of variance 1; outcomes are up with the up-rate plus skill times it.

    `shift` is added to the probabilities and to their training mean, and leaves their timing as it is.
    """
    rng = np.random.default_rng(seed)
    start = persistence * rng.normal(size=tickers)
    shocks = math.sqrt(1 - persistence**2) * rng.normal(size=(sessions, tickers))
    score = lfilter([1.0], [1.0, -persistence], shocks.T, zi=start[:, None])[0]
    up = (rng.random((tickers, sessions)) < up_rate + skill * score).astype(np.float64)
    result = forecasts(
        (up_rate + shift + 0.02 * score).ravel(),
        ticker=np.repeat(np.arange(tickers), sessions),
        session=np.tile(np.arange(sessions), tickers),
        horizon=horizon,
    )
    fill = np.full(result.up.shape, 1.0)
    return replace(
        result,
        up=up.ravel(),
        training_up_rate=up_rate * fill,
        training_probability_mean=(up_rate + shift) * fill,
        training_probability_std=0.02 * fill,
    )


def loop_terms(values: Forecasts) -> dict[tuple[int, int], float]:
    """Return the term of each ticker and session with an outcome, from the definition, row by row."""
    terms = {}
    for ticker in sorted(set(values.ticker.tolist())):
        rows = [row for row in range(len(values.ticker)) if values.ticker[row] == ticker]
        scores, excesses = [], []
        for row in rows:
            std = values.training_probability_std[row]
            usable = not math.isnan(std) and std >= 1e-9
            score = (values.probability[row] - values.training_probability_mean[row]) / std if usable else 0.0
            scores.append(score)
            base = values.training_up_rate[row]
            excesses.append(values.up[row] - (values.base_rate[row] if math.isnan(base) else base))
        mean = sum(scores) / len(scores)
        total = sum((score - mean) ** 2 for score in scores)
        between = 0.0
        for first in range(0, len(scores), 63):
            block = scores[first : first + 63]
            between += len(block) * (sum(block) / len(block) - mean) ** 2
        is_slow = total > 0 and between > 0.3 * total
        for index, row in enumerate(rows):
            if math.isnan(values.up[row]):
                continue
            excess = excesses[index]
            if is_slow:
                known = [e for e in excesses[: max(index - values.horizon + 1, 0)] if not math.isnan(e)][-200:]
                excess = excess - sum(known) / len(known) if len(known) >= 60 else 0.0
            terms[ticker, int(values.session[row])] = scores[index] * excess
    return terms


def with_gaps(values: Forecasts, seed: int) -> Forecasts:
    """Return the forecasts with some outcomes unknown, refits without spread, and a ticker without training rows."""
    rng = np.random.default_rng(seed)
    n = len(values.up)
    std = np.where(rng.random(n) < 0.05, 0.0, values.training_probability_std)
    untrained = (values.ticker == 1) & (values.session < 40)
    return replace(
        values,
        up=np.where(rng.random(n) < 0.1, np.nan, values.up),
        training_probability_std=np.where(untrained, np.nan, std),
        training_probability_mean=np.where(untrained, np.nan, values.training_probability_mean),
        training_up_rate=np.where(untrained, np.nan, values.training_up_rate),
    )


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize(
    ("tickers", "horizon", "persistence", "n_local"), [(1, 1, 0.0, 0), (3, 5, 0.3, 0), (1, 1, 0.99, 1), (3, 5, 0.99, 3)]
)
def test_terms_equal_a_loop_over_the_definition(
    tickers: int, horizon: int, persistence: float, n_local: int, gaps: bool
) -> None:
    values = simulated_forecasts(7, tickers=tickers, horizon=horizon, persistence=persistence)
    if gaps:
        values = with_gaps(values, 8)
    terms, n_local_tickers = clark_west_terms(values)
    expected = loop_terms(values)
    assert n_local_tickers == n_local
    is_known = ~np.isnan(values.up)
    np.testing.assert_array_equal(np.isnan(terms), ~is_known)
    actual = dict(
        zip(zip(values.ticker[is_known].tolist(), values.session[is_known].tolist(), strict=True),
            terms[is_known].tolist(), strict=True)
    )  # fmt: skip
    assert actual == pytest.approx(expected, abs=1e-12)
    sums: dict[int, float] = {}
    for (_, session), term in expected.items():
        sums[session] = sums.get(session, 0.0) + term
    test = cosine_test(np.array([sums[session] for session in sorted(sums)]), horizon=horizon)
    assert clark_west_test(values)["statistic"] == pytest.approx(test.statistic)


def test_with_the_up_rate_as_mean_it_is_the_test_of_clark_and_west() -> None:
    """Where m = b and s is constant, the term is Clark and West's adjusted difference of squared errors over 2 s."""
    values = simulated_forecasts(3, skill=0.02)
    terms, _ = clark_west_terms(values)
    up, base_rate = values.up, values.training_up_rate
    adjusted = (up - base_rate) ** 2 - ((up - values.probability) ** 2 - (base_rate - values.probability) ** 2)
    np.testing.assert_allclose(terms, adjusted / (2 * 0.02), atol=1e-12)
    regression = sm.OLS(adjusted, np.ones(len(up))).fit()
    assert clark_west_test(values)["statistic"] == pytest.approx(regression.tvalues[0], rel=0.4)


def test_shift_of_all_probabilities_changes_nothing() -> None:
    plain, shifted = (simulated_forecasts(4, skill=0.03, shift=shift) for shift in (0.0, -0.04))
    assert clark_west_test(shifted)["statistic"] == pytest.approx(clark_west_test(plain)["statistic"])


def test_unknown_future_outcomes_do_not_reach_a_local_up_rate() -> None:
    """Changing outcomes that are known only after a forecast leaves its local up-rate as it is."""
    values = np.random.default_rng(5).normal(size=400)
    horizon, row = 21, 300
    changed = values.copy()
    changed[row - horizon + 1 :] += 10.0
    before, after = (mean_of_known_outcomes(v, horizon=horizon) for v in (values, changed))
    assert before[row] == after[row]
    assert before[row + 1] != after[row + 1]
    assert before[row] == pytest.approx(values[row - horizon - 199 : row - horizon + 1].mean())


def test_slow_scores_have_a_large_share_between_blocks() -> None:
    rng = np.random.default_rng(6)
    noise, walk = rng.normal(size=4000), np.cumsum(rng.normal(size=4000))
    weekday = np.tile(np.arange(5.0), 800)
    assert block_mean_variance_share(noise) == pytest.approx(1 / 63, abs=0.01)
    assert block_mean_variance_share(weekday) < 0.001
    assert block_mean_variance_share(walk) > 0.8
    assert block_mean_variance_share(np.full(100, 0.1)) == 0.0


def rejection_rate(series: int, **settings: float) -> float:
    p_values = [clark_west_test(simulated_forecasts(seed, **settings))["p_value"] for seed in range(series)]  # type: ignore[arg-type]
    return float(np.mean([p_value is not None and p_value < 0.05 for p_value in p_values]))


@pytest.mark.parametrize("persistence", [0.0, 0.9, 0.99])
def test_size_without_skill_is_at_most_5_percent(persistence: float) -> None:
    assert rejection_rate(400, persistence=persistence, sessions=500) < 0.085


def test_power_follows_the_size_of_the_skill() -> None:
    """With n sessions, t is about skill sqrt(n) / .5: 80 % power needs 2.49 at .056 with 1,000 and 4 degrees lost."""
    weak, strong = (rejection_rate(200, skill=skill, sessions=1000) for skill in (0.02, 0.06))
    assert weak < 0.6
    assert strong > 0.9


def known_answer() -> tuple[Forecasts, Array]:
    """Return four rows with one refit each, and their terms by arithmetic."""
    values = forecasts([0.6, 0.4, 0.5, 0.7], ticker=[0, 0, 0, 0], session=[0, 1, 2, 3])
    values = replace(
        values,
        up=np.array([1.0, 0.0, np.nan, 1.0]),
        training_up_rate=np.full(4, 0.5),
        training_probability_mean=np.array([0.5, 0.5, 0.5, 0.6]),
        training_probability_std=np.array([0.1, 0.05, 0.1, 0.0]),
    )
    return values, np.array([0.5, 1.0, np.nan, 0.0])


def test_terms_by_arithmetic() -> None:
    values, expected = known_answer()
    np.testing.assert_allclose(clark_west_terms(values)[0], expected, atol=1e-12)
    assert clark_west_test(values)["p_value"] is None


@pytest.mark.parametrize("statistic", [3.0, 0.5, 0.0, -0.5, -3.0])
def test_years_needed_by_arithmetic(statistic: float) -> None:
    """With 2,520 sessions, ten years: t = 2 stands for 6.18 / 4 times as long."""
    test = {"statistic": statistic, "degrees_of_freedom": 40, "sessions": 2520}
    quantile = stats.t.isf(0.05, 40)
    years = years_needed(test, sessions_per_year=252)
    assert years is not None
    for key, value in {"estimate": statistic, "low": statistic + quantile, "high": statistic - quantile}.items():
        assert years[key] == (pytest.approx(61.826 / value**2, rel=1e-4) if value > 0 else None)
    assert years_needed(test | {"statistic": None}, sessions_per_year=252) is None


def test_80_percent_of_samples_of_the_years_needed_are_significant() -> None:
    """Skill of .05 with a standard deviation of .5 needs 6.18 x 100 sessions, a few more with estimated variance."""
    assert rejection_rate(400, skill=0.05, sessions=620) == pytest.approx(0.8, abs=0.06)


def test_local_up_rate_uses_outcomes_that_are_known_after_the_delay_of_the_label() -> None:
    """Terms depend on the horizon through the rows to a known outcome only: a delay counts like a longer horizon."""
    values = simulated_forecasts(4, sessions=600, persistence=0.98)
    terms = {
        (horizon, delay): clark_west_terms(replace(values, horizon=horizon, label_delay=delay))[0]
        for horizon, delay in ((1, 0), (1, 1), (2, 0))
    }
    np.testing.assert_array_equal(terms[1, 1], terms[2, 0])
    assert not np.array_equal(terms[1, 1], terms[1, 0])


def test_nested_test_is_the_published_formula_where_the_means_are_zero() -> None:
    """Clark and West (2007): f = (y - p_r)^2 - ((y - p_u)^2 - (p_r - p_u)^2)."""
    full, reduced = simulated_forecasts(1, skill=0.03), simulated_forecasts(2)
    zero = np.zeros_like(full.up)
    full, reduced = (replace(values, training_probability_mean=zero) for values in (full, reduced))
    y, p_u, p_r = full.up, full.probability, reduced.probability
    expected = cosine_test((y - p_r) ** 2 - ((y - p_u) ** 2 - (p_r - p_u) ** 2), horizon=1)
    actual = nested_clark_west_test(full, reduced)
    assert actual["statistic"] == pytest.approx(expected.statistic)
    assert actual["p_value"] == pytest.approx(expected.p_value)


def test_nested_test_ignores_a_constant_that_is_added_to_probabilities_and_their_mean() -> None:
    full, reduced = simulated_forecasts(3, skill=0.03), simulated_forecasts(4)
    shifted = replace(
        full, probability=full.probability + 0.1, training_probability_mean=full.training_probability_mean + 0.1
    )
    first, second = (nested_clark_west_test(values, reduced)["statistic"] for values in (full, shifted))
    assert first == pytest.approx(second)


def test_nested_test_takes_slow_differences_about_the_local_mean() -> None:
    slow, reduced = simulated_forecasts(5, persistence=0.999, tickers=2), simulated_forecasts(6, tickers=2)
    assert nested_clark_west_test(slow, base_rate_forecasts(slow))["local_tickers"] == 2
    assert nested_clark_west_test(simulated_forecasts(7, tickers=2), reduced)["local_tickers"] == 0


def test_nested_test_of_equal_forecasts_has_no_statistic() -> None:
    values = simulated_forecasts(8)
    assert nested_clark_west_test(values, values)["statistic"] is None


def test_nested_test_takes_differences_by_rounding_as_none() -> None:
    values = simulated_forecasts(8)
    rounded = replace(values, probability=values.probability + 1e-12 * np.random.default_rng(0).normal(size=400))
    assert nested_clark_west_test(rounded, values)["statistic"] is None


def test_base_rates_of_0_and_1_have_infinite_log_odds_without_a_warning() -> None:
    base_rate = base_rate_forecasts(replace(simulated_forecasts(9, sessions=2), base_rate=np.array([0.0, 1.0])))
    assert base_rate.log_odds.tolist() == [-math.inf, math.inf]
    assert base_rate.training_probability_std.tolist() == [0.0, 0.0]


def test_base_rate_forecasts_are_the_log_odds_of_the_base_rate() -> None:
    values = replace(simulated_forecasts(9), base_rate=np.linspace(0.3, 0.7, 400))
    base_rate = base_rate_forecasts(values)
    np.testing.assert_allclose(1 / (1 + np.exp(-base_rate.log_odds)), values.base_rate)
    np.testing.assert_array_equal(base_rate.probability, base_rate.training_probability_mean)
