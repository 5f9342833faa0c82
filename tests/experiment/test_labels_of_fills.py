"""Labels between fills: the return that the position earns, in a run, its audit and a sweep."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import quantlr
from quantlr.config.run_config import load_config
from quantlr.core.errors import DataError
from quantlr.core.values import Folds, Prices
from quantlr.data.labels import Direction, Outperformance, labels_of_fills
from quantlr.experiment.ledger import Ledger
from quantlr.model.splits import make_folds, make_pooled_folds
from quantlr.model.walk_forward import WalkForwardFunctions
from quantlr.pipeline.stages import PipelineStages, dataset_from_config, labels_from_config, run_stages
from quantlr.sweeps.trials import StageDigests

from markets import random_walk_prices

CONFIG: dict[str, Any] = {
    "name": "fills",
    "data": {"source": {"kind": "sample"}, "tickers": ["MSFT"], "start": "2000-03-01", "end": "2002-12-31"},
    "features": [{"kind": "lagged_returns", "lags": [1, 2]}],
    "label": {"of": "fill"},
    "walk_forward": {"train": 250},
}


def test_labels_of_fills_at_the_decisions_own_close_are_the_trial_of_labels_of_closes(tmp_path: Path) -> None:
    """At another fill they are another trial, counted with it."""
    for overrides, n_trials in (
        ({"execution.fill": "close"}, 1),
        ({"execution.fill": "close", "label.of": "close"}, 1),
        ({"label.of": "close"}, 2),
        ({}, 3),
    ):
        trials, ledger = quantlr.run(CONFIG, overrides=overrides).trials, Ledger.from_output_folder(tmp_path)
        ledger.record_trials(trials)
        assert ledger.read_family(trials).n_trials == n_trials


@pytest.mark.parametrize("fill", ["next_close", "next_open", "close"])
def test_label_is_the_side_of_the_return_that_the_position_earns(fill: str) -> None:
    """The backtest's own prices: the decision of a session earns from its fill to the next one."""
    run = load_config(CONFIG, overrides={"execution.fill": fill, "data.tickers": ["T0"]}).run
    prices = random_walk_prices(3, n_sessions=400)
    data = run_stages(run, prices)
    earned = data.result.price[1:, 0] / data.result.price[:-1, 0] - 1
    known = ~np.isnan(data.forecasts.up)
    np.testing.assert_allclose(data.forecasts.horizon_return[known], earned, rtol=1e-12)
    np.testing.assert_array_equal(data.forecasts.up[known] == 1, earned > 0)
    assert known.sum() == len(earned)


def test_labels_of_fills_start_at_the_fill_of_each_tickers_own_bars() -> None:
    prices = random_walk_prices(5, n_sessions=80, n_tickers=2, with_gaps=True)
    run = load_config({**CONFIG, "label": {"of": "fill", "horizon": 3}, "execution": {"fill": "next_open"}}).run
    labels = labels_from_config(run, prices)
    for ticker, n_bars in enumerate(prices.n_bars.tolist()):
        for bar in range(n_bars):
            expected = np.nan
            if bar + 4 < n_bars:
                expected = prices.open[bar + 4, ticker] / prices.open[bar + 1, ticker] - 1
            assert labels.horizon_return[bar, ticker] == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize("at_open", [False, True])
def test_outperformance_of_fills_compares_the_same_dates(at_open: bool) -> None:
    prices = random_walk_prices(6, n_sessions=60, n_tickers=1, context_tickers=("^GSPC",))
    label = Outperformance(benchmark="^GSPC")
    labels = labels_of_fills(label.compute_labels, prices, at_open=at_open, label_delay=1)
    assert prices.context is not None
    own, other = ((item.open if at_open else item.close)[:, 0] for item in (prices, prices.context))
    position = {date: index for index, date in enumerate(prices.context.sessions)}
    n_compared = 0
    for bar in range(58):
        dates = prices.sessions[bar + 1], prices.sessions[bar + 2]
        if all(date in position for date in dates):
            first, last = (other[position[date]] for date in dates)
            n_compared += 1
            assert labels.up[bar, 0] == (own[bar + 2] / own[bar + 1] > last / first)
    assert n_compared > 20


def test_pooled_model_has_all_its_training_sessions_before_the_gap() -> None:
    run = load_config(CONFIG, overrides={"label.horizon": 3, "model.scope": "pooled"}).run
    dataset = dataset_from_config(run, random_walk_prices(2, n_sessions=400, n_tickers=2))
    for folds in make_pooled_folds(dataset, run.walk_forward):
        assert folds.train_stop[0] - folds.train_start[0] == 250
        assert folds.test_start[0] - folds.train_stop[0] == 3, "the newest training label is known at the forecast"


def without_open(prices: Prices, bar: int) -> Prices:
    opens = prices.open.copy()
    opens[bar, 0] = np.nan
    return replace(prices, open=opens)


def test_missing_open_is_an_error_that_names_ticker_and_date() -> None:
    prices = without_open(random_walk_prices(1, n_sessions=30), 7)
    labels = labels_of_fills(Direction().compute_labels, prices, at_open=False, label_delay=1)
    assert np.isnan(labels.up[:, 0]).sum() == 2
    with pytest.raises(DataError, match="next_close") as caught:
        labels_of_fills(Direction().compute_labels, prices, at_open=True, label_delay=1)
    assert prices.tickers[0] in str(caught.value)
    assert str(prices.sessions[7].date()) in str(caught.value)


def folds_purged_by_the_horizon_alone(n_rows: int, spec: Any, *, horizon: int) -> Folds:
    return make_folds(n_rows, spec, horizon=horizon - 1)


def test_audit_of_labels_of_fills_is_clean_and_finds_a_missing_purge() -> None:
    from quantlr.audits.auditor import audit_prices
    from quantlr.pipeline.stages import load_run_prices

    run = load_config(CONFIG, overrides={"label.horizon": 2}).run
    prices = load_run_prices(run)
    early = PipelineStages(walk_forward_steps=WalkForwardFunctions(make_ticker_folds=folds_purged_by_the_horizon_alone))
    assert audit_prices(run, prices, n_cutoffs=2).is_clean
    assert not audit_prices(run, prices, early, n_cutoffs=2).is_clean


def test_forecasts_of_a_sweep_depend_on_the_fill_only_where_the_label_does() -> None:
    def digest(of: str, fill: str) -> str:
        return StageDigests.from_config(
            load_config(CONFIG, overrides={"label.of": of, "execution.fill": fill}).run
        ).model

    assert digest("close", "next_close") == digest("close", "next_open")
    assert digest("fill", "next_close") != digest("fill", "next_open")


def test_prediction_names_what_is_forecast() -> None:
    assert quantlr.predict(CONFIG).label_of == "fill"
