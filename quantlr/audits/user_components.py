"""The audit that every run makes of components from outside the catalogue, without which they get no verdict.

Components of the catalogue are tested for look-ahead before they are released. One that a user passes as an object, or
that an installed package adds, is audited by each run on its own prices, at a sample of sessions; `quantlr audit`
checks every boundary of its folds, and the other stages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from quantlr.audits.checks import AuditInputs, InputChecker
from quantlr.audits.refit_checks import DatasetSplits, OriginalFits, RefitChecker, make_audit_model
from quantlr.audits.result import CutoffComparison, Leak, LeakCollector
from quantlr.audits.trading_checks import TradingChecker
from quantlr.config.run_config import RunConfig
from quantlr.core.component_errors import component_name, iter_user_defined_components
from quantlr.core.components import Component
from quantlr.core.errors import ComponentError, DataError, LookAheadError
from quantlr.core.timing import iso_date, label_lag
from quantlr.core.values import PRICE_ARRAYS, Dataset, IntArray, Prices
from quantlr.data.dataset import compute_feature_columns
from quantlr.data.scenarios import (
    CLOSE_PATHS,
    EXTRA_HOLIDAYS,
    LATER_DIVIDEND,
    LATER_SPLIT,
    MIRRORED_RETURNS,
    TRUNCATION,
)
from quantlr.model.candidates import SelectedForecasts, take_columns
from quantlr.model.walk_forward import ModelSplit, make_model_splits
from quantlr.pipeline.stages import DEFAULT_STAGES, Decisions, labels_from_config, walk_forward_spec

INPUT_PATHS = (*CLOSE_PATHS, TRUNCATION)
"""Scenarios of which one, in turn, replaces the prices after a session; a dividend, a split and holidays follow."""
LEVEL_SCENARIOS = (LATER_DIVIDEND, LATER_SPLIT)
"""Scenarios that change the levels of all prices and volumes, and no ratio."""
EARLY_SESSIONS = (2, 16, 128)
"""Sessions of the audit of inputs at which long windows are not full yet."""
N_INPUT_SESSIONS, N_DECISION_SESSIONS, N_BOUNDARIES = 14, 12, 3
"""Number of further ones, spread over the history; of those for policies and overlays, and as many again at which
something is held; and of boundaries for models."""
CONTEXT_FACTORS = (0.2, 5.0)
"""Factors of what policies may use besides the forecasts, after a session."""
MAX_AUDITED_CELLS = 40_000
"""Largest number of bars times tickers on which inputs are audited; of more tickers, some are left out."""


def audit_user_inputs(config: RunConfig, prices: Prices) -> None:
    """Audit the features and the label of a config that are not part of the catalogue; nothing is done without any.

    Raises
    ------
    LookAheadError : naming the component, the value, and the session after which prices were replaced.
    ComponentError : a component fails.
    """
    configs_by_features = {one.config.features: one.config for one in config.candidates()} or {(): config}
    for one in configs_by_features.values():
        _audit_user_inputs_of_model(one, prices)


def _audit_user_inputs_of_model(config: RunConfig, prices: Prices) -> None:
    """Audit the features and the label of a config, whatever it chooses among."""
    positions = [index for index, feature in enumerate(config.features) if any(iter_user_defined_components(feature))]
    label_components = list(iter_user_defined_components(config.label))
    if not positions and not label_components:
        return
    for audited in (_some_tickers(prices), prices):
        try:
            checker, columns = _make_input_checker(config, audited, positions)
            break
        except (ComponentError, DataError):  # a component may need a ticker that was left out
            if audited is prices:
                raise
    n_train, _ = walk_forward_spec(config, prices).fold_sizes()
    _check_inputs(checker, first_forecast=min(n_train, len(audited.sessions) - 1))
    leak = next(iter(checker.collector.leaks), None)
    if leak is None:
        return
    if leak.stage == "label":
        if label_components:
            raise _look_ahead_error(label_components[0], leak, key="label")
        return
    index = columns[leak.what]
    component = next(iter_user_defined_components(config.features[index]))
    raise _look_ahead_error(component, leak, key=f"features.{index}")


def audit_user_decisions(config: RunConfig, prices: Prices, decisions: Decisions) -> None:
    """Audit the model, the policy and the overlays of a config that are not part of the catalogue, after a run.

    Raises
    ------
    LookAheadError : naming the component, the value, and the session after which rows or forecasts were replaced.
    """
    for own_config, dataset in _configs_with_dataset(config, decisions):
        model = next(iter_user_defined_components(own_config.model), None)
        if model is not None:
            _audit_model(own_config, prices, dataset, model)
    for key, section in (("policy", config.policy), ("overlays", config.overlays)):
        component = next(iter_user_defined_components(section), None)
        if component is not None:
            _audit_decisions(config, prices, decisions, component, key=key)
            return  # one audit is of the weights after all overlays


def _configs_with_dataset(config: RunConfig, decisions: Decisions) -> list[tuple[RunConfig, Dataset]]:
    """Return a config, or those of its candidates, each with the dataset that its model sees."""
    forecasts, dataset = decisions.forecasts, decisions.dataset
    if not isinstance(forecasts, SelectedForecasts):
        return [(config, dataset)]
    columns = zip(config.candidates(), forecasts.selection.dataset_columns, strict=True)
    return [(candidate.config, take_columns(dataset, *own)) for candidate, own in columns]


def _some_tickers(prices: Prices) -> Prices:
    """Return the prices of so many tickers, those with the most bars, that they have about `MAX_AUDITED_CELLS`."""
    n_kept = max(MAX_AUDITED_CELLS // max(len(prices.session), 1), 2)
    if n_kept >= len(prices.tickers):
        return prices
    kept = np.sort(np.argsort(-prices.n_bars, kind="stable")[:n_kept])
    fields: dict[str, Any] = {name: getattr(prices, name)[:, kept] for name in ("session", *PRICE_ARRAYS)}
    if prices.member_mask is not None:
        fields["member_mask"] = prices.member_mask[:, kept]
    if prices.markets:
        fields["markets"] = tuple(prices.markets[ticker] for ticker in kept.tolist())
    return replace(prices, tickers=tuple(prices.tickers[ticker] for ticker in kept.tolist()), **fields)


def _make_input_checker(
    config: RunConfig, prices: Prices, positions: Sequence[int]
) -> tuple[InputChecker, Mapping[str, int]]:
    """Return the checker of a config's features at some positions and of its label, and the position by column."""
    columns = {name: index for index in positions for name in compute_feature_columns(prices, [config.features[index]])}
    features = [config.features[index] for index in positions]

    def compute_inputs(replaced: Prices) -> AuditInputs:
        return AuditInputs(replaced, compute_feature_columns(replaced, features), labels_from_config(config, replaced))

    lag = label_lag(config.label.horizon, label_delay=config.label_delay)
    checker = InputChecker(prices, compute_inputs, horizon=lag, seed=config.seed, collector=LeakCollector())
    return checker, columns


