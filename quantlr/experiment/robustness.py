"""Robustness of a run: its result by span, regime and ticker, and under other costs, delays and neighbouring settings.

Spans, regimes, tickers, costs and delays are of the same decisions, and are recorded in the ledger as variations of the
run. A neighbouring setting is a config of its own and is recorded as one; its returns are nearly those of the run, so
that it costs the count of trials almost nothing (see ``stats/family_wise.py``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from quantlr.backtest.attribution import active_session_slice, ticker_backtest
from quantlr.backtest.engine import backtest_with_benchmark
from quantlr.config.run_config import ConfigSource, RunConfig, load_config
from quantlr.core.errors import DataError, UserError
from quantlr.core.progress import Progress, ProgressCounter, ignore_progress
from quantlr.core.values import Array, BoolArray, RunData
from quantlr.data.features import Feature
from quantlr.experiment.run import Run, run_config
from quantlr.experiment.sensitivity import (
    MAX_COST_BPS,
    SCALED_COSTS,
    Variation,
    delay_decisions,
    variation_of_backtest,
)
from quantlr.experiment.supplement import require_own_report, save_page
from quantlr.experiment.trial import Trial, TrialResult
from quantlr.pipeline.stages import (
    DEFAULT_STAGES,
    Decisions,
    decision_context,
    positions_from_forecasts,
    run_backtest,
    run_stages,
    walk_forward_spec,
)
from quantlr.report.pages.robustness import (
    RobustnessContext,
    RobustnessRow,
    make_robustness_page,
    robustness_sentence,
)
from quantlr.stats.benchmark_test import alpha_test
from quantlr.stats.bootstrap import optimal_block_length
from quantlr.stats.paired import holm_adjusted_p_values
from quantlr.stats.path_resamples import resample_paths
from quantlr.stats.sharpe import sharpe_per_session

if TYPE_CHECKING:
    from quantlr.report.figures import FigureCollection
    from quantlr.report.pages import Page

ROBUSTNESS_CSV_FILE = "robustness.csv"
CRISES = (
    ("Black Monday", "1987-08-26", "1987-12-04"),
    ("Gulf War", "1990-07-17", "1990-10-11"),
    ("Russia and LTCM", "1998-07-20", "1998-10-08"),
    ("dot-com crash", "2000-03-27", "2002-10-09"),
    ("financial crisis", "2007-10-10", "2009-03-09"),
    ("flash crash", "2010-04-26", "2010-07-02"),
    ("euro crisis", "2011-07-25", "2011-10-03"),
    ("China 2015", "2015-08-11", "2016-02-11"),
    ("late 2018", "2018-09-21", "2018-12-24"),
    ("COVID-19", "2020-02-20", "2020-03-23"),
    ("inflation 2022", "2022-01-04", "2022-10-12"),
)
"""Falls of the S&P 500: name, first session after the peak, and the session of the trough."""
COST_FACTORS, DELAYS_IN_SESSIONS = (0, 2, 3, 4, 5), (1, 2, 3, 4, 5)
MIN_ROW_SESSIONS = 20
"""Sessions of a span, regime or ticker below which it has no row."""
VOLATILITY_WINDOW, TREND_WINDOW, MIN_EARLIER_VOLATILITIES = 63, 200, 126
"""Sessions of the trailing volatility and mean, and volatilities before the first that is called high or low."""
MAX_NEIGHBOURS, MAX_TICKERS = 24, 30
RELATIVE_STEP, THRESHOLD_STEP = 0.2, 0.01
VARIED_SECTIONS = ("features", "label", "walk_forward", "model", "policy", "overlays")
UNVARIED_KEYS = frozenset({"tol", "max_iter", "learning_rate", "seed", "embargo"})
"""Keys that a forecast should not depend on, or that the solver chooses."""


@dataclass(frozen=True, slots=True)
class RobustnessResult:
    """How a run's result depends on parts of it and on its settings.

    Attributes
    ----------
    run : the run.
    context : what the page shows.
    trials : the variations and neighbouring settings, as the ledger records them.
    """

    run: Run
    context: RobustnessContext
    trials: tuple[Trial, ...]

    @property
    def sentence(self) -> str:
        """What the result depends on most."""
        return robustness_sentence(self.context)

    @property
    def table(self) -> pd.DataFrame:
        """One row per part or change: its group, name, sessions, Sharpe ratio with and without it, alpha and tests."""
        names = ("group", "name", "sessions", "sharpe", "sharpe_without", "alpha", "p_value", "adjusted_p_value")
        return pd.DataFrame([[getattr(row, name) for name in names] for row in self.context.rows], columns=list(names))

    @property
    def page(self) -> Page:
        """The page ``robustness.png``."""
        return make_robustness_page(self.context)

    @property
    def figures(self) -> FigureCollection:
        """The panels of the page as figures of matplotlib, by name, as `Run.figures`."""
        from quantlr.report.figures import FigureCollection, iter_page_panels

        return FigureCollection(iter_page_panels([self.page], self.run.page_context))

    def save(self, output: str | Path = "reports") -> list[Path]:
        """Write ``robustness.png`` and ``robustness.csv`` into the run's report, record the trials, return the paths.

        Raises
        ------
        OutputError : the report in that folder is of another config; or as for `Run.save`.
        Fault : as for `Run.save`.
        """
        tables = {ROBUSTNESS_CSV_FILE: self.table}
        return save_page(self.page, self.run.page_context, tables, output, trials=self.trials)


def robustness(
    config: ConfigSource,
    *,
    overrides: Mapping[str, Any] | None = None,
    features: Sequence[Feature] = (),
    data: Any = None,
    output: str | Path | None = None,
    offline: bool = False,
    workers: int = 1,
    progress: Progress = ignore_progress,
) -> RobustnessResult:
    """Measure how the result of a config depends on spans, regimes, tickers, costs, delays and settings.

    Parameters
    ----------
    config, overrides, features, data, offline, workers, progress : as in `quantlr.run`.
    output : folder of reports. ``robustness.png`` and ``robustness.csv`` are written there, and every change is
        recorded in its ledger of trials. With None nothing is written.

    Returns
    -------
    result : `RobustnessResult.table` is a DataFrame, `RobustnessResult.sentence` says what matters most.

    Raises
    ------
    UserError : the config or the data need a change; the message says where and which.
    ComponentError : an object of your own classes failed; the message names it and the line.
    LookAheadError : a component of your own depends on later values.
    Fault : the network, the disk or another program failed.

    Examples
    --------
    >>> import quantlr
    >>> quantlr.robustness("configs/sp500_daily.yaml").sentence  # doctest: +SKIP
    """
    loaded = load_config(config, overrides=overrides, features=features, data=data)
    if output is not None:
        require_own_report(loaded.run, output)
    run = run_config(loaded, offline=offline, workers=workers, progress=progress)
    result = robustness_of_run(run, workers=workers, progress=progress)
    if output is not None:
        result.save(output)
    return result


def robustness_of_run(run: Run, *, workers: int = 1, progress: Progress = ignore_progress) -> RobustnessResult:
    """Return the robustness of a run."""
    config, data = run.config, run.run_data
    whole = variation_of_backtest("as configured", data.result, config.report.sessions_in_year(data.prices))
    parts = [*_iter_span_parts(whole), *_iter_regime_parts(whole, data, config)]
    parts = [part for part in parts if part[2].sum() >= MIN_ROW_SESSIONS]
    rows = [_part_row(whole, group, name, mask) for group, name, mask in parts]
    rows += _ticker_rows(whole, data, config)
    variations = [*_iter_cost_variations(config, data), *_iter_delay_variations(config, data)]
    rows += [_change_row(group, variation) for group, variation in variations]
    trial = run.trials[0]
    trials = [trial, *(variation.to_trial(trial) for _, variation in variations)]
    part_rows = zip(rows, parts, strict=False)
    trials += [_slice_variation(whole, row.name, mask).to_trial(trial) for row, (_, _, mask) in part_rows]
    varied_configs = neighbouring_settings(config, data)
    counter = ProgressCounter("settings", max(len(varied_configs), 1), progress)
    for name, varied_config in counter.iter_items(varied_configs.items()):
        with suppress(UserError):
            result = _run_varied_config(varied_config, run, workers=workers).result
            rows.append(_change_row("setting", variation_of_backtest(name, result, whole.sessions_per_year)))
            outcome = TrialResult.from_backtest(result, whole.sessions_per_year)
            trials.append(replace(Trial.from_prices(varied_config, data.prices), result=outcome))
    returns = np.maximum(1.0 + data.result.net_return, 1e-12)
    length = optimal_block_length(data.result.net_return)
    paths = resample_paths(np.log(returns), block_length=length, seed=config.seed)
    context = RobustnessContext(run.page_context, _with_adjusted_p_values(rows), whole.annual_sharpe, paths, length)
    return RobustnessResult(run, context, tuple(trials))


def _run_varied_config(config: RunConfig, run: Run, *, workers: int) -> RunData:
    """Return a neighbouring setting on the run's prices; one that differs in the decisions only keeps the forecasts."""
    own, data = run.config, run.run_data
    same = all(getattr(config, name) == getattr(own, name) for name in VARIED_SECTIONS[:4])
    if not same:
        return run_stages(config, data.prices, DEFAULT_STAGES, workers=workers)
    context = decision_context(config, data.prices, data.forecasts)
    positions = positions_from_forecasts(config, data.forecasts, context)
    return run_backtest(config, data.prices, Decisions(data.dataset, data.forecasts, positions))


