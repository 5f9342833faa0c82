"""Models of other kinds: a probit, without coefficients of the log odds, and a linear discriminant, with them.

Both are written here as a user would write them, and go through run, pages, predict, audit and sweep.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import quantlr
import statsmodels.api as sm
from click.testing import CliRunner
from pydantic import Field
from quantlr.audits.auditor import audit
from quantlr.cli import main
from quantlr.config.run_config import LoadedConfig, load_config
from quantlr.core.errors import ConfigError, DegenerateFold
from quantlr.core.values import Array, IntArray
from quantlr.experiment.predict import Predictions, predict
from quantlr.experiment.run import Run, run_config
from quantlr.model.base import DescribeRefit, FittedModel, Model, RefitProgressCallback, ignore_refit_progress
from quantlr.model.batched.fit import fit_many
from quantlr.model.training import TrainingData
from quantlr.model.walk_forward import WalkForwardFunctions
from quantlr.pipeline.stages import PipelineStages
from quantlr.report.context import PageContext
from quantlr.report.pages import PAGES
from quantlr.report.pages.model import MODEL_PAGE, model_title_and_text
from scipy.special import logit
from scipy.stats import norm
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

CONFIG: dict[str, Any] = {
    "name": "kinds",
    "data": {"source": {"kind": "sample"}, "tickers": ["MSFT", "IBM"], "start": "2000-03-01", "end": "2002-06-30"},
    "features": [{"kind": "lagged_returns", "lags": [1, 2]}],
    "label": {"kind": "direction", "ties": "drop"},
    "walk_forward": {"train": 250, "refit_every": 60},
}
PROBABILITY_TOLERANCE = 1e-6


@dataclass(frozen=True)
class FittedProbit(FittedModel):
    """Weights (refits, 1 + k) of Probit's index, and by which features are divided (refits, k)."""

    weights: Array = ()  # type: ignore[assignment]
    std: Array = ()  # type: ignore[assignment]

    def log_odds(self, X: Array, refit_index: IntArray) -> Array:
        """Return the log odds of the normal distribution's probability of the index."""
        weights = self.weights[refit_index]
        index = weights[:, 0] + (weights[:, 1:] * X / self.std[refit_index]).sum(axis=1)
        return np.asarray(norm.logcdf(index) - norm.logsf(index))


class Probit(Model):
    """Probit regression by Fisher scoring."""

    kind: Literal["probit"] = "probit"
    max_iter: int = Field(50, description="Largest number of updates.")

    def fit_many(
        self,
        training_sets: Sequence[TrainingData],
        *,
        describe_refits: Sequence[DescribeRefit],
        on_refits_done: RefitProgressCallback = ignore_refit_progress,
    ) -> list[FittedModel]:
        """Return the fits of several tickers, refit by refit."""
        fits: list[FittedModel] = []
        for training, describe in zip(training_sets, describe_refits, strict=True):
            n_refits = len(training.folds[0])
            weights = np.zeros((n_refits, 1 + training.X.shape[1]))
            degenerate, std = np.zeros(n_refits, dtype=np.bool_), training.scaling.std
            std = np.where(std > 0, std, 1.0)
            for refit in range(n_refits):
                rows = training.refit_rows(refit)
                y = training.y[rows]
                degenerate[refit] = y.min() == y.max()
                if degenerate[refit] and self.degenerate == "error":
                    raise DegenerateFold(f"{describe(refit)}: one class")
                weights[refit] = self._fit(training.X[rows] / std[refit], y, is_degenerate=bool(degenerate[refit]))
                on_refits_done(1)
            fits.append(FittedProbit(np.ones(n_refits, dtype=np.bool_), degenerate, weights=weights, std=std))
        return fits

    def _fit(self, X: Array, y: Array, *, is_degenerate: bool) -> Array:
        theta = np.zeros(1 + X.shape[1])
        if is_degenerate:
            theta[0] = norm.ppf((y.sum() + 1.0) / (len(y) + 2.0))
            return theta
        X = np.column_stack([np.ones(len(X)), X])
        for _ in range(self.max_iter):
            z = np.clip(X @ theta, -6.0, 6.0)  # with separated classes the weights have no limit
            p, density = norm.cdf(z), norm.pdf(z)
            weight = density / (p * (1.0 - p))
            step = np.linalg.pinv((X.T * (weight * density)) @ X) @ (X.T @ (weight * (y - p)))
            theta = theta + step
            if np.abs(step).max() < 1e-12:
                break
        return theta


