"""A race: the config's model against other classifiers and the naive rules, on the same rows and folds."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from pydantic import ValidationError

from quantlr.backtest.metric_types import BacktestView, evaluate_forecasts
from quantlr.backtest.naive_rules import evaluate_naive_rules
from quantlr.config.run_config import ConfigSource, RunConfig, load_config
from quantlr.core.component_errors import iter_user_defined_components
from quantlr.core.errors import UserError
from quantlr.core.progress import Progress, ignore_progress
from quantlr.core.values import Prices, RunData
from quantlr.data.features import Feature
from quantlr.experiment.price_overlap import price_overlap_keys
from quantlr.experiment.selection import require_one_model
from quantlr.experiment.supplement import require_own_report, save_page
from quantlr.experiment.trial import Trial, TrialResult
from quantlr.model.base import Model
from quantlr.model.sklearn_classifier import SklearnClassifier, find_classifier
from quantlr.model.training_probabilities import unknown_probability_stats
from quantlr.model.walk_forward import DEFAULT_FUNCTIONS, WalkForwardFunctions, walk_forward
from quantlr.pipeline.stages import (
    Decisions,
    dataset_from_config,
    decide,
    load_run_prices,
    run_backtest,
    walk_forward_spec,
)
from quantlr.report.context import PageContext
from quantlr.report.race import Competitor, CompetitorKind, RaceEntry, make_race_entries, race_table

if TYPE_CHECKING:
    from quantlr.report.figures import FigureCollection
    from quantlr.report.pages import Page

RACE_CSV_FILE = "race.csv"
MAX_CHALLENGERS = 7
"""Challengers that a page has rows for."""
CHALLENGER_FUNCTIONS = WalkForwardFunctions(compute_probability_stats=unknown_probability_stats)
"""Functions of a challenger's walk-forward: its skill is compared with the model's, and has no test of its own."""


@dataclass(frozen=True, slots=True)
class RaceResult:
    """A race between a config's model, its challengers and the naive rules.

    Attributes
    ----------
    config : the resolved config.
    entries : the model, the challengers in the order given, and the naive rules.
    trials : the model and the challengers, as the ledger records them.
    run_data : of the config's model.
    """

    config: RunConfig
    entries: tuple[RaceEntry, ...]
    trials: tuple[Trial, ...]
    run_data: RunData

    @property
    def table(self) -> pd.DataFrame:
        """One row per competitor: name, kind, processor time, and each metric with its difference from the model's.

        The metrics are `log_loss`, `accuracy`, `auc`, `cagr` and `sharpe`; each has `_difference`, `_low95`,
        `_high95`, `_p_value`, and `_holm_p_value`, `_holm_low` and `_holm_high`, adjusted for all of them; these are
        missing for the model itself.
        """
        return race_table(self.entries)

    @property
    def page(self) -> Page:
        """The page ``race.png``."""
        from quantlr.report.pages.race import make_race_page

        return make_race_page(self.entries)

    @property
    def page_context(self) -> PageContext:
        """What the page is drawn from, besides the entries."""
        data = self.run_data
        notes = (*data.prices.notes, *data.dataset.notes, *data.forecasts.notes)
        return PageContext.from_run(self.config, data, {}, notes)

    @property
    def figures(self) -> FigureCollection:
        """The panels of the page as figures of matplotlib, by name, as `Run.figures`."""
        from quantlr.report.figures import FigureCollection, iter_page_panels

        return FigureCollection(iter_page_panels([self.page], self.page_context))

    def save(self, output: str | Path = "reports") -> list[Path]:
        """Write ``race.png`` and ``race.csv`` into the run's report folder, record the trials, and return the paths.

        Raises
        ------
        OutputError : the report in that folder is of another config; or as for `Run.save`.
        Fault : as for `Run.save`.
        """
        return save_page(self.page, self.page_context, {RACE_CSV_FILE: self.table}, output, trials=self.trials)


def race(
    config: ConfigSource,
    *,
    against: Sequence[Any] = (),
    overrides: Mapping[str, Any] | None = None,
    features: Sequence[Feature] = (),
    data: Any = None,
    output: str | Path | None = None,
    offline: bool = False,
    workers: int = 1,
    progress: Progress = ignore_progress,
) -> RaceResult:
    """Compare a config's model with other classifiers and with the naive rules, on the same rows and folds.

    Scope, calibration and policy are those of the config. Every difference from the config's model has an interval by
    the paired bootstrap, and the p values are adjusted for all of them by Holm's method.

    Parameters
    ----------
    config, overrides, features, data, offline, workers, progress : as in `quantlr.run`.
    against : the challengers: names of scikit-learn's classifiers such as ``"hist_gradient_boosting"``, or its objects.
    output : folder of reports. ``race.png`` and ``race.csv`` are written there, and the model and the challengers are
        recorded in its ledger of trials. With None nothing is written.

    Returns
    -------
    result : `RaceResult.table` is a DataFrame with one row per competitor.

    Raises
    ------
    UserError : the config, the data or the name of a challenger need a change; the message says where and which.
    ComponentError : an object of your own classes failed; the message names it and the line.
    LookAheadError : a component of your own depends on later values.
    Fault : the network, the disk or another program failed.

    Examples
    --------
    >>> import quantlr
    >>> result = quantlr.race("configs/sp500_daily.yaml", against=["gaussian_nb"])  # doctest: +SKIP
    >>> result.table[["name", "log_loss", "log_loss_holm_p_value"]]  # doctest: +SKIP
    """
    loaded = load_config(config, overrides=overrides, features=features, data=data)
    require_one_model(loaded, verb="race")
    run = loaded.run
    if output is not None:
        require_own_report(run, output)
    models = {run.model.display_name: run.model} | make_challengers(run, against)
    with loaded.add_location_to_errors():
        prices = load_run_prices(run, offline=offline, progress=progress)
        dataset = dataset_from_config(run, prices, progress=progress)
        per_year, keys = run.report.sessions_in_year(prices), price_overlap_keys(prices)
        competitors: list[Competitor] = []
        run_data: list[RunData] = []
        trials: list[Trial] = []
        for name, model in models.items():
            entrant = run.model_copy(update={"model": model})
            started = cpu_seconds()
            functions = CHALLENGER_FUNCTIONS if run_data else DEFAULT_FUNCTIONS
            split_spec = walk_forward_spec(entrant, prices)
            forecasts = walk_forward(dataset, split_spec, model, functions, workers=workers, progress=progress)
            decisions = decide(entrant, prices, dataset, forecasts)
            data = run_backtest(entrant, prices, decisions, progress=progress)
            seconds = cpu_seconds() - started
            if not run_data:
                _audit_user_components(run, prices, decisions)
            backtest = BacktestView(data.result, per_year)
            kind: CompetitorKind = "challenger" if run_data else "model"
            competitors.append(Competitor(name, kind, evaluate_forecasts(data.forecasts), backtest, seconds))
            result = TrialResult.from_backtest(data.result, per_year)
            trials.append(Trial.from_config(entrant, data_sha256=prices.sha256, price_keys=keys, result=result))
            run_data.append(data)
        competitors += _naive_competitors(run, run_data[0], per_year)
    finished = RaceResult(run, make_race_entries(competitors), tuple(trials), run_data[0])
    if output is not None:
        finished.save(output)
    return finished


def make_challengers(config: RunConfig, against: Sequence[Any]) -> dict[str, Model]:
    """Return the challengers of a config's model by name, with the config's scope, calibration and seed.

    Parameters
    ----------
    config : of the race.
    against : names of scikit-learn's classifiers, as class names or in snake case, or its objects.

    Raises
    ------
    UserError : a name is unknown, a classifier cannot be used, one is there twice, or there are too many.
    """
    if isinstance(against, str):
        raise UserError(f"against: needed a list of classifiers, found {against!r}; write [{against!r}]")
    if len(against) > MAX_CHALLENGERS:
        raise UserError(f"against: a page has room for {MAX_CHALLENGERS} challengers, found {len(against)}; name fewer")
    model, challengers = config.model, dict[str, Model]()
    for classifier in against:
        try:
            estimator = find_classifier(classifier) if isinstance(classifier, str) else classifier
            challenger = SklearnClassifier(
                estimator=estimator,
                scope=model.scope,
                calibration=model.calibration,
                degenerate=model.degenerate,
                random_state=config.seed % 2**32,
            )
        except ValidationError as error:
            raise UserError(f"against {classifier!r}: {error.errors()[0]['msg']}") from None
        except ValueError as error:
            raise UserError(f"against {classifier!r}: {error}") from None
        name = challenger.display_name
        if name in challengers or name == model.display_name:
            raise UserError(f"against {classifier!r}: {name} is in the race already; name another")
        challengers[name] = challenger
    return challengers


def cpu_seconds() -> float:
    """Return the processor time of this process, all threads included, and of its processes that have ended."""
    times = os.times()
    return time.process_time() + times.children_user + times.children_system


def _audit_user_components(config: RunConfig, prices: Prices, decisions: Decisions) -> None:
    """Audit components from outside the catalogue, as a run does."""
    if any(iter_user_defined_components(config)):
        from quantlr.audits.user_components import audit_user_decisions, audit_user_inputs

        audit_user_inputs(config, prices)
        audit_user_decisions(config, prices, decisions)


def _naive_competitors(config: RunConfig, run_data: RunData, sessions_per_year: int) -> Iterator[Competitor]:
    started = cpu_seconds()
    for result in evaluate_naive_rules(run_data, config.policy, config.execution, sessions_per_year=sessions_per_year):
        rule, seconds = result.rule, cpu_seconds() - started
        yield Competitor(
            rule.name,
            "naive rule",
            result.forecasts,
            result.backtest,
            seconds,
            has_probabilities=rule.has_probabilities,
        )
        started = cpu_seconds()
