"""Two runs against each other: how far they differ, and whether that may be luck, in one sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from quantlr.backtest.inference.differences import PairedDifference, holm_adjusted_p_values
from quantlr.backtest.inference.levels import SIGNIFICANCE_LEVEL
from quantlr.report.figures.style import MINUS_SIGN


@dataclass(frozen=True, slots=True)
class RunPair:
    """Two runs, and how far the second stands above the first.

    Attributes
    ----------
    first, second : their positions.
    sharpe, mean_return : differences per year; None where a number is undefined or there is too little to test.
    log_loss, accuracy : differences over the common forecasts, in nats and as a fraction; None likewise, or where the
        runs answer different questions.
    same_returns, same_forecasts : whether there is no difference at all.
    sharpe_p, log_loss_p : p values adjusted for everything that is tested beside them.
    """

    first_index: int
    second_index: int
    sharpe_difference: PairedDifference | None
    mean_return_difference: PairedDifference | None
    log_loss_difference: PairedDifference | None
    accuracy_difference: PairedDifference | None
    has_same_returns: bool
    has_same_forecasts: bool
    sharpe_adjusted_p: float | None = None
    log_loss_adjusted_p: float | None = None

    @property
    def is_sharpe_significant(self) -> bool:
        """Whether the Sharpe ratios differ by more than luck."""
        return self.sharpe_adjusted_p is not None and self.sharpe_adjusted_p < SIGNIFICANCE_LEVEL

    @property
    def is_log_loss_significant(self) -> bool:
        """Whether the log losses differ by more than luck."""
        return self.log_loss_adjusted_p is not None and self.log_loss_adjusted_p < SIGNIFICANCE_LEVEL


def with_adjusted_p_values(pairs: Sequence[RunPair]) -> tuple[RunPair, ...]:
    """Return pairs with the p values of their Sharpe ratios and log losses adjusted together, by Holm's method.

    What is one and the same is not tested, and makes no other test harder.
    """
    tested = [
        (at, name, found.p_value)
        for at, pair in enumerate(pairs)
        for name, found, same in (
            ("sharpe_p", pair.sharpe_difference, pair.has_same_returns),
            ("log_loss_p", pair.log_loss_difference, pair.has_same_forecasts),
        )
        if found is not None and not same
    ]
    found: list[dict[str, float]] = [{} for _ in pairs]
    for (at, name, _), p_value in zip(tested, holm_adjusted_p_values([p_value for *_, p_value in tested]), strict=True):
        found[at][name] = p_value
    return tuple(
        replace(pair, sharpe_adjusted_p=values.get("sharpe_p"), log_loss_adjusted_p=values.get("log_loss_p"))
        for pair, values in zip(pairs, found, strict=True)
    )


def pair_sentence(pair: RunPair, run_names: Sequence[str]) -> str:
    """Return what can be said of two runs, for people."""
    return f"{run_names[pair.second_index]} against {run_names[pair.first_index]}: {labeled_sharpe_text(pair)}; {labeled_log_loss_text(pair)}."


def labeled_sharpe_text(pair: RunPair) -> str:
    """Return whether the second earned more for its risk."""
    words = sharpe_difference_text(pair)
    return words if pair.has_same_returns else f"Sharpe ratio {words}"


def labeled_log_loss_text(pair: RunPair) -> str:
    """Return whether the second knew more; a lower log loss is a better forecast."""
    words = log_loss_difference_text(pair)
    return words if pair.has_same_forecasts else f"log loss {words}"


def sharpe_difference_text(pair: RunPair) -> str:
    """Return the difference of Sharpe ratios and what it is worth."""
    return (
        "the same returns in every session"
        if pair.has_same_returns
        else _significance_text(pair.sharpe_difference, pair.sharpe_adjusted_p, decimals=2)
    )


def log_loss_difference_text(pair: RunPair, *, unit_nats: float = 1.0, decimals: int = 5) -> str:
    """Return the difference of log losses, in `unit` nats, and what it is worth."""
    scaled = pair.log_loss_difference and pair.log_loss_difference.scaled(1.0 / unit_nats)
    return (
        "the same forecasts"
        if pair.has_same_forecasts
        else _significance_text(scaled, pair.log_loss_adjusted_p, decimals=decimals)
    )


def _significance_text(difference: PairedDifference | None, p_value: float | None, *, decimals: int) -> str:
    if difference is None or p_value is None:
        return "not compared"
    judged = "larger than luck" if p_value < SIGNIFICANCE_LEVEL else "may be luck"
    return f"{interval_and_p_text(difference, p_value, decimals=decimals)}: {judged}"


def interval_and_p_text(difference: PairedDifference, p_value: float, *, decimals: int) -> str:
    """Return a difference with its interval and adjusted p value."""
    low, high = (format_signed(bound, decimals=decimals) for bound in (difference.low95, difference.high95))
    p = "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}" if p_value < 0.1 else f"p = {p_value:.2f}"
    return f"{format_signed(difference.value, decimals=decimals)} ({low} to {high}, {p})"


def format_signed(value: float, *, decimals: int) -> str:
    """Return a number with its sign, a real minus; no sign where it rounds to 0."""
    text = f"{value:+.{decimals}f}"
    return text.replace("-", MINUS_SIGN) if float(text) else text[1:]
