"""The winner of a sweep: the verdict on its run, with all trials counted, and its performance in the hold-out."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, replace

from quantlr.config.run_config import LoadedConfig
from quantlr.core.errors import UserError
from quantlr.core.values import BacktestResult, RunData
from quantlr.experiment.evaluate import compute_metrics
from quantlr.experiment.ledger import Ledger
from quantlr.experiment.price_overlap import price_overlap_keys
from quantlr.pipeline.stages import load_run_prices, run_stages
from quantlr.stats.family_wise import TrialFamily
from quantlr.stats.verdict import Verdict
from quantlr.sweeps.analysis import Holdout, evaluate_holdout
from quantlr.sweeps.grid import Sweep


@dataclass(frozen=True, slots=True)
class WinnerEvaluation:
    """What is known of the winner besides its trial.

    Attributes
    ----------
    verdict : on its run, on the prices that the trials used; None where it could not be run again.
    result : backtest over all dates; None where there is none.
    error : why there is none.
    holdout : its performance in the hold-out; None where there is none.
    price_keys : of all prices, those of the hold-out included.
    """

    verdict: Verdict | None = None
    result: BacktestResult | None = None
    error: str | None = None
    holdout: Holdout | None = None
    price_keys: tuple[int, ...] = ()


def evaluate_winner(
    sweep: Sweep, trial_number: int, family: TrialFamily, ledger: Ledger, *, sweep_sha256: str, offline: bool
) -> WinnerEvaluation:
    """Return the verdict on the winner's run without the hold-out, and its performance with it.

    Parameters
    ----------
    sweep : with the last date that the trials used.
    trial_number : of the winner.
    family : the trials that its verdict counts.
    ledger : of earlier looks at the hold-out.
    sweep_sha256 : of the sweep.
    offline : whether to do without the network.
    """
    verdict = None
    try:
        config = sweep.trial_config(trial_number)
        run_data = _run_config(config, offline=offline)
        per_year = config.run.report.sessions_in_year(run_data.prices)
        verdict = Verdict(**compute_metrics(config.run, run_data, family)["verdict"])
        if sweep.last_date is None:
            return WinnerEvaluation(verdict, run_data.result)
        run_data = _run_config(replace(sweep, last_date=None).trial_config(trial_number), offline=offline)
    except UserError as error:
        return WinnerEvaluation(verdict, error=error.message)
    holdout_start, price_keys = sweep.last_date + dt.timedelta(days=1), price_overlap_keys(run_data.prices)
    looks = ledger.read_holdout_looks(price_keys, holdout_start.isoformat(), sweep_sha256=sweep_sha256)
    holdout = evaluate_holdout(run_data.result, holdout_start, per_year, looks)
    return WinnerEvaluation(verdict, run_data.result, holdout=holdout, price_keys=price_keys)


def _run_config(config: LoadedConfig, *, offline: bool) -> RunData:
    with config.add_location_to_errors():
        return run_stages(config.run, load_run_prices(config.run, offline=offline))