def _iter_span_parts(whole: Variation) -> Iterator[tuple[str, str, BoolArray]]:
    """Yield group, name and mask of calendar years, and of the crises that the sessions contain whole."""
    years = whole.sessions.year.to_numpy()
    for year in np.unique(years):
        yield "year", str(year), years == year
    for name, first, last in CRISES:
        if whole.sessions[0] <= pd.Timestamp(first) and pd.Timestamp(last) <= whole.sessions[-1]:
            is_within = (whole.sessions >= pd.Timestamp(first)) & (whole.sessions <= pd.Timestamp(last))
            yield "crisis", name, np.asarray(is_within)


def _iter_regime_parts(whole: Variation, data: RunData, config: RunConfig) -> Iterator[tuple[str, str, BoolArray]]:
    """Yield group, name and mask of the regimes of volatility and trend, as known when each position was decided."""
    traded = np.unique(data.forecasts.ticker)
    market = data.result.ticker_return[:, traded].mean(axis=1)
    for name, regime in market_regimes(market, delay=config.execution.fill_delay_sessions).items():
        yield "regime", name, regime


def market_regimes(market_return: Array, *, delay: int) -> dict[str, BoolArray]:
    """Return which sessions are in each regime, by its name.

    Parameters
    ----------
    market_return : (sessions,) mean return of the traded tickers.
    delay : sessions from a decision to its fill: what is known at the decision are the returns up to `delay` + 1
        sessions before the one that the position earns.

    Notes
    -----
    Volatility is high where the standard deviation of the last 63 known returns is above the median of all such values
    so far, from the 126th value on; the market is rising where its level is above the mean of the last 200.
    """
    known = pd.Series(market_return).shift(delay + 1)
    volatility = known.rolling(VOLATILITY_WINDOW).std()
    median = volatility.expanding(MIN_EARLIER_VOLATILITIES).median()
    level = np.log1p(known).cumsum()
    mean = level.rolling(TREND_WINDOW).mean()
    masks = {
        "high volatility": volatility > median,
        "low volatility": volatility <= median,
        "rising market": level > mean,
        "falling market": level <= mean,
    }
    return {name: mask.to_numpy(dtype=np.bool_) for name, mask in masks.items()}


