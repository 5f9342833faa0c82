"""What one model of a run has learnt, and what is to be said of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from quantlr.core.arrays import Array, BoolArray, IntArray
from quantlr.core.values import Forecasts
from quantlr.model.diagnostics import ModelDiagnostics, diagnose_model, sign_stability
from quantlr.report.context import PageContext
from quantlr.report.style import number_text, percent_text
from quantlr.stats.hac import SIGNIFICANCE_LEVEL, Z95

MAX_WEIGHT_PATH_REFITS, MAX_LOSS_CURVES, MAX_LOSS_ITERATIONS = 60, 5, 150
"""Refits whose weights are drawn, refits whose loss is, and updates after which its curve is cut, at most."""
MAX_SUBTITLE_CHARS = 330
"""Letters that there is room for below a title."""
MAX_FEATURE_NAME_CHARS = 26


@dataclass(frozen=True, slots=True)
class ModelSummary:
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

    diagnostics: ModelDiagnostics
    refit_dates: pd.DatetimeIndex
    feature_order: IntArray
    newest_weights: Array
    newest_standard_errors: Array
    significant_mask: BoolArray
    sign_stability: Array

    @property
    def n_refits(self) -> int:
        """Number of the model's refits."""
        return len(self.refit_dates)

    @classmethod
    def from_context(cls, context: PageContext) -> ModelSummary:
        """Return what was learnt by the pooled model, or by that of the ticker with the most refits, the first such."""
        course, config = context.run_data, context.config
        forecasts, refits = course.forecasts, course.forecasts.refits
        numbers, counts = np.unique(refits.ticker, return_counts=True)
        whose = int(numbers[counts.argmax()])
        mine = refits.ticker == whose
        found = diagnose_model(
            course.dataset,
            forecasts,
            config.walk_forward,
            config.model,
            ticker=None if whose < 0 else forecasts.tickers[whose],
            max_loss_curves=MAX_LOSS_CURVES,
            max_iterations=MAX_LOSS_ITERATIONS,
            max_coefficient_refits=MAX_WEIGHT_PATH_REFITS,
        )
        paths, at = found.coefficient_paths, found.coefficient_paths.last_index_with_standard_errors
        nothing = np.full(len(found.feature_names), np.nan)
        weight, error = nothing, nothing
        if at is not None:
            weight, error = paths.standardized_coefficients[at, 1:], paths.standardized_standard_errors[at, 1:]
        with np.errstate(divide="ignore", invalid="ignore"):
            distance = np.nan_to_num(np.abs(weight / error), nan=-1.0)
        return cls(
            diagnostics=found,
            refit_dates=forecasts.sessions[found.first_session],
            feature_order=np.argsort(-distance, kind="stable"),
            newest_weights=weight,
            newest_standard_errors=error,
            significant_mask=distance > Z95,
            sign_stability=sign_stability(refits.coefficients[mine], refits.degenerate[mine])[1:],
        )

    def feature_name(self, feature_index: int) -> str:
        """Return the name of a feature, shortened in its middle where it is long."""
        return shorten_middle(self.diagnostics.feature_names[feature_index])

    def weight_text(self, feature_index: int) -> str:
        """Return a newest weight and its standard error; and how steady its sign was, if there were several refits."""
        if np.isnan(self.newest_weights[feature_index]):
            return "no best fit"
        if np.isnan(self.newest_standard_errors[feature_index]):
            return "constant, weighs 0"
        text = f"{number_text(self.newest_weights[feature_index], decimals=3)} ± {number_text(self.newest_standard_errors[feature_index], decimals=3)}"
        if self.n_refits == 1 or np.isnan(self.sign_stability[feature_index]):
            return text
        return f"{text}, sign held {_share_percent_text(self.sign_stability[feature_index])}"


def shorten_middle(text: str, *, max_chars: int = MAX_FEATURE_NAME_CHARS) -> str:
    """Return a name of at most so many letters: its beginning and its end."""
    kept = max_chars - 1
    return text if len(text) <= max_chars else f"{text[: kept - kept // 2]}…{text[-(kept // 2) :]}"


def model_title_and_text(summary: ModelSummary, context: PageContext) -> tuple[str, str]:
    """Return a page's title and what it rests on: as many sentences as there is room for."""
    text = ""
    for sentence in _iter_model_sentences(summary, context):
        if len(text) + len(sentence) < MAX_SUBTITLE_CHARS:
            text = f"{text} {sentence}".lstrip()
    return _model_title(summary, context), text