class Discriminant(Model):
    """Linear discriminant analysis: log odds linear in the features, without iterations."""

    kind: Literal["discriminant"] = "discriminant"

    def fit_many(
        self,
        training_sets: Sequence[TrainingData],
        *,
        describe_refits: Sequence[DescribeRefit],
        on_refits_done: RefitProgressCallback = ignore_refit_progress,
    ) -> list[FittedModel]:
        """Return the fits of several tickers, each by scikit-learn."""
        fits = []
        for training in training_sets:
            rows = [training.refit_rows(refit) for refit in range(len(training.folds[0]))]
            models = [LinearDiscriminantAnalysis().fit(training.X[r], training.y[r]) for r in rows]
            on_refits_done(len(models))
            coefficients = np.array([np.append(model.intercept_, model.coef_) for model in models])
            mask = np.zeros(len(models), dtype=np.bool_)
            fits.append(FittedModel(~mask, mask, coefficients))
        return fits


def page_context(run: Run) -> PageContext:
    return PageContext.from_run(run.config, run.run_data, run.metrics, run.notes)


def panel_tables(context: PageContext) -> dict[str, Any]:
    panels = [placed.panel for placed in MODEL_PAGE.place_panels(context)]
    return {panel.key: panel.make_table(context) for panel in panels}


@pytest.fixture(scope="module")
def probit_run() -> Run:
    return quantlr.run(CONFIG, overrides={"model": Probit()})


@pytest.fixture(scope="module")
def discriminant_run() -> Run:
    return quantlr.run({**CONFIG, "model": Discriminant()})


def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make both kinds available to configs, as an installed package does."""
    classes: dict[str, Any] = {"probit": Probit, "discriminant": Discriminant}

    class EntryPoint:
        dist, value = None, "tests"

        def __init__(self, name: str) -> None:
            self.name = name

        def load(self) -> Any:
            return classes[self.name]

    def entry_points(*, group: str, name: str | None = None) -> list[EntryPoint]:
        return [EntryPoint(kind) for kind in classes if group == "quantlr.models" and name in (None, kind)]

    monkeypatch.setattr("quantlr.core.components.entry_points", entry_points)


def reference_probabilities(run: Run) -> Array:
    """Return the probabilities of statsmodels' Probit, fitted to the rows of each refit."""
    data = run.run_data
    forecasts, dataset = data.forecasts, data.dataset
    probabilities = []
    for ticker, folds in enumerate(forecasts.folds):
        del ticker
        for fold in folds:
            train = np.arange(fold.train.start, fold.train.stop)
            train = train[~np.isnan(dataset.up[train])]
            X, test_X = (
                sm.add_constant(100 * dataset.features[rows], has_constant="add") for rows in (train, fold.test)
            )
            fit = sm.Probit(dataset.up[train], X).fit(disp=0, method="newton", tol=1e-12)
            probabilities.append(fit.predict(test_X))
    return np.concatenate(probabilities)