def _slice_variation(whole: Variation, name: str, mask: BoolArray) -> Variation:
    return replace(
        whole, text=f"{name} only", sessions=whole.sessions[mask], excess_returns=whole.excess_returns[mask],
        benchmark_excess_returns=whole.benchmark_excess_returns[mask],
    )  # fmt: skip


def _part_row(whole: Variation, group: str, name: str, mask: BoolArray) -> RobustnessRow:
    """Return the row of some sessions: the result over them, and the Sharpe ratio over the others."""
    rest = sharpe_per_session(whole.excess_returns[~mask]) if (~mask).sum() >= MIN_ROW_SESSIONS else None
    without = None if rest is None else rest * float(np.sqrt(whole.sessions_per_year))
    return replace(_change_row(group, _slice_variation(whole, name, mask)), name=name, sharpe_without=without)


def _change_row(group: str, variation: Variation) -> RobustnessRow:
    alpha = alpha_test(variation.excess_returns, variation.benchmark_excess_returns)
    is_long_enough = len(variation.sessions) >= MIN_ROW_SESSIONS
    return RobustnessRow(
        group=group,
        name=variation.text,
        sessions=len(variation.sessions),
        sharpe=variation.annual_sharpe if is_long_enough else None,
        sharpe_without=None,
        alpha=alpha.alpha * variation.sessions_per_year,
        p_value=alpha.test.p_value,
    )


def _ticker_rows(whole: Variation, data: RunData, config: RunConfig) -> list[RobustnessRow]:
    """Return a row for each of several tickers: its part in excess of cash, and the Sharpe ratio without its part."""
    tickers = np.unique(data.forecasts.ticker).tolist()
    if len(tickers) < 2:
        return []
    rows, n = [], len(whole.excess_returns)
    for index in tickers[:MAX_TICKERS]:
        sessions = active_session_slice(data.result, data.forecasts, index)
        if sessions.stop <= sessions.start:  # it ended before the first session that is scored
            continue
        part = ticker_backtest(data.result, index, sessions)
        own = Variation(
            data.forecasts.tickers[index], part.sessions, part.net_return, np.zeros(len(part.net_return)),
            whole.sessions_per_year,
        )  # fmt: skip
        contribution = data.result.ticker_gross_return[:, index] - data.result.ticker_cost[:, index]
        contribution = contribution - data.result.weight[:, index] * data.result.session_cash_rate
        rest = sharpe_per_session(whole.excess_returns - contribution[:n])
        without = None if rest is None else rest * float(np.sqrt(whole.sessions_per_year))
        rows.append(replace(_change_row("ticker", own), sharpe_without=without))
    return rows


