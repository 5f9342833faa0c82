"""A race against single runs, statsmodels and scikit-learn, and its trials in the ledger."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import quantlr
from quantlr.core.errors import UserError
from quantlr.experiment.ledger import Ledger
from quantlr.experiment.race import RaceResult
from quantlr.model.sklearn_classifier import find_classifier
from quantlr.report.race import race_metrics
from quantlr.stats.directional import auc_scores, delong_auc_interval
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score
from sklearn.naive_bayes import GaussianNB
from statsmodels.stats.multitest import multipletests

BASE: dict[str, Any] = {
    "name": "race",
    "data": {"source": {"kind": "sample"}, "tickers": ["MSFT", "IBM"], "start": "2000-03-01", "end": "2002-12-31"},
    "features": [{"kind": "lagged_returns", "lags": [1, 2]}],
    "walk_forward": {"train": 250, "refit_every": 60},
}
NAIVE = ["majority class", "last sign (momentum)", "reversal", "12-month momentum"]


@functools.cache
def race_of_two() -> RaceResult:
    return quantlr.race(BASE, against=["gaussian_nb", RandomForestClassifier(n_estimators=3, max_depth=2)])


def test_competitors_are_the_model_the_challengers_and_the_naive_rules() -> None:
    table = race_of_two().table
    forest = "RandomForestClassifier(max_depth=2, n_estimators=3)"
    assert sorted(table["name"]) == sorted(["logistic_regression", "GaussianNB", forest, *NAIVE])
    assert list(table["kind"]) == ["model", "challenger", "challenger", *["naive rule"] * 4]
    assert (table["cpu_seconds"] >= 0).all()


@pytest.mark.parametrize(
    ("row", "model"), [(0, {"kind": "logistic_regression"}), (1, {"kind": "sklearn", "estimator": "GaussianNB"})]
)
def test_metrics_are_those_of_a_run_of_the_same_model(row: int, model: dict[str, Any]) -> None:
    run, entry = quantlr.run(BASE | {"model": model}), race_of_two().table.iloc[row]
    for metric in race_metrics():
        assert entry[metric.key] == pytest.approx(metric.value(run.metrics), rel=1e-12), metric.key
    for name, (_, rule) in zip(run.metrics["naive_rules"], race_of_two().table.iloc[3:].iterrows(), strict=True):
        assert rule["sharpe"] == pytest.approx(run.metrics["naive_rules"][name]["sharpe"])


def test_differences_are_those_of_the_metrics_and_intervals_contain_them() -> None:
    table = race_of_two().table
    for metric in race_metrics():
        tested = table[table[f"{metric.key}_p_value"].notna()]
        assert len(tested) == (3 if metric.key == "log_loss" else 6)
        difference = tested[metric.key] - table[metric.key][0]
        np.testing.assert_allclose(tested[f"{metric.key}_difference"], difference, atol=1e-12)
        for low, high in (("low95", "high95"), ("holm_low", "holm_high")):
            assert (tested[f"{metric.key}_{low}"] < difference).all()
            assert (difference < tested[f"{metric.key}_{high}"]).all()


def test_interval_of_the_growth_difference_is_near_the_delta_method() -> None:
    model, other = (entry.competitor.backtest for entry in race_of_two().entries[:2])
    row = race_of_two().table.iloc[1]
    growth = np.log1p(np.stack([model.result.net_return, other.result.net_return]))
    per_year = growth.shape[1] / model.years
    slopes = per_year * np.exp(per_year * growth.mean(axis=1))
    error = (slopes[1] * growth[1] - slopes[0] * growth[0]).std() / np.sqrt(growth.shape[1])
    assert row["cagr_high95"] - row["cagr_low95"] == pytest.approx(2 * 1.96 * error, rel=0.25)


def test_p_values_are_adjusted_together_as_by_statsmodels() -> None:
    table = race_of_two().table
    columns = [f"{metric.key}_p_value" for metric in race_metrics()]
    p_values = table[columns].to_numpy(dtype=float).T.ravel()
    adjusted = table[[name.replace("_p_", "_holm_p_") for name in columns]].to_numpy(dtype=float).T.ravel()
    is_tested = ~np.isnan(p_values)
    np.testing.assert_allclose(adjusted[is_tested], multipletests(p_values[is_tested], method="holm")[1])


def test_scores_of_the_area_have_its_mean_and_delongs_variance() -> None:
    rng = np.random.default_rng(0)
    up = (rng.random(2000) < 0.55).astype(float)
    score = np.round(rng.normal(0.3 * up, 1.0), 1)
    scores, interval = auc_scores(score, up), delong_auc_interval(score, up)
    assert scores is not None
    assert interval is not None
    assert scores.mean() == pytest.approx(roc_auc_score(up, score))
    assert 2 * 1.96 * scores.std() / np.sqrt(2000) == pytest.approx(interval[1] - interval[0], rel=0.01)
    assert auc_scores(score, np.ones(2000)) is None


@pytest.mark.usefixtures("without_drawing")
def test_model_and_challengers_are_trials_and_naive_rules_are_not(tmp_path: Path) -> None:
    result = quantlr.race(BASE, against=["GaussianNB"])
    result.save(tmp_path)
    entries = Ledger.from_output_folder(tmp_path).read_entries()
    assert {entry.trial.config_sha256 for entry in entries} == {trial.config_sha256 for trial in result.trials}
    assert len(entries) == 2
    run = quantlr.run(BASE | {"model": {"kind": "sklearn", "estimator": "GaussianNB"}}, output=tmp_path)
    assert run.metrics["significance"]["trials"] == 2

    assert not (tmp_path / "race" / "race.csv").exists()  # the report of a run replaces the race of its name


def test_prices_of_a_program_are_used(tmp_path: Path) -> None:
    closes = pd.DataFrame(
        100 * np.exp(np.random.default_rng(0).normal(0, 0.01, (600, 1)).cumsum(axis=0)),
        index=pd.bdate_range("2015-01-01", periods=600),
        columns=["ABC"],
    )
    config = {"name": "frame", "features": BASE["features"], "walk_forward": {"train": 250}}
    table = quantlr.race(config, data=closes, output=tmp_path).table
    assert len(table) == 5
    pd.testing.assert_frame_equal(table, pd.read_csv(tmp_path / "frame" / "race.csv"), check_dtype=False, rtol=1e-12)


@pytest.mark.parametrize(
    ("name", "estimator"),
    [
        ("hist_gradient_boosting", "HistGradientBoostingClassifier"),
        ("HistGradientBoostingClassifier", "HistGradientBoostingClassifier"),
        ("random-forest", "RandomForestClassifier"),
        ("RANDOMFOREST", "RandomForestClassifier"),
        ("gaussian_nb", "GaussianNB"),
        ("k_neighbors_classifier", "KNeighborsClassifier"),
        ("logistic_regression_cv", "LogisticRegressionCV"),
        ("mlp", "MLPClassifier"),
    ],
)
def test_classifiers_are_found_in_either_form(name: str, estimator: str) -> None:
    assert find_classifier(name) == estimator


@pytest.mark.parametrize(
    ("against", "texts"),
    [
        (["random_forrest"], ("random_forrest", "did you mean random_forest?")),
        (["os.system"], ("'os.system'",)),
        ("gaussian_nb", ("list", "['gaussian_nb']")),
        (["gaussian_nb", "GaussianNB"], ("GaussianNB", "already")),
        ([GaussianNB(var_smoothing=-1.0)], ("var_smoothing",)),
        (["gaussian_nb"] * 9, ("7 challengers", "found 9")),
        ([3], ("3",)),
    ],
)
def test_mistakes_in_challengers_are_user_errors(against: Any, texts: tuple[str, ...]) -> None:
    with pytest.raises(UserError) as caught:
        quantlr.race(BASE, against=against)
    for text in texts:
        assert text in str(caught.value)


def test_the_configs_own_model_is_no_challenger_of_itself() -> None:
    with pytest.raises(UserError, match="already"):
        quantlr.race(BASE | {"model": {"kind": "sklearn", "estimator": "GaussianNB"}}, against=["gaussian_nb"])