def test_a_probits_forecasts_are_those_of_statsmodels(probit_run: Run) -> None:
    forecasts = probit_run.run_data.forecasts
    np.testing.assert_allclose(forecasts.probability, reference_probabilities(probit_run), atol=PROBABILITY_TOLERANCE)
    np.testing.assert_allclose(forecasts.log_odds, logit(forecasts.probability), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("scope", ["per_ticker", "pooled"])
def test_a_discriminants_forecasts_follow_from_its_coefficients(scope: str) -> None:
    run = quantlr.run({**CONFIG, "model": Discriminant(scope=scope)})
    data, forecasts = run.run_data, run.run_data.forecasts
    row = np.flatnonzero((data.dataset.ticker == 1) & (data.dataset.session == forecasts.session[-1]))[0]
    weights = run.metrics["model"]["coefficients"]["pooled" if scope == "pooled" else "IBM"]
    values = zip(data.dataset.columns, data.dataset.features[row], strict=True)
    expected = weights["intercept"] + sum(weights[name] * value for name, value in values)
    assert forecasts.log_odds[-1] == pytest.approx(expected, abs=1e-12)


def test_metrics_state_the_kind_and_null_where_a_model_has_no_such_number(probit_run: Run) -> None:
    model = probit_run.metrics["model"]
    assert model["kind"] == "probit"
    assert [model[key] for key in ("iterations_mean", "coefficients", "condition_number")] == [None, None, None]
    assert (model["refits"], model["unconverged"], model["degenerate"]) == (
        2 * len(probit_run.run_data.forecasts.folds[0]),
        0,
        0,
    )


@pytest.mark.usefixtures("without_drawing")
def test_the_report_of_a_probit_is_complete_and_runs_again(
    probit_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = probit_run.save(tmp_path)
    expected = {page.file_name for page in PAGES if page.name != "selection"}
    assert expected <= {path.name for path in folder.iterdir()}
    assert "probit" in (folder / "report.html").read_text()
    text = (folder / "config.yaml").read_text()
    assert "kind: probit" in text
    assert "max_iter: 50" in text
    installed(monkeypatch)
    again = quantlr.run(folder / "config.yaml")
    np.testing.assert_array_equal(again.run_data.forecasts.log_odds, probit_run.run_data.forecasts.log_odds)


def test_pages_of_a_model_without_coefficients_show_permutation_importance(probit_run: Run) -> None:
    context = page_context(probit_run)
    tables = panel_tables(context)
    assert set(tables["permutation_importance"]["features"]) == set(probit_run.run_data.dataset.columns)
    assert "coefficient_paths" not in tables
    assert "neither loss curves nor learning rates" in tables["no_descent"]["message"]
    assert "message" not in tables["sigmoid"]
    assert not {"training_loss", "iteration_counts", "loss_by_learning_rate"} & tables.keys()
    title, text = model_title_and_text(context)
    assert "probit" in title
    assert "all converged" in text
    assert context.setup_text.startswith("probit, ")


def test_pages_of_a_model_with_coefficients_draw_them_without_intervals(discriminant_run: Run) -> None:
    context = page_context(discriminant_run)
    table = panel_tables(context)["coefficient_paths"]
    data = discriminant_run.run_data
    folds, X = data.forecasts.folds[0], data.dataset.features
    newest = folds[len(folds) - 1].train
    labelled_X = X[newest][~np.isnan(data.dataset.up[newest])]
    expected = data.forecasts.refits.coefficients[len(folds) - 1, 1:] * labelled_X.std(axis=0)
    order = np.argsort(-np.abs(expected))
    np.testing.assert_allclose(table["coefficients"][-1], expected[order], rtol=1e-9)
    assert np.isnan(table["low"]).all()
    assert "±" not in "".join(table["texts"])
    assert "2 standardised coefficients, the largest of lagged_returns_" in model_title_and_text(context)[0]


def test_all_pages_and_those_of_the_tickers_can_be_drawn(tmp_path: Path) -> None:
    run = quantlr.run({**CONFIG, "model": Probit(calibration="platt"), "report": {"per_ticker": True}})
    assert (run.save(tmp_path) / "model.png").stat().st_size > 10_000
    pooled = quantlr.run({**CONFIG, "model": Discriminant(scope="pooled")})
    assert len(MODEL_PAGE.render_picture(page_context(pooled)).png_bytes) > 10_000


def newest_signals(model: Model) -> Predictions:
    return predict({**CONFIG, "model": model}, today=dt.date(2002, 7, 1))


def test_predict_shows_contributions_only_of_a_model_that_has_coefficients(probit_run: Run) -> None:
    forecasts = probit_run.run_data.forecasts
    (msft, ibm) = newest_signals(Probit()).tickers
    assert ibm.probability == forecasts.probability[-1]
    assert msft.at_the_mean is None
    assert msft.contributions == ()
    for prediction in newest_signals(Discriminant()).tickers:
        assert prediction.at_the_mean is not None
        total = prediction.at_the_mean + sum(part.log_odds for part in prediction.contributions)
        assert total == pytest.approx(prediction.log_odds, abs=1e-12)


def test_the_terminal_says_that_there_are_no_contributions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch)
    path = tmp_path / "kinds.yaml"
    path.write_text(json.dumps({**CONFIG, "model": {"kind": "probit"}}))
    result = CliRunner().invoke(main, ["predict", str(path)])
    assert result.exit_code == 0, result.output
    assert "no contributions of the features: probit has no coefficients" in result.output


class LeakyProbit(Probit):
    """A probit whose refits learn from the rows that they forecast."""

    kind: Literal["leaky"] = "leaky"  # type: ignore[assignment]

    def fit_many(self, training_sets: Sequence[TrainingData], **callbacks: Any) -> list[FittedModel]:
        """Return the fits with five more training rows."""
        later = [
            replace(
                data,
                folds=[
                    replace(folds, train_stop=np.minimum(folds.train_stop + 5, len(data.y))) for folds in data.folds
                ],
            )
            for data in training_sets
        ]
        return super().fit_many(later, **callbacks)


@pytest.mark.parametrize("calibration", [None, "platt"])
def test_an_audit_finds_only_the_leak_of_a_leaky_model(calibration: str | None) -> None:
    clean = audit({**CONFIG, "model": Probit(calibration=calibration)}, n_cutoffs=2)
    assert clean.is_clean
    assert clean.coverage.n_compared_by_stage["fit"] > 0
    leaks = audit({**CONFIG, "model": LeakyProbit(calibration=calibration)}, n_cutoffs=2).leaks
    assert {leak.stage for leak in leaks} == {"fit"}


def test_a_sweep_over_a_models_own_parameters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch)
    base = {**CONFIG, "model": {"kind": "probit"}}
    result = quantlr.sweep(
        {"name": "kinds", "base": base, "holdout": 0.0, "grid": {"model.max_iter": [1, 50]}}, output=tmp_path, workers=1
    )
    few, many = result.trials.sort_values("model.max_iter")["log_loss"]
    expected = quantlr.run(base).metrics["forecast"]["log_loss"]
    assert many == pytest.approx(expected, abs=1e-12)
    assert few != many


