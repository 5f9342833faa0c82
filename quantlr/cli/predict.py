"""``quantlr predict CONFIG``: the forecast after the newest close, and the position that the policy takes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from quantlr.cli.options import Options, config_argument, verb

if TYPE_CHECKING:
    from rich.table import Table

    from quantlr.experiment.predict import Prediction, Predictions, TrainingSummary

MIN_WEIGHT_SHOWN = 0.0005
MAX_TICKERS_EXPLAINED, MAX_CANDIDATES_SHOWN = 5, 5
"""Tickers whose contributions are shown without -v, and candidates that are shown of each."""


@verb("predict", "settings", "name", "offline", "jobs")
@config_argument
@click.option(
    "--stale-after",
    default=5,
    show_default=True,
    type=click.IntRange(min=0),
    metavar="DAYS",
    help="Warn where the newest session is older than this.",
)
def command(options: Options, *, config_path: Path, stale_after: int) -> None:
    """Forecast the next close with CONFIG's model, and show each feature's contribution and the position.

    The model is the one that the walk-forward's schedule of refits has for the newest session, and the computation is
    that of the backtest, whose verdict is shown below the position. Nothing is written, and no ledger of trials is
    read: the verdict counts this trial alone.
    """
    from quantlr.cli.terminal import progress_bar
    from quantlr.experiment.predict import predict

    config = options.load_config(config_path)
    offline, workers = options.offline, options.workers
    with progress_bar(options.messages) as progress:
        predictions = predict(config, stale_after=stale_after, offline=offline, workers=workers, progress=progress)
    _print_predictions(options, predictions)
    options.print_json(predictions)


def _print_predictions(options: Options, predictions: Predictions) -> None:
    from rich.text import Text

    from quantlr.cli.terminal import print_table

    results, tickers = options.results, predictions.tickers
    print_table(_predictions_table(predictions), results)
    results.print(predictions.verdict or "no verdict: no return has been earned yet", highlight=False, soft_wrap=True)
    _print_explanations(options, predictions)
    for fill_text in dict.fromkeys(prediction.filled for prediction in tickers):
        results.print(f"filled {fill_text}")
    if predictions.horizon > 1:
        results.print(f"the position held is the mean of the last {predictions.horizon} decisions")
    options.print_notes(predictions.notes)
    tickers_by_warning: dict[str, list[str]] = {}
    for prediction in predictions.tickers:
        for warning in prediction.warnings:
            tickers_by_warning.setdefault(warning, []).append(prediction.ticker)
    for warning, names in tickers_by_warning.items():
        options.messages.print(Text.assemble(("warning ", "bold yellow"), f"{', '.join(names)}: {warning}"))


def _print_explanations(options: Options, predictions: Predictions) -> None:
    """Print the weights of candidates, and what each feature contributes."""
    from quantlr.cli.terminal import print_table

    results, tickers = options.results, predictions.tickers
    has_contributions = any(prediction.at_the_mean is not None for prediction in tickers)
    for prediction in tickers[:MAX_TICKERS_EXPLAINED] if tickers[0].candidates else ():
        print_table(_candidates_table(prediction), results)
    if not has_contributions:
        reason = f"{predictions.model} has no coefficients"
        if tickers[0].candidates:
            reason = "the forecast is a mean over candidates"
        results.print(f"no contributions of the features: {reason}", style="dim")
    elif options.verbose or len(tickers) <= MAX_TICKERS_EXPLAINED:
        for prediction in tickers:
            print_table(_contributions_table(prediction), results)
            if prediction.trained.solver:
                results.print(_fit_text(prediction.trained), style="dim")
    else:
        results.print("contributions of the features: with -v or --json", style="dim")


def _predictions_table(predictions: Predictions) -> Table:
    """Return a table with a row for each ticker."""
    from quantlr.cli.terminal import make_table

    horizon, unit = predictions.horizon, predictions.bar_unit
    close = f"the close in {horizon} {unit}s"
    if horizon == 1:
        close = "the next close" if unit == "session" else f"next {unit}'s close"
    higher = f"{close} is higher"
    if predictions.label_of == "fill":
        higher = f"the price is higher {horizon} {unit}{'s'[: horizon > 1]} after the fill"
    title = f"{predictions.name}: probability that {higher}"
    rows = (
        (item.ticker, item.as_of, f"{item.probability:.1%}", f"{item.trained.base_rate:.1%}", item.position)
        for item in predictions.tickers
    )
    return make_table(title, ("", "as of", ">up", ">base rate", "position"), rows)


def _candidates_table(prediction: Prediction) -> Table:
    """Return a table of the candidates with the largest weights in the forecast of one ticker."""
    from quantlr.cli.terminal import make_table
    from quantlr.config.candidates import candidate_text

    shown = [one for one in prediction.candidates[:MAX_CANDIDATES_SHOWN] if one.weight >= MIN_WEIGHT_SHOWN]
    title = f"{prediction.ticker}: {len(shown)} of {len(prediction.candidates)} candidates, by weight in the forecast"
    table = make_table(title, ("candidate", ">weight", ">up"))
    table.title_style = ""
    for candidate in shown:
        table.add_row(candidate_text(candidate.values), f"{candidate.weight:.1%}", f"{candidate.probability:.1%}")
    return table


def _contributions_table(prediction: Prediction) -> Table:
    """Return a table of what adds up to the log odds of one ticker."""
    from quantlr.cli.terminal import make_table

    trained = prediction.trained
    title = f"{prediction.ticker}: refit of {trained.refit} on {trained.rows:,} rows, {trained.first} to {trained.last}"
    headings = ("", ">value", ">training mean", ">coefficient", ">contribution to the log odds")
    table = make_table(title, headings)
    table.title_style = ""
    table.add_row("all features at their means", "", "", "", f"{prediction.at_the_mean:+.4f}")
    for item in prediction.contributions:
        numbers = f"{item.value:.4g}", f"{item.mean:.4g}", f"{item.coefficient:.4g}", f"{item.log_odds:+.4f}"
        table.add_row(item.feature, *numbers)
    table.add_row("log odds", "", "", "", f"{prediction.log_odds:+.4f}", style="bold")
    return table


def _fit_text(trained: TrainingSummary) -> str:
    """Return how the fit of one ticker's model ended."""
    from dataclasses import asdict

    from quantlr.report.summary import learning_rate_text

    end = "converged" if trained.converged else "stopped unconverged"
    return (
        f"{trained.solver} {end} after {trained.iterations} updates, gradient {trained.max_abs_gradient:.1e}; learning "
        f"rate {learning_rate_text(asdict(trained))}"
    )
