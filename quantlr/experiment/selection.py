"""What choosing among candidates was worth, and the candidates as trials."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from quantlr.config.candidates import Candidate
from quantlr.config.run_config import LoadedConfig, RunConfig
from quantlr.core.errors import ConfigError
from quantlr.core.values import RunData
from quantlr.experiment.trial import Trial, TrialResult
from quantlr.model.candidates import SelectedForecasts
from quantlr.pipeline.stages import Decisions, decision_context, positions_from_forecasts, run_backtest


def require_one_model(config: LoadedConfig, *, verb: str) -> None:
    """Raise a ConfigError, with the place of the key, for a config that chooses among candidates."""
    if config.run.selection is not None:
        text = f"{verb} needs one model, found a choice among candidates; remove it, or give model.l2 a number"
        raise config.error_with_location(ConfigError(text, key="select" if config.run.select else "model.l2"))


def selection_metrics(config: RunConfig, forecasts: SelectedForecasts) -> dict[str, Any]:
    """Return what choosing was worth, keyed as in ``metrics.json``: log losses in nats, and weights.

    `regret` and `regret_bound` are sums over sessions, of the selected forecasts against the best candidate.
    """
    selection = forecasts.selection
    rows = zip(config.candidates(), selection.log_losses, selection.weights.T, strict=True)
    return {
        "how": selection.spec.how,
        "best_in_hindsight": selection.best_in_hindsight,
        "regret": selection.regret,
        "regret_bound": selection.regret_bound,
        "candidates": [
            {
                "values": candidate.values,
                "log_loss": float(log_loss),
                "mean_weight": float(weights.mean()),
                "newest_weight": float(weights[-1]),
            }
            for candidate, log_loss, weights in rows
        ],
    }


def iter_candidate_trials(config: RunConfig, run_data: RunData, trial: Trial) -> Iterator[Trial]:
    """Yield each candidate as a trial that a run has shown, with the result of its own backtest.

    Its forecasts are those for the rows that all candidates forecast.
    """
    forecasts = run_data.forecasts
    if not isinstance(forecasts, SelectedForecasts):
        return
    for index, candidate in enumerate(config.candidates()):
        result = _candidate_result(candidate, run_data, forecasts, index)
        own = Trial.from_config(
            candidate.config, data_sha256=trial.data_sha256, price_keys=trial.price_keys, result=result
        )
        yield replace(own, shown_by=trial.selection_sha256)


def _candidate_result(candidate: Candidate, run_data: RunData, forecasts: SelectedForecasts, index: int) -> TrialResult:
    config, prices, own = candidate.config, run_data.prices, forecasts.of_candidate(index)
    context = decision_context(config, prices, own)
    positions = positions_from_forecasts(config, own, context)
    backtest = run_backtest(config, prices, Decisions(run_data.dataset, own, positions)).result
    return TrialResult.from_backtest(backtest, config.report.sessions_in_year(prices))