def test_the_catalogue_lists_installed_models_last(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch)
    entries = json.loads(CliRunner().invoke(main, ["models", "--json"]).stdout)["models"]
    assert [entry["kind"] for entry in entries] == ["logistic_regression", "sklearn", "discriminant", "probit"]
    assert entries[3]["summary"] == "Probit regression by Fisher scoring."
    assert [parameter["name"] for parameter in entries[3]["parameters"]][-1] == "max_iter"


def test_an_unknown_kind_is_refused_with_the_kinds_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="logistic_regression"):
        load_config({**CONFIG, "model": {"kind": "probit"}})
    installed(monkeypatch)
    with pytest.raises(ConfigError, match=r"logistic_regression.*discriminant.*probit"):
        load_config({**CONFIG, "model": {"kind": "svm"}})
    with pytest.raises(ConfigError, match="max_iter"):
        load_config({**CONFIG, "model": {"kind": "probit", "max_iter": "many"}})
    assert load_config({**CONFIG, "model": {"l2": 0.5}}).run.model.kind == "logistic_regression"


def shrunken_fit(training_sets: Sequence[TrainingData], model: Model, **callbacks: Any) -> list[FittedModel]:
    """Return the logistic regression's coefficients, halved."""
    logistic = model.as_logistic_regression()
    assert logistic
    return [replace(fit, coefficients=fit.coefficients / 2) for fit in fit_many(training_sets, logistic, **callbacks)]


@pytest.mark.usefixtures("without_drawing")
def test_a_replaced_fit_is_named_and_no_losses_of_another_model_are_drawn(tmp_path: Path) -> None:
    loaded: LoadedConfig = load_config(CONFIG)
    stages = PipelineStages(walk_forward_steps=WalkForwardFunctions(fit_refits=shrunken_fit))
    run, original = run_config(loaded, stages), run_config(loaded)
    assert original.provenance["replaced_stages"] == {}
    ((stage, name),) = run.provenance["replaced_stages"].items()
    assert stage == "fit_refits"
    assert name.endswith("shrunken_fit")
    context = page_context(run)
    tables = panel_tables(context)
    assert "fit_refits was replaced" in tables["no_descent"]["message"]
    assert "fit_refits was replaced" in tables["coefficient_paths"]["message"]
    assert "fit replaced" in context.setup_text
    assert "shrunken_fit" in model_title_and_text(context)[0]
    assert "shrunken_fit" in context.notes[0]
    html = (run.save(tmp_path) / "report.html").read_text()
    assert "shrunken_fit" in html
    assert "shrunken_fit" not in (original.save(tmp_path) / "report.html").read_text()


def test_a_replaced_stage_outside_the_model_is_named_too() -> None:
    def decide(*args: Any) -> Any:
        return PipelineStages().decide_positions(*args)

    run = run_config(load_config(CONFIG), PipelineStages(decide_positions=decide))
    assert list(run.provenance["replaced_stages"]) == ["decide_positions"]
    assert "message" not in panel_tables(page_context(run))["training_loss"]