def _model_title(summary: ModelSummary, context: PageContext) -> str:
    if summary.diagnostics.coefficient_paths.last_index_with_standard_errors is None:
        return "Nothing was learnt: no refit had a best fit, every forecast is a base rate"
    numbers = context.metrics["model"]
    if 2 * numbers["unconverged"] > numbers["refits"]:
        return f"{numbers['unconverged']:,} of {numbers['refits']:,} refits did not converge: weights are under way"
    k, told = len(summary.significant_mask), int(summary.significant_mask.sum())
    whose = (
        ""
        if len(_forecast_tickers(context)) == 1 or summary.diagnostics.name == "pooled"
        else f"{summary.diagnostics.name}: "
    )
    if not told:
        return _capitalize_first(f"{whose}{_none_significant_text(k)} be told from zero")
    luck = round(SIGNIFICANCE_LEVEL * k)
    if told > 1 or luck:
        compared = f"luck alone would give about {luck}" if luck else "luck alone would rarely give any"
        return _capitalize_first(f"{whose}{told} of {k} weights can be told from zero; {compared}")
    first = int(summary.feature_order[0])
    sign = "negative" if summary.newest_weights[first] < 0 else "positive"
    which = f"1 of {k} weights can be told from zero:" if k > 1 else "the weight can be told from zero:"
    return _capitalize_first(
        f"{whose}{which} {summary.feature_name(first)}, {sign}{_sign_stability_text(summary, first)}"
    )


def _none_significant_text(n_weights: int) -> str:
    return f"none of {n_weights} weights can" if n_weights > 1 else "its only weight can't"


def _sign_stability_text(summary: ModelSummary, feature_index: int) -> str:
    """Return at how many refits a weight had the sign that it has now."""
    if summary.n_refits == 1:
        return ""
    share = summary.sign_stability[feature_index]
    return " at every refit" if share == 1.0 else f" at {_share_percent_text(share)} of refits"


def _share_percent_text(share: float) -> str:
    """Return a share in percent, 100% only where it is all."""
    return percent_text(share if share == 1.0 else min(share, 0.99), decimals=0)


def _capitalize_first(text: str) -> str:
    return text[:1].upper() + text[1:]


def _iter_model_sentences(summary: ModelSummary, context: PageContext) -> Iterator[str]:
    """Yield what a reader should know, the most important first."""
    found, tickers = summary.diagnostics, _forecast_tickers(context)
    yield _convergence_text(context.run_data.forecasts, context.metrics["model"])
    if found.name == "pooled":
        yield f"One model for all {len(tickers)} tickers."
    elif len(tickers) > 1:
        yield f"Drawn: {found.name}, of {len(tickers)} tickers the first with most refits{_ticker_sign_agreement_text(summary, context)}."
    if found.coefficient_paths.last_index_with_standard_errors is None:
        return
    k = len(summary.significant_mask)
    if k > 1 and (not summary.significant_mask.any() or round(SIGNIFICANCE_LEVEL * k) == 0):
        yield f"By luck alone {number_text(SIGNIFICANCE_LEVEL * k)} of {k} would be told from zero, on average."
    if found.hac_lags is None:
        yield "Errors take sessions as independent."
    else:
        why = "labels overlap" if context.run_data.dataset.horizon > 1 else "tickers share sessions"
        yield f"Errors are by session, over {found.hac_lags} lags, since {why}."
    if found.learning_rate_study and found.learning_rate_study.row_stride > 1:
        yield f"The newest refit's losses are of every {ordinal_text(found.learning_rate_study.row_stride)} training row."
    if summary.n_refits > 1:
        yield "Sign held: share of refits with the newest sign."
    if context.config.model.class_weight is not None:
        yield "Class weights move forecasts away from frequencies."
    if context.config.model.l2 > 0:
        yield "The penalty pulls all weights towards zero; intervals leave that out."


def _ticker_sign_agreement_text(summary: ModelSummary, context: PageContext) -> str:
    """Return how many tickers' newest refits agree on the sign of the weight that is furthest from zero here."""
    if summary.diagnostics.coefficient_paths.last_index_with_standard_errors is None:
        return ""
    refits, feature = context.run_data.forecasts.refits, int(summary.feature_order[0])
    newest = [np.flatnonzero(refits.ticker == ticker)[-1] for ticker in np.unique(refits.ticker)]
    signs = np.sign(refits.coefficients[newest, 1 + feature])
    alike = int((signs == np.sign(summary.newest_weights[feature])).sum())
    return f"; {summary.feature_name(feature)} has the same sign now for {alike:,} of {len(signs):,}"


def _convergence_text(forecasts: Forecasts, model_metrics: dict[str, float]) -> str:
    """Return how the descents of all refits ended."""
    count, failed, without = (int(model_metrics[name]) for name in ("refits", "unconverged", "degenerate"))
    taken = forecasts.refits.iterations[~forecasts.refits.degenerate]
    no_fit = f"{without:,} of {count:,} refits had no best fit. " if without else ""
    if not len(taken):
        return no_fit.rstrip()
    refits = "The others" if without else f"{count:,} refits" if count > 1 else "The only refit"
    took = f"{number_text(float(taken.mean()), decimals=1)} updates on average, {taken.max():,} at most"
    ended = f"{failed:,} did not converge" if failed else "all converged"
    if len(taken) == 1:
        took, ended = f"{taken[0]:,} updates", "it did not converge" if failed else "it converged"
    return f"{no_fit}{refits} took {took}; {ended}."


def ordinal_text(number: int) -> str:
    """Return 2nd, 3rd, 4th and so on."""
    ending = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number:,}{ending}"


def _forecast_tickers(context: PageContext) -> list[str]:
    """Return the tickers that were forecast."""
    forecasts = context.run_data.forecasts
    return [forecasts.tickers[at] for at in np.unique(forecasts.ticker)]