def _iter_cost_variations(config: RunConfig, data: RunData) -> Iterator[tuple[str, Variation]]:
    for factor in COST_FACTORS:
        costs = {name: min(factor * getattr(config.execution, name), MAX_COST_BPS) for name in SCALED_COSTS}
        yield "cost", _backtest_variation(f"costs x {factor}", config, data, costs, delay=0)


def _iter_delay_variations(config: RunConfig, data: RunData) -> Iterator[tuple[str, Variation]]:
    """Yield the decisions filled later; a delay beyond the end of the prices is left out."""
    for delay in DELAYS_IN_SESSIONS:
        with suppress(DataError):
            text = f"filled {delay} session{'s'[: delay > 1]} later"
            yield "delay", _backtest_variation(text, config, data, {}, delay=delay)


def _backtest_variation(
    text: str, config: RunConfig, data: RunData, costs: Mapping[str, float], *, delay: int
) -> Variation:
    positions = delay_decisions(data.positions, delay) if delay else data.positions
    per_year = config.report.sessions_in_year(data.prices)
    result = backtest_with_benchmark(
        positions, data.prices, config.execution.model_copy(update=costs),
        sessions_per_year=per_year, benchmark=config.report.benchmark,
    )  # fmt: skip
    return variation_of_backtest(text, result, per_year)


def neighbouring_settings(config: RunConfig, data: RunData) -> dict[str, RunConfig]:
    """Return configs that differ in one setting by one step, up and down, by what differs.

    A whole number changes by a fifth, at least by 1; a fraction by a fifth, a threshold of the policy by 0.01; a list
    of numbers loses its last one, or gets the next. At most 24, and only those that are valid configs.
    """
    values = config.model_dump(mode="json", include=set(VARIED_SECTIONS))
    spec = walk_forward_spec(config, data.prices)
    values["walk_forward"] |= {"train": spec.train, "refit_every": spec.refit_every}
    settings = [
        (key, step) for section in VARIED_SECTIONS for key, value in _iter_settings(values[section], section)
        for step in _steps(key, value)
    ]  # fmt: skip
    varied_configs: dict[str, RunConfig] = {}
    for key, value in settings:
        if len(varied_configs) == MAX_NEIGHBOURS:
            break
        with suppress(UserError):
            varied_configs[f"{key} {value}"] = load_config(config, overrides={key: value}).run
    return {name: varied_config for name, varied_config in varied_configs.items() if varied_config != config}


def _iter_settings(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    """Yield the dotted key of every number and list of numbers in nested settings, and its value."""
    is_numbers = isinstance(value, list) and value and all(type(item) in (int, float) for item in value)
    if type(value) in (int, float) or is_numbers:
        if key.rpartition(".")[2] not in UNVARIED_KEYS:
            yield key, value
    elif isinstance(value, (dict, list)):
        for name, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _iter_settings(item, f"{key}.{name}")


def _steps(key: str, value: Any) -> list[Any]:
    """Return a setting one step down and one step up."""
    if isinstance(value, list) and len(value) > 1:
        return [value[:-1], [*value, value[-1] + (value[-1] - value[-2])]]
    if isinstance(value, list):
        return [[step] for step in _steps(key, value[0])]
    if isinstance(value, int):
        step = max(1, round(RELATIVE_STEP * abs(value)))
        return [value - step, value + step]
    is_threshold = key.startswith("policy.") and 0 < value < 1
    step_size = THRESHOLD_STEP if is_threshold else RELATIVE_STEP * abs(value)
    return [round(value - step_size, 10), round(value + step_size, 10)] if step_size else []


def _with_adjusted_p_values(rows: list[RobustnessRow]) -> tuple[RobustnessRow, ...]:
    """Return rows with p values adjusted for all of them by Holm's method."""
    tested = [index for index, row in enumerate(rows) if row.p_value is not None]
    adjusted = holm_adjusted_p_values([float(rows[index].p_value or 0.0) for index in tested])
    by_index = dict(zip(tested, adjusted, strict=True))
    return tuple(replace(row, adjusted_p_value=by_index.get(index)) for index, row in enumerate(rows))
