"""What the newest close says: the forecast and the position that the backtest's own computation ends with.

Nothing is computed a second way. The walk-forward goes through all prices as in a run, and the newest row of each
ticker is read off: its model is the one that the schedule of refits has for it, trained on what is known by then.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from quantlr.backtest.costs import Fill
from quantlr.config.run_config import LoadedConfig, RunConfig, load_config
from quantlr.core.progress import Note, Progress, ignore_progress, iso_date
from quantlr.core.values import Prices
from quantlr.data.prices import load_prices
from quantlr.model.walk_forward import ModelSplit, make_model_splits
from quantlr.pipeline.stages import DEFAULT_STAGES, Decisions, PipelineStages, forecast_and_decide

STALE_AFTER_DAYS = 5
"""Days after which prices are stale, unless told: the longest weekend, from Thursday to Tuesday, is no longer."""
FILL_TIME_TEXTS: dict[Fill, str] = {
    "next_close": "at the close of the session after {date}",
    "next_open": "at the open of the session after {date}",
    "close": "at the close of {date} itself, which nobody who waits for this forecast can trade at",
}


@dataclass(frozen=True, slots=True)
class LogOddsContribution:
    """What one feature adds to the log odds.

    Attributes
    ----------
    feature : name of its column.
    value : on the as-of session, in the feature's own unit.
    mean : over the rows that trained the model.
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
    """What a model has learnt from.

    Attributes
    ----------
    refit : first session that it forecasts.
    first, last : sessions of its oldest and its newest training row.
    rows : number of training rows with a label.
    base_rate : share of ups among them.
    """

    refit: str
    first: str
    last: str
    rows: int
    base_rate: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """What is expected of one ticker, and held.

    Attributes
    ----------
    ticker : name.
    as_of : the session at whose close the forecast is made, the ticker's newest.
    age : days from there to today.
    probability : that the close is higher, over the label's span.
    log_odds : the same; the sum of `at_the_mean` and all contributions.
    at_the_mean : log odds of a row whose every feature is at its training mean.
    contributions : what each feature adds.
    trained : what the model has learnt from.
    weight : fraction of equity that the strategy then holds: shared among tickers, the mean of the last `horizon`
        decisions; negative is short.
    position : the weight in words.
    filled : when it is traded, in words.
    warnings : why not to take this for news.
    """

    ticker: str
    as_of: str
    age: int
    probability: float
    log_odds: float
    at_the_mean: float
    contributions: tuple[LogOddsContribution, ...]
    trained: TrainingSummary
    weight: float
    position: str
    filled: str
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Predictions:
    """What a config says after the newest close.

    Attributes
    ----------
    name : of the config.
    today : the date that ages are counted to.
    horizon : sessions ahead that are forecast.
    sha256 : digest of the prices.
    tickers : one prediction for every ticker that is long enough, in the config's order.
    notes : what was dropped, left out, or did not converge.
    """

    name: str
    today: str
    horizon: int
    sha256: str
    tickers: tuple[Prediction, ...]
    notes: tuple[Note, ...]


def predict(
    config: str | Path | Mapping[str, Any],
    *,
    today: dt.date,
    overrides: Mapping[str, Any] | None = None,
    stale_after: int = STALE_AFTER_DAYS,
    offline: bool = False,
    workers: int = 1,
    progress: Progress = ignore_progress,
) -> Predictions:
    """Return what a config, a path or the mapping it would hold, says after the newest close.

    Parameters
    ----------
    config, overrides, offline, workers, progress : as in `quantlr.run`.
    today : the date that prices' age is counted to.
    stale_after : days after which they are called stale.

    Raises
    ------
    UserError : what can be mended in the config or the data; the text says where and how.
    """
    loaded = load_config(config, overrides=overrides)
    return predict_config(
        loaded, today=today, stale_after=stale_after, offline=offline, workers=workers, progress=progress
    )


def predict_config(
    config: LoadedConfig,
    *,
    today: dt.date,
    stale_after: int = STALE_AFTER_DAYS,
    offline: bool = False,
    workers: int = 1,
    progress: Progress = ignore_progress,
) -> Predictions:
    """Return what a loaded config says; an error of a layer comes back with the place of its key."""
    with config.add_location_to_errors():
        prices = load_prices(config.run.data, offline=offline, progress=progress)
        return predict_newest_rows(
            config.run, prices, today=today, stale_after=stale_after, workers=workers, progress=progress
        )


