"""What one model of a run has learnt, and what is to be said of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from quantlr.backtest.inference.levels import SIGNIFICANT, Z95
from quantlr.model.coefficients import same_side
from quantlr.model.study import ModelStudy, study
from quantlr.report.figures.style import number, percent
from quantlr.report.shown import Shown
from quantlr.types import Array, BoolArray, Forecasts, IntArray

POINTS, CURVES, UPDATES = 60, 5, 150
"""Refits whose weights are drawn, refits whose loss is, and updates after which its curve is cut, at most."""
LONGEST_TEXT = 330
"""Letters that there is room for below a title."""
LONGEST_NAME = 26


@dataclass(frozen=True, slots=True)
class Learnt:
    """One model of a run.

    Attributes
    ----------
    found : its study.
    dates : (refits,) the first session that each of its refits forecasts.
    order : (k,) features, those first that are furthest from zero for their error.
    weight, error : (k,) newest standardised weights and their standard errors; NaN where there are none.
    told : (k,) whether a weight can be told from zero: 0 lies outside its 95 % interval.
    side : (k,) share of the model's refits in which a weight has the sign that it has at the newest.
    """

    found: ModelStudy
    dates: pd.DatetimeIndex
    order: IntArray
    weight: Array
    error: Array
    told: BoolArray
    side: Array

    @property
    def refits(self) -> int:
        """Number of the model's refits."""
        return len(self.dates)

    @classmethod
    def of(cls, shown: Shown) -> Learnt:
        """Return what was learnt by the pooled model, or by that of the ticker with the most refits, the first such."""
        course, config = shown.course, shown.config
        forecasts, refits = course.forecasts, course.forecasts.refits
        numbers, counts = np.unique(refits.ticker, return_counts=True)
        whose = int(numbers[counts.argmax()])
        mine = refits.ticker == whose
        found = study(
            course.dataset,
            forecasts,
            config.walk_forward,
            config.model,
            ticker=None if whose < 0 else forecasts.tickers[whose],
            curves=CURVES,
            updates=UPDATES,
            points=POINTS,
        )
        paths, at = found.paths, found.paths.newest
        nothing = np.full(len(found.columns), np.nan)
        weight, error = nothing, nothing
        if at is not None:
            weight, error = paths.standardised[at, 1:], paths.standardised_error[at, 1:]
        with np.errstate(divide="ignore", invalid="ignore"):
            distance = np.nan_to_num(np.abs(weight / error), nan=-1.0)
        return cls(
            found=found,
            dates=forecasts.sessions[found.session],
            order=np.argsort(-distance, kind="stable"),
            weight=weight,
            error=error,
            told=distance > Z95,
            side=same_side(refits.coefficients[mine], refits.degenerate[mine])[1:],
        )

    def named(self, feature: int) -> str:
        """Return the name of a feature, shortened in its middle where it is long."""
        return short(self.found.columns[feature])

    def in_words(self, feature: int) -> str:
        """Return a newest weight and its standard error; and how steady its sign was, if there were several refits."""
        if np.isnan(self.weight[feature]):
            return "no best fit"
        if np.isnan(self.error[feature]):
            return "constant, weighs 0"
        text = f"{number(self.weight[feature], decimals=3)} ± {number(self.error[feature], decimals=3)}"
        if self.refits == 1 or np.isnan(self.side[feature]):
            return text
        return f"{text}, sign held {_share(self.side[feature])}"


def short(name: str, *, longest: int = LONGEST_NAME) -> str:
    """Return a name of at most so many letters: its beginning and its end."""
    kept = longest - 1
    return name if len(name) <= longest else f"{name[: kept - kept // 2]}…{name[-(kept // 2) :]}"


def finding(learnt: Learnt, shown: Shown) -> tuple[str, str]:
    """Return a page's title and what it rests on: as many sentences as there is room for."""
    text = ""
    for sentence in _sentences(learnt, shown):
        if len(text) + len(sentence) < LONGEST_TEXT:
            text = f"{text} {sentence}".lstrip()
    return _title(learnt, shown), text