def _check_inputs(checker: InputChecker, *, first_forecast: int) -> None:
    """Check inputs at a sample of sessions, up to the first that shows a leak.

    Raises
    ------
    ComponentError, DataError : no session could be checked, since a component fails on every replaced price.
    """
    last = len(checker.prices.sessions) - 2
    spread = np.linspace(max(first_forecast, 0), last, N_INPUT_SESSIONS).round().astype(np.int64).tolist()
    sessions = sorted({session for session in (*EARLY_SESSIONS, *spread) if 0 <= session <= last})
    failure: Exception | None = None
    n_checked = 0
    for index, session in enumerate(sessions):
        path = INPUT_PATHS[index % len(INPUT_PATHS)]
        if path == TRUNCATION and session < first_forecast:
            path = MIRRORED_RETURNS
        try:
            checker.check(session, (path, *LEVEL_SCENARIOS, EXTRA_HOLIDAYS))
        except (ComponentError, DataError) as error:  # it may not accept an unrealistic price
            failure = error
            continue
        n_checked += 1
        if checker.collector.leaks_by_value:
            return
    if failure is not None and not n_checked:
        raise failure
    checker.pending_labels.check_labels_were_pending(checker.make_cutoff(sessions[-1], ""))


def _look_ahead_error(component: Component, leak: Leak, *, key: str) -> LookAheadError:
    """Return the error for a leak of a component: the value that changed, and what to do."""
    found = leak.text.partition(": ")[2]
    advice = "it uses what is known only later, or its values are not reproducible; correct it"
    if leak.future in LEVEL_SCENARIOS:
        advice = "it uses the level of adjusted prices or volumes, which later dividends and splits change; use a ratio"
    return LookAheadError(f"{component_name(type(component))} looks ahead: {found}: {advice}", key=key)