def predict_newest_rows(
    config: RunConfig,
    prices: Prices,
    stages: PipelineStages = DEFAULT_STAGES,
    *,
    today: dt.date,
    stale_after: int = STALE_AFTER_DAYS,
    workers: int = 1,
    progress: Progress = ignore_progress,
) -> Predictions:
    """Return what a config says of each ticker's newest row, by the computation that a run would do."""
    found = forecast_and_decide(config, prices, stages, workers=workers, progress=progress)
    forecasts = found.forecasts
    walkers, _ = make_model_splits(found.dataset, config.walk_forward, config.model, stages.walk_forward_steps)
    by_ticker = {journey.ticker_index: journey for journey in walkers}
    each = []
    for ticker in np.unique(forecasts.ticker).tolist():
        row = int(np.searchsorted(forecasts.ticker, ticker, side="right")) - 1
        journey = by_ticker.get(ticker) or by_ticker[-1]
        late = _staleness_warnings(found, row, today=today, stale_after=stale_after)
        each.append(_ticker_prediction(found, row, journey, config.execution.fill, today, late))
    return Predictions(
        name=config.name,
        today=iso_date(today),
        horizon=forecasts.horizon,
        sha256=prices.sha256,
        tickers=tuple(each),
        notes=(*prices.notes, *found.dataset.notes, *forecasts.notes),
    )


def _ticker_prediction(
    decisions: Decisions,
    forecast_row: int,
    model_split: ModelSplit,
    fill: Fill,
    today: dt.date,
    warning_texts: tuple[str, ...],
) -> Prediction:
    forecasts = decisions.forecasts
    ticker, session = int(forecasts.ticker[forecast_row]), int(forecasts.session[forecast_row])
    at_the_mean, contributions = _explain_log_odds(decisions, forecast_row, model_split)
    as_of = forecasts.sessions[session]
    weight = float(decisions.positions.weight[session, ticker])
    return Prediction(
        ticker=forecasts.tickers[ticker],
        as_of=iso_date(as_of),
        age=(today - as_of.date()).days,
        probability=float(forecasts.probability[forecast_row]),
        log_odds=float(forecasts.log_odds[forecast_row]),
        at_the_mean=at_the_mean,
        contributions=contributions,
        trained=_training_summary(decisions, forecast_row, model_split),
        weight=weight,
        position=position_text(weight),
        filled=FILL_TIME_TEXTS[fill].format(date=iso_date(as_of)),
        warnings=warning_texts,
    )


def position_text(weight: float) -> str:
    """Return a weight as a person would say it."""
    if weight == 0:
        return "flat"
    return f"{'long' if weight > 0 else 'short'} {100 * abs(weight):.4g}% of equity"


def _explain_log_odds(
    decisions: Decisions, forecast_row: int, model_split: ModelSplit
) -> tuple[float, tuple[LogOddsContribution, ...]]:
    """Return the log odds of a row whose features are at their training means, and what each feature adds to them."""
    forecasts, dataset = decisions.forecasts, decisions.dataset
    refit = int(forecasts.fold[forecast_row])
    mine = np.flatnonzero(forecasts.refits.ticker == model_split.ticker_index)[refit]
    intercept, slope = forecasts.refits.platt_coefficients[mine]
    weights = slope * forecasts.refits.coefficients[mine]
    mean = model_split.slice_refits(slice(refit, refit + 1)).make_training_data().scaling.mean[0]
    value = dataset.features[dataset.ticker_slice(int(forecasts.ticker[forecast_row])).stop - 1]
    added = weights[1:] * (value - mean)
    table = np.column_stack([value, mean, weights[1:], added]).tolist()
    contributions = tuple(
        LogOddsContribution(name, *numbers) for name, numbers in zip(dataset.columns, table, strict=True)
    )  # fmt: skip
    return float(intercept + weights[0] + weights[1:] @ mean), contributions


def _training_summary(decisions: Decisions, forecast_row: int, model_split: ModelSplit) -> TrainingSummary:
    forecasts, dataset = decisions.forecasts, decisions.dataset
    refit = int(forecasts.fold[forecast_row])
    rows = np.concatenate([np.arange(len(model_split.X))[ticker[refit].train] for ticker in model_split.folds])
    session = dataset.session[model_split.first_row + rows]
    return TrainingSummary(
        refit=iso_date(model_split.refit_dates[refit]),
        first=iso_date(dataset.sessions[session.min()]),
        last=iso_date(dataset.sessions[session.max()]),
        rows=int((~np.isnan(model_split.up[rows])).sum()),
        base_rate=float(forecasts.base_rate[forecast_row]),
    )


def _staleness_warnings(
    decisions: Decisions, forecast_row: int, *, today: dt.date, stale_after: int
) -> tuple[str, ...]:
    """Return why a forecast may not be news: old prices, prices older than other tickers', prices of the future."""
    forecasts = decisions.forecasts
    sessions, session = forecasts.sessions, int(forecasts.session[forecast_row])
    as_of, behind = iso_date(sessions[session]), len(sessions) - 1 - session
    age = (today - sessions[session].date()).days
    warnings = []
    if behind:
        warnings.append(
            f"no bar after {as_of}, while others go on to {iso_date(sessions[-1])} ({behind} session{'s'[: behind > 1]} "
            "later); a backtest takes it to be sold at its last bar"
        )
    if age > stale_after:
        warnings.append(
            f"stale: {as_of} is {age:,} days before today, {iso_date(today)}; fetch newer prices, or move data.end"
        )
    if age < 0:
        warnings.append(f"{as_of} is after today, {iso_date(today)}: the clock or the prices' dates are wrong")
    return tuple(warnings)