def _title(learnt: Learnt, shown: Shown) -> str:
    if learnt.found.paths.newest is None:
        return "Nothing was learnt: no refit had a best fit, every forecast is a base rate"
    numbers = shown.metrics["model"]
    if 2 * numbers["unconverged"] > numbers["refits"]:
        return f"{numbers['unconverged']:,} of {numbers['refits']:,} refits did not converge: weights are under way"
    k, told = len(learnt.told), int(learnt.told.sum())
    whose = "" if len(_tickers(shown)) == 1 or learnt.found.name == "pooled" else f"{learnt.found.name}: "
    if not told:
        return _sentence(f"{whose}{_none(k)} be told from zero")
    luck = round(SIGNIFICANT * k)
    if told > 1 or luck:
        compared = f"luck alone would give about {luck}" if luck else "luck alone would rarely give any"
        return _sentence(f"{whose}{told} of {k} weights can be told from zero; {compared}")
    first = int(learnt.order[0])
    sign = "negative" if learnt.weight[first] < 0 else "positive"
    which = f"1 of {k} weights can be told from zero:" if k > 1 else "the weight can be told from zero:"
    return _sentence(f"{whose}{which} {learnt.named(first)}, {sign}{_how_often(learnt, first)}")


def _none(k: int) -> str:
    return f"none of {k} weights can" if k > 1 else "its only weight can't"


def _how_often(learnt: Learnt, feature: int) -> str:
    """Return at how many refits a weight had the sign that it has now."""
    if learnt.refits == 1:
        return ""
    share = learnt.side[feature]
    return " at every refit" if share == 1.0 else f" at {_share(share)} of refits"


def _share(share: float) -> str:
    """Return a share in percent, 100% only where it is all."""
    return percent(share if share == 1.0 else min(share, 0.99), decimals=0)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _sentences(learnt: Learnt, shown: Shown) -> Iterator[str]:
    """Yield what a reader should know, the most important first."""
    found, tickers = learnt.found, _tickers(shown)
    yield _descents(shown.course.forecasts, shown.metrics["model"])
    if found.name == "pooled":
        yield f"One model for all {len(tickers)} tickers."
    elif len(tickers) > 1:
        yield f"Drawn: {found.name}, of {len(tickers)} tickers the first with most refits{_elsewhere(learnt, shown)}."
    if found.paths.newest is None:
        return
    k = len(learnt.told)
    if k > 1 and (not learnt.told.any() or round(SIGNIFICANT * k) == 0):
        yield f"By luck alone {number(SIGNIFICANT * k)} of {k} would be told from zero, on average."
    if found.lags is None:
        yield "Errors take sessions as independent."
    else:
        why = "labels overlap" if shown.course.dataset.horizon > 1 else "tickers share sessions"
        yield f"Errors are by session, over {found.lags} lags, since {why}."
    if found.rates and found.rates.every > 1:
        yield f"The newest refit's losses are of every {ordinal(found.rates.every)} training row."
    if learnt.refits > 1:
        yield "Sign held: share of refits with the newest sign."
    if shown.config.model.class_weight is not None:
        yield "Class weights move forecasts away from frequencies."
    if shown.config.model.l2 > 0:
        yield "The penalty pulls all weights towards zero; intervals leave that out."


def _elsewhere(learnt: Learnt, shown: Shown) -> str:
    """Return how many tickers' newest refits agree on the sign of the weight that is furthest from zero here."""
    if learnt.found.paths.newest is None:
        return ""
    refits, feature = shown.course.forecasts.refits, int(learnt.order[0])
    newest = [np.flatnonzero(refits.ticker == ticker)[-1] for ticker in np.unique(refits.ticker)]
    signs = np.sign(refits.coefficients[newest, 1 + feature])
    alike = int((signs == np.sign(learnt.weight[feature])).sum())
    return f"; {learnt.named(feature)} has the same sign now for {alike:,} of {len(signs):,}"


def _descents(forecasts: Forecasts, numbers: dict[str, float]) -> str:
    """Return how the descents of all refits ended."""
    count, failed, without = (int(numbers[name]) for name in ("refits", "unconverged", "degenerate"))
    taken = forecasts.refits.iterations[~forecasts.refits.degenerate]
    no_fit = f"{without:,} of {count:,} refits had no best fit. " if without else ""
    if not len(taken):
        return no_fit.rstrip()
    refits = "The others" if without else f"{count:,} refits" if count > 1 else "The only refit"
    took = f"{number(float(taken.mean()), decimals=1)} updates on average, {taken.max():,} at most"
    ended = f"{failed:,} did not converge" if failed else "all converged"
    if len(taken) == 1:
        took, ended = f"{taken[0]:,} updates", "it did not converge" if failed else "it converged"
    return f"{no_fit}{refits} took {took}; {ended}."


def ordinal(number: int) -> str:
    """Return 2nd, 3rd, 4th and so on."""
    ending = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number:,}{ending}"


def _tickers(shown: Shown) -> list[str]:
    """Return the tickers that were forecast."""
    forecasts = shown.course.forecasts
    return [forecasts.tickers[at] for at in np.unique(forecasts.ticker)]