def _audit_model(config: RunConfig, prices: Prices, dataset: Dataset, component: Component) -> None:
    """Compare the fits of a model with those after later rows are replaced, at some boundaries of folds."""
    model, spec = make_audit_model(config.model), walk_forward_spec(config, prices)
    splits = DatasetSplits(dataset, make_model_splits(dataset, spec, model)[0])
    originals, collector = OriginalFits(splits), LeakCollector()
    for split_index, newest in _sample_refits(splits.splits):
        session = int(splits.splits[split_index].first_session[newest])
        altered = _with_later_rows_replaced(dataset, session, is_pooled=splits.splits[split_index].ticker_index < 0)
        altered_splits = DatasetSplits(altered, make_model_splits(altered, spec, model)[0])
        cutoff = CutoffComparison(session, iso_date(dataset.sessions[session]), "mirrored rows", collector)
        RefitChecker(originals, split_index, newest).check_refits(altered_splits, cutoff)
        if collector.leaks_by_value:
            raise _look_ahead_error(component, collector.leaks[0], key="model")


def _sample_refits(splits: Sequence[ModelSplit]) -> list[tuple[int, int]]:
    """Return positions of models and of refits of each: the first, the middle and the last, each of another model."""
    refits = []
    for number, share in enumerate(np.linspace(0.0, 1.0, N_BOUNDARIES)):
        split_index = number * len(splits) // N_BOUNDARIES
        refits.append((split_index, round(share * (len(splits[split_index].first_session) - 1))))
    return list(dict.fromkeys(refits))


def _with_later_rows_replaced(dataset: Dataset, session: int, *, is_pooled: bool) -> Dataset:
    """Return a dataset whose features after a session are mirrored about 0, and the labels that are not known by it.

    A pooled model may learn from the labels that are known to the tickers of all markets.
    """
    label_known_at = dataset.label_known_to_all_at if is_pooled else dataset.label_known_at
    is_later, is_unknown = dataset.session > session, label_known_at > session
    return replace(
        dataset,
        features=np.where(is_later[:, None], -dataset.features, dataset.features),
        up=np.where(is_unknown, 1.0 - dataset.up, dataset.up),
        horizon_return=np.where(is_unknown, -dataset.horizon_return, dataset.horizon_return),
    )


def _audit_decisions(
    config: RunConfig, prices: Prices, decisions: Decisions, component: Component, *, key: str
) -> None:
    """Compare positions with those after later forecasts and volatilities are replaced, at some sessions."""
    checker = TradingChecker(config, decisions, prices, DEFAULT_STAGES)
    contexts = checker.contexts_resized_by(CONTEXT_FACTORS)
    rng, collector = np.random.default_rng(config.seed), LeakCollector()
    sessions = np.unique(decisions.forecasts.session)[:-1]
    is_held = (np.nan_to_num(decisions.positions.weight[sessions]) != 0).any(axis=1)
    for session in sorted({*_spread(sessions), *_spread(sessions[is_held])}):
        checker.check_positions(
            contexts, CutoffComparison(session, iso_date(prices.sessions[session]), "", collector), rng
        )
        if collector.leaks:
            raise _look_ahead_error(component, collector.leaks[0], key=key)


def _spread(sessions: IntArray) -> list[int]:
    """Return up to `N_DECISION_SESSIONS` of some sessions, evenly spread, the first and the last included."""
    indices = np.linspace(0, max(len(sessions) - 1, 0), N_DECISION_SESSIONS).round().astype(np.int64)
    return [int(session) for session in sessions[np.unique(indices)]] if len(sessions) else []
