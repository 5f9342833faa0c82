"""Two runs against each other: how far they differ, and whether that may be luck, in one sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from quantlr.backtest.inference.differences import Difference, holm
from quantlr.backtest.inference.levels import SIGNIFICANT
from quantlr.report.figures.style import MINUS


@dataclass(frozen=True, slots=True)
class Pair:
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

    first: int
    second: int
    sharpe: Difference | None
    mean_return: Difference | None
    log_loss: Difference | None
    accuracy: Difference | None
    same_returns: bool
    same_forecasts: bool
    sharpe_p: float | None = None
    log_loss_p: float | None = None

    @property
    def pays(self) -> bool:
        """Whether the Sharpe ratios differ by more than luck."""
        return self.sharpe_p is not None and self.sharpe_p < SIGNIFICANT

    @property
    def knows(self) -> bool:
        """Whether the log losses differ by more than luck."""
        return self.log_loss_p is not None and self.log_loss_p < SIGNIFICANT


def adjusted(pairs: Sequence[Pair]) -> tuple[Pair, ...]:
    """Return pairs with the p values of their Sharpe ratios and log losses adjusted together, by Holm's method.

    What is one and the same is not tested, and makes no other test harder.
    """
    tested = [
        (at, name, found.p_value)
        for at, pair in enumerate(pairs)
        for name, found, same in (
            ("sharpe_p", pair.sharpe, pair.same_returns),
            ("log_loss_p", pair.log_loss, pair.same_forecasts),
        )
        if found is not None and not same
    ]
    found: list[dict[str, float]] = [{} for _ in pairs]
    for (at, name, _), p_value in zip(tested, holm([p_value for *_, p_value in tested]), strict=True):
        found[at][name] = p_value
    return tuple(
        replace(pair, sharpe_p=values.get("sharpe_p"), log_loss_p=values.get("log_loss_p"))
        for pair, values in zip(pairs, found, strict=True)
    )


def sentence(pair: Pair, names: Sequence[str]) -> str:
    """Return what can be said of two runs, for people."""
    return f"{names[pair.second]} against {names[pair.first]}: {profit_words(pair)}; {skill_words(pair)}."


def profit_words(pair: Pair) -> str:
    """Return whether the second earned more for its risk."""
    words = profit_judged(pair)
    return words if pair.same_returns else f"Sharpe ratio {words}"


def skill_words(pair: Pair) -> str:
    """Return whether the second knew more; a lower log loss is a better forecast."""
    words = skill_judged(pair)
    return words if pair.same_forecasts else f"log loss {words}"


def profit_judged(pair: Pair) -> str:
    """Return the difference of Sharpe ratios and what it is worth."""
    return "the same returns in every session" if pair.same_returns else _judged(pair.sharpe, pair.sharpe_p, decimals=2)


def skill_judged(pair: Pair, *, unit: float = 1.0, decimals: int = 5) -> str:
    """Return the difference of log losses, in `unit` nats, and what it is worth."""
    scaled = pair.log_loss and pair.log_loss.times(1.0 / unit)
    return "the same forecasts" if pair.same_forecasts else _judged(scaled, pair.log_loss_p, decimals=decimals)


def _judged(found: Difference | None, p_value: float | None, *, decimals: int) -> str:
    if found is None or p_value is None:
        return "not compared"
    judged = "larger than luck" if p_value < SIGNIFICANT else "may be luck"
    return f"{measured(found, p_value, decimals=decimals)}: {judged}"


def measured(found: Difference, p_value: float, *, decimals: int) -> str:
    """Return a difference with its interval and adjusted p value."""
    low, high = (signed(bound, decimals=decimals) for bound in (found.low95, found.high95))
    p = "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}" if p_value < 0.1 else f"p = {p_value:.2f}"
    return f"{signed(found.value, decimals=decimals)} ({low} to {high}, {p})"


def signed(value: float, *, decimals: int) -> str:
    """Return a number with its sign, a real minus; no sign where it rounds to 0."""
    text = f"{value:+.{decimals}f}"
    return text.replace("-", MINUS) if float(text) else text[1:]
