"""The latest signal: forecast and position after the newest close, as the backtest computes them.

The walk-forward runs over all prices as in a backtest, and the newest row of each ticker is read from its result: the
model is the one that the schedule of refits has for that session, trained on what is known by then.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from quantlr.backtest.costs import Fill
from quantlr.config.candidates import fitted_config_and_dataset
from quantlr.config.run_config import ConfigSource, RunConfig, load_config
from quantlr.core.errors import DataError, NotEnoughHistory
from quantlr.core.frequency import bar_unit
from quantlr.core.market_views import market_of
from quantlr.core.progress import Progress, ignore_progress
from quantlr.core.timing import iso_date
from quantlr.core.values import Forecasts, Note, Prices
from quantlr.data.features import Feature
from quantlr.experiment.audited_decisions import forecast_and_decide_audited
from quantlr.experiment.evaluate import compute_metrics
from quantlr.model.base import Model
from quantlr.model.candidates import SelectedForecasts
from quantlr.model.logistic import sigmoid
from quantlr.model.solvers import learning_rate_limit
from quantlr.model.standardize import fold_scaling
from quantlr.pipeline.stages import Decisions, load_run_prices, run_backtest

STALE_AFTER_DAYS = 5
"""Default age above which prices are stale: the longest weekend, from Thursday to Tuesday, is not longer."""
DAYS_PER_BAR = {"session": 0, "week": 7, "month": 31}
"""Days by which a last bar may be older, by the word for a bar."""
FILL_TIME_TEXTS: dict[Fill, str] = {
    "next_close": "at the close of the {unit} after {date}",
    "next_open": "at the open of the {unit} after {date}",
    "close": "at the close of {date} itself, which is not tradable after this forecast",
}


@dataclass(frozen=True, slots=True)
class LogOddsContribution:
    """Contribution of one feature to the log odds.

    Attributes
    ----------
    feature : name of its column.
    value : on the as-of session, in the feature's unit.
    mean : over the training rows of the model.
    coefficient : change of the log odds per unit, after calibration where there is one.
    log_odds : coefficient * (value - mean).
    """

    feature: str
    value: float
    mean: float
    coefficient: float
    log_odds: float


@dataclass(frozen=True, slots=True)
class TrainingSummary:
    """The training rows of a model.

    Attributes
    ----------
    refit : first session that the model forecasts.
    first, last : sessions of the oldest and the newest training row.
    rows : number of training rows with a label.
    base_rate : share of ups among them.
    solver : of the fit; None of a model that is no logistic regression.
    learning_rate : in standardised units; None for Newton's method, whose learning rate is the inverse Hessian.
    learning_rate_limit : 2/L, or 1/L with Nesterov's momentum; None without a fit.
    iterations : updates of the fit; None of a fit without updates.
    max_abs_gradient : largest component of the gradient that was left; None of a fit without a gradient.
    converged : whether the fit has converged.
    """

    refit: str
    first: str
    last: str
    rows: int
    base_rate: float
    solver: str | None
    learning_rate: float | None
    learning_rate_limit: float | None
    iterations: int | None
    max_abs_gradient: float | None
    converged: bool


@dataclass(frozen=True, slots=True)
class CandidateWeight:
    """One of the candidates that a config chooses among, at the newest session.

    Attributes
    ----------
    values : by dotted key.
    weight : share in the forecast, from 0 to 1.
    probability : of an up move, by this candidate alone.
    """

    values: dict[str, Any]
    weight: float
    probability: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """Forecast and position of one ticker.

    Attributes
    ----------
    ticker : name.
    as_of : the ticker's newest session, at whose close the forecast is made.
    age : days from `as_of` to today.
    probability : of an up move over the label's horizon.
    log_odds : of the same; of a model with coefficients the sum of `at_the_mean` and all contributions.
    at_the_mean : log odds of a row with every feature at its training mean; None of a model without coefficients.
    contributions : of each feature; () of a model without coefficients, and of a mixture of candidates, since the log
        odds are no such sum.
    trained : the model's training rows; those of the candidate with the largest weight.
    weight : fraction of equity that the strategy holds: shared among tickers, the mean of the last `horizon`
        decisions; negative is short.
    position : the weight as text.
    filled : when the position is traded, as text.
    warnings : reasons why the forecast may be out of date.
    candidates : what the config chooses among, the largest weight first; () where nothing is chosen.
    """

    ticker: str
    as_of: str
    age: int
    probability: float
    log_odds: float
    at_the_mean: float | None
    contributions: tuple[LogOddsContribution, ...]
    trained: TrainingSummary
    weight: float
    position: str
    filled: str
    warnings: tuple[str, ...]
    candidates: tuple[CandidateWeight, ...] = ()


@dataclass(frozen=True, slots=True)
class Predictions:
    """The latest signals of a config.

    Attributes
    ----------
    name : of the config.
    model : kind of the model.
    today : the date that ages are counted to.
    horizon : bars that are forecast.
    bar_unit : the word for a bar: session, week or month.
    label_of : "close" where they start at the forecast's close, "fill" where they start at the position's fill.
    sha256 : digest of the prices.
    verdict : the sentence on the backtest of the same config and prices, without a ledger of trials; None where the
        history is too short for a backtest.
    tickers : one prediction for every ticker with enough history, in the config's order.
    notes : what was dropped, left out, or did not converge.
    """

    name: str
    model: str
    today: str
    horizon: int
    bar_unit: str
    label_of: str
    sha256: str
    verdict: str | None
    tickers: tuple[Prediction, ...]
    notes: tuple[Note, ...]


def predict(
    config: ConfigSource,
    *,
    overrides: Mapping[str, Any] | None = None,
    features: Sequence[Feature] = (),
    data: Any = None,
    today: dt.date | None = None,
    stale_after: int = STALE_AFTER_DAYS,
    offline: bool = False,
    workers: int = 1,
    progress: Progress = ignore_progress,
) -> Predictions:
    """Return the latest signals of a config: each ticker's forecast and position after its newest close.

    Parameters
    ----------
    config, overrides, features, data, offline, workers, progress : as in `quantlr.run`.
    today : the date that the age of prices is counted to; None for that of the clock.
    stale_after : age in days above which prices are called stale; of weekly and monthly bars, beyond a week or month.

    Returns
    -------
    predictions : the verdict on the backtest, and for each ticker probability, position, and the contribution of each
        feature to the log odds.

    Raises
    ------
    UserError : the config or the data need a change; the message says where and which.
    ComponentError : an object of your own classes failed; the message names it and the line.
    LookAheadError : a component of your own depends on later values; each is audited as in `quantlr.run`.
    Fault : the network, the disk or another program failed.

    Examples
    --------
    >>> import quantlr
    >>> quantlr.predict("configs/sp500_daily.yaml").tickers[0].probability  # doctest: +SKIP
    """
    loaded = load_config(config, overrides=overrides, features=features, data=data)
    today = today or dt.date(*time.localtime()[:3])
    with loaded.add_location_to_errors():
        prices = load_run_prices(loaded.run, offline=offline, progress=progress)
        decisions = forecast_and_decide_audited(loaded.run, prices, workers=workers, progress=progress)
        verdict = _backtest_verdict(loaded.run, prices, decisions, progress)
    predictions = predict_newest_rows(loaded.run, prices, decisions, today=today, stale_after=stale_after)
    return replace(predictions, verdict=verdict)


def _backtest_verdict(config: RunConfig, prices: Prices, decisions: Decisions, progress: Progress) -> str | None:
    """Return the verdict on the backtest of all decisions; None where there is no outcome or return yet."""
    try:
        run_data = run_backtest(config, prices, decisions, progress=progress)
    except NotEnoughHistory:
        return None
    except DataError as error:
        if error.key != "walk_forward.train":
            raise
        return None
    return str(compute_metrics(config, run_data, progress=progress)["verdict"]["sentence"])


def predict_newest_rows(
    config: RunConfig, prices: Prices, decisions: Decisions, *, today: dt.date, stale_after: int = STALE_AFTER_DAYS
) -> Predictions:
    """Return the forecast and position of each ticker's newest row, of all that a run decides, without the verdict.

    A ticker that is no longer a member of the universe at its newest bar is left out.

    Raises
    ------
    DataError : none is left.
    """
    forecasts, predictions = decisions.forecasts, []
    fitted_config, fitted_dataset = fitted_config_and_dataset(config, decisions.dataset, forecasts)
    fitted = replace(decisions, dataset=fitted_dataset)
    unit = bar_unit(config.report.sessions_in_year(prices))
    stale_after += DAYS_PER_BAR[unit]
    for row in np.flatnonzero(np.diff(forecasts.ticker, append=-1)).tolist():
        ticker, session, sessions = int(forecasts.ticker[row]), int(forecasts.session[row]), forecasts.sessions
        if prices.member_mask is not None and not prices.member_mask[prices.n_bars[ticker] - 1, ticker]:
            continue
        as_of, age = iso_date(sessions[session]), (today - sessions[session].date()).days
        warnings = [*_staleness_warnings(sessions, session, age=age, today=today, stale_after=stale_after)]
        if age == 0 and not market_of(prices, ticker).name:
            unfinished = f"the bar of today, {as_of}, counts as finished, since the close of its market is not known"
            warnings.append(f"{unfinished}; state the market as data.calendar: XNYS")
        at_the_mean, contributions, trained = _log_odds_contributions_and_training(fitted, row, fitted_config.model)
        candidates = _candidate_weights(config, forecasts, row)
        if candidates and candidates[0].weight < 1.0:
            at_the_mean, contributions = None, ()
        weight = float(decisions.positions.weight[session, ticker])
        predictions.append(
            Prediction(
                ticker=forecasts.tickers[ticker],
                as_of=as_of,
                age=age,
                probability=float(forecasts.probability[row]),
                log_odds=float(forecasts.log_odds[row]),
                at_the_mean=at_the_mean,
                contributions=contributions,
                trained=trained,
                weight=weight,
                position=position_text(weight),
                filled=FILL_TIME_TEXTS[config.execution.fill].format(date=as_of, unit=unit),
                warnings=tuple(warnings),
                candidates=candidates,
            )
        )
    if not predictions:
        text = f"no ticker with a forecast is still a member at its newest bar, up to {iso_date(prices.sessions[-1])}"
        raise DataError(f"{text}; correct the dates, or add the members of today", key="data.membership")
    notes = (*prices.notes, *decisions.dataset.notes, *forecasts.notes)
    return Predictions(
        name=config.name,
        model=fitted_config.model.kind,
        today=iso_date(today),
        horizon=forecasts.horizon,
        bar_unit=unit,
        label_of=config.label.of,
        sha256=prices.sha256,
        verdict=None,
        tickers=tuple(predictions),
        notes=notes,
    )


def _candidate_weights(config: RunConfig, forecasts: Forecasts, row: int) -> tuple[CandidateWeight, ...]:
    """Return the weight of each candidate in a forecast, the largest first."""
    if not isinstance(forecasts, SelectedForecasts):
        return ()
    selection = forecasts.selection
    weights = selection.weights[np.searchsorted(selection.session, forecasts.session[row])].tolist()
    log_odds = np.array([candidate.log_odds[row] for candidate in selection.candidates])
    parts = zip(config.candidates(), weights, sigmoid(log_odds).tolist(), strict=True)
    candidates = (CandidateWeight(one.values, weight, probability) for one, weight, probability in parts)
    return tuple(sorted(candidates, key=lambda candidate: -candidate.weight))


def position_text(weight: float) -> str:
    """Return a weight as text: "flat", or long or short with its share of equity."""
    return f"{'long' if weight > 0 else 'short'} {100 * abs(weight):.4g}% of equity" if weight else "flat"


def _log_odds_contributions_and_training(
    decisions: Decisions, forecast_row: int, model: Model
) -> tuple[float | None, tuple[LogOddsContribution, ...], TrainingSummary]:
    """Return the log odds with all features at their training means, the features' contributions, and the training.

    The first two are None and () of a model without coefficients.
    """
    dataset, forecasts, refits = decisions.dataset, decisions.forecasts, decisions.forecasts.refits
    ticker, fold = int(forecasts.ticker[forecast_row]), int(forecasts.fold[forecast_row])
    model_ticker, model_folds = -1, forecasts.folds
    if ticker in refits.ticker:
        model_ticker, model_folds = ticker, (model_folds[np.unique(forecasts.ticker).tolist().index(ticker)],)
    refit = np.flatnonzero(refits.ticker == model_ticker)[fold]
    refit_folds = [folds.slice_refits(slice(fold, fold + 1)) for folds in model_folds]
    has_label = ~np.isnan(dataset.up)
    at_the_mean, contributions = None, list[LogOddsContribution]()
    if refits.has_coefficients:
        mean = fold_scaling(dataset.features, refit_folds, has_label=has_label).mean[0]
        intercept, slope = refits.platt_coefficients[refit]
        weights = slope * refits.coefficients[refit]
        value = dataset.features[dataset.ticker_slice(ticker).stop - 1]
        table = np.column_stack([value, mean, weights[1:], weights[1:] * (value - mean)]).tolist()
        contributions = [
            LogOddsContribution(name, *numbers) for name, numbers in zip(dataset.columns, table, strict=True)
        ]
        at_the_mean = float(intercept + weights[0] + weights[1:] @ mean)
    session, labelled = (
        np.concatenate([values[folds[0].train] for folds in refit_folds]) for values in (dataset.session, has_label)
    )
    model_index = np.unique(refits.ticker).tolist().index(model_ticker)
    logistic = model.as_logistic_regression()
    solver = logistic.solver if logistic else None
    rate, lipschitz = float(refits.learning_rate[model_index]), float(refits.lipschitz[model_index])
    trained = TrainingSummary(
        refit=iso_date(dataset.sessions[refits.session[refit]]),
        first=iso_date(dataset.sessions[session.min()]),
        last=iso_date(dataset.sessions[session.max()]),
        rows=int(labelled.sum()),
        base_rate=float(forecasts.base_rate[forecast_row]),
        solver=solver,
        learning_rate=None if np.isnan(rate) else rate,
        learning_rate_limit=learning_rate_limit(solver, lipschitz) if solver and not np.isnan(lipschitz) else None,
        iterations=int(refits.iterations[refit]) if len(refits.iterations) else None,
        max_abs_gradient=float(refits.max_abs_gradient[refit]) if len(refits.max_abs_gradient) else None,
        converged=bool(refits.converged[refit]),
    )
    return at_the_mean, tuple(contributions), trained


def _staleness_warnings(
    sessions: pd.DatetimeIndex, session: int, *, age: int, today: dt.date, stale_after: int
) -> Iterator[str]:
    """Yield a warning for a ticker without a bar in the newest sessions, or whose last bar is old or in the future."""
    as_of, n_behind = iso_date(sessions[session]), len(sessions) - 1 - session
    if n_behind:
        yield (
            f"no bar after {as_of}, while other tickers have bars to {iso_date(sessions[-1])} ({n_behind} "
            f"session{'s'[: n_behind > 1]} later); a backtest sells it at its last bar"
        )
    if age > stale_after:
        yield f"stale: {as_of} is {age:,} days before today, {iso_date(today)}; fetch newer prices, or move data.end"
    if age < 0:
        yield f"{as_of} is after today, {iso_date(today)}: the clock or the dates of the prices are wrong"
