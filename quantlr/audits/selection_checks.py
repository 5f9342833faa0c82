"""Checks of a choice among candidates: weights up to a session may not depend on later forecasts and outcomes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from quantlr.audits.result import CutoffComparison
from quantlr.core.timing import iso_date
from quantlr.core.values import BoolArray, Dataset, Forecasts
from quantlr.model.candidates import ChooseFunction, SelectedForecasts

SELECTION_TOLERANCE = 1e-9
"""Largest change of a weight and of log odds."""
EXTREME_LOG_ODDS = (-8.0, 8.0)
"""Log odds in place of those that may not be used: one such loss outweighs the difference of years."""


class SelectionChecker:
    """The choice of a run, to be compared with those on altered later forecasts and outcomes.

    Parameters
    ----------
    dataset : of the run, with the columns of all candidates.
    forecasts : of the run.
    choose : (dataset, candidates' forecasts) to the forecasts that are chosen.
    """

    def __init__(self, dataset: Dataset, forecasts: SelectedForecasts, choose: ChooseFunction) -> None:
        self.dataset, self.forecasts, self.choose = dataset, forecasts, choose

    def check_selection(self, cutoff: CutoffComparison, rng: np.random.Generator) -> None:
        """Compare weights and forecasts up to a cutoff, with other forecasts and outcomes of candidates after it.

        The weights may not even depend on earlier forecasts whose outcome is not known at the cutoff.
        """
        forecasts, selection, dataset = self.forecasts, self.forecasts.selection, self.dataset
        past, past_sessions = forecasts.session <= cutoff.session, selection.session <= cutoff.session
        is_unknown = dataset.label_known_to_all_at > cutoff.session
        altered_dataset = replace(dataset, up=np.where(is_unknown, rng.integers(0, 2, len(is_unknown)), dataset.up))
        stride = len(dataset.sessions)
        rows = np.searchsorted(dataset.ticker * stride + dataset.session, forecasts.ticker * stride + forecasts.session)

        def choose_with_replaced(row_mask: BoolArray) -> SelectedForecasts:
            candidates = [
                replace(one, log_odds=np.where(row_mask, rng.choice(EXTREME_LOG_ODDS, len(row_mask)), one.log_odds))
                for one in selection.candidates
            ]
            return self.choose(altered_dataset, candidates)

        at_cutoff = cutoff.with_scenario("other probabilities and outcomes")
        weights = choose_with_replaced(is_unknown[rows]).selection.weights
        at_cutoff.check_unchanged(
            "select", "weight of a candidate", selection.weights[past_sessions].ravel(),
            weights[past_sessions].ravel(), self._session_date, tolerance=SELECTION_TOLERANCE,
        )  # fmt: skip
        log_odds = choose_with_replaced(~past).log_odds
        at_cutoff.check_unchanged(
            "select", "log odds", forecasts.log_odds[past], log_odds[past],
            lambda index: _row_ticker_date(forecasts, int(np.flatnonzero(past)[index])), tolerance=SELECTION_TOLERANCE,
        )  # fmt: skip

    def _session_date(self, index: int) -> tuple[str, str]:
        session = self.forecasts.selection.session[index // self.forecasts.selection.weights.shape[1]]
        return "", iso_date(self.forecasts.sessions[session])


def _row_ticker_date(forecasts: Forecasts, row: int) -> tuple[str, str]:
    return forecasts.tickers[forecasts.ticker[row]], iso_date(forecasts.sessions[forecasts.session[row]])
