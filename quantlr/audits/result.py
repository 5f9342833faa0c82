"""Result of an audit: the leaks by stage, and the extent of the checks."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from quantlr.core.values import Array

AUDITED_STAGES = (
    "features", "label", "folds", "scale", "fit", "target_stats", "forecast", "calibrate", "select",
    "decision_context", "decide", "execute",
)  # fmt: skip
"""Stages that are checked, in the order of a run: "scale" is the scaling of features, "target_stats" are the statistics
of the target in a fold's training rows, "select" is the choice among candidates, "decision_context" is what policies
may use besides the forecasts."""
RELATIVE_TOLERANCE, PROBABILITY_TOLERANCE = 1e-9, 1e-7
"""Change by rounding: of a number, relative to its scale; and of a probability, which a solver approximates."""
MAX_DEVIATION = 1e300
AUDIT_LIMITS = (
    "which tickers were chosen: a list drawn up later lacks those that were delisted (survivorship)",
    "what was in the prices before they were read: the vendor's adjustments, corrections and late additions",
    "data that a feature reads from elsewhere, and a model or setting that was chosen by its result on the same prices",
)
"""What an audit cannot see, since it replaces prices that are already there."""

TickerDateFunction = Callable[[int], tuple[str, str]]
"""From the position of a number to its ticker and its date."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leak:
    """One value that depends on the future.

    Attributes
    ----------
    stage : of the run, one of `AUDITED_STAGES`.
    what : the feature, or the field of the stage's result.
    ticker : of the value, or "pooled"; empty where it is of all tickers.
    date : session of the first value that changed.
    cut : last session whose prices were not replaced; the value's own where no prices had to be replaced.
    future : scenario that replaced the later prices; empty where none had to be.
    was, became : the value with the actual and with the replaced prices; NaN where there is none.
    times : number of checks that found it.
    text : all of it in a sentence.
    """

    stage: str
    what: str
    ticker: str = ""
    date: str = ""
    cut: str = ""
    future: str = ""
    was: float = math.nan
    became: float = math.nan
    times: int = 1
    text: str


@dataclass(frozen=True, slots=True)
class AuditCoverage:
    """Extent of an audit's checks.

    Attributes
    ----------
    first_cutoff, last_cutoff : first and last session after which prices were replaced.
    n_refits, n_refits_checked : number of refits of all models; number of those fitted again with replaced prices.
    n_full_cutoffs : number of cutoffs at which every stage was checked, with every scenario.
    n_model_cutoffs : number of further cutoffs at which models were checked, with mirrored returns only.
    n_input_cutoffs : number of cutoffs at which features and label were checked, all others included.
    scenarios : names of the scenarios that replaced the later prices.
    n_scenarios_at_input_cutoff : number of them, applied at once, at a cutoff where not every stage was checked: one
        path of prices in turn, a dividend, a split and holidays.
    n_compared_by_stage : number of compared values, by stage.
    largest_change_by_stage : largest change of a value, by stage, relative to the tolerance.
    """

    first_cutoff: str
    last_cutoff: str
    n_refits: int
    n_refits_checked: int
    n_full_cutoffs: int
    n_model_cutoffs: int
    n_input_cutoffs: int
    scenarios: tuple[str, ...]
    n_scenarios_at_input_cutoff: int
    n_compared_by_stage: dict[str, int]
    largest_change_by_stage: dict[str, float]


@dataclass(frozen=True, slots=True)
class Audit:
    """Result of an audit for look-ahead bias.

    Attributes
    ----------
    name : of the config.
    config_sha256, data_sha256 : digests of the config, without its name and its report, and of the prices.
    leaks : in the order of the stages; empty if there are none.
    coverage : extent of the checks.
    """

    name: str
    config_sha256: str
    data_sha256: str
    leaks: tuple[Leak, ...]
    coverage: AuditCoverage

    @property
    def is_clean(self) -> bool:
        """Whether there are no leaks."""
        return not self.leaks

    @property
    def leaking_stages(self) -> tuple[str, ...]:
        """Stages with leaks, in the order of a run."""
        return tuple(dict.fromkeys(leak.stage for leak in self.leaks))

    def to_dict(self) -> dict[str, Any]:
        """Return the audit as written to ``audit.json``; undefined values are None."""
        content = {"clean": self.is_clean, **asdict(self), "not_audited": list(AUDIT_LIMITS)}
        for leak in content["leaks"]:
            leak.update({key: None for key in ("was", "became") if not np.isfinite(leak[key])})
        return content


@dataclass
class LeakCollector:
    """Leaks found so far, and the number of compared values and their largest change by stage."""

    leaks_by_value: dict[tuple[str, str], Leak] = field(default_factory=dict)
    n_compared: Counter[str] = field(default_factory=Counter)
    max_deviation: dict[str, float] = field(default_factory=dict)

    @property
    def leaks(self) -> tuple[Leak, ...]:
        """The leaks found, in the order of the stages."""
        return tuple(sorted(self.leaks_by_value.values(), key=lambda leak: AUDITED_STAGES.index(leak.stage)))

    def merge(self, other: LeakCollector) -> None:
        """Add the leaks and counts of another collector."""
        for leak in other.leaks_by_value.values():
            self.add_leak(leak)
        self.n_compared.update(other.n_compared)
        for stage, deviation in other.max_deviation.items():
            self.max_deviation[stage] = max(self.max_deviation.get(stage, 0.0), deviation)

    def add_leak(self, leak: Leak) -> None:
        """Record a leak; the first one of its stage and value is kept, and counts the others."""
        key = leak.stage, leak.what
        first = self.leaks_by_value.get(key)
        self.leaks_by_value[key] = replace(first, times=first.times + leak.times) if first else leak


@dataclass(frozen=True, slots=True)
class CutoffComparison:
    """A session after which the prices were replaced, and the comparison of values that were known by then.

    Attributes
    ----------
    session : position of the last session that was not replaced.
    date : of that session.
    scenario : that replaced the later prices; empty where none had to be.
    collector : of the leaks.
    """

    session: int
    date: str
    scenario: str
    collector: LeakCollector

    def with_scenario(self, scenario: str) -> CutoffComparison:
        """Return the same session with another scenario."""
        return replace(self, scenario=scenario)

    def check_unchanged(
        self,
        stage: str,
        what: str,
        original: Array,
        altered: Array,
        ticker_date: TickerDateFunction,
        *,
        scale: Array | float = 1.0,
        tolerance: float = RELATIVE_TOLERANCE,
    ) -> bool:
        """Compare numbers (n,), which may change by `tolerance` times `scale`; return whether none changed by more."""
        with np.errstate(invalid="ignore"):
            deviation = np.abs(altered - original) / scale / tolerance
        same = (original == altered) | (np.isnan(original) & np.isnan(altered))
        deviation = np.where(same, 0.0, np.where(np.isnan(deviation), np.inf, deviation))
        largest, by_stage = min(float(deviation.max(initial=0.0)), MAX_DEVIATION), self.collector.max_deviation
        self.collector.n_compared[stage] += len(deviation)
        if len(deviation):
            by_stage[stage] = max(by_stage.get(stage, 0.0), largest)
        if largest <= 1.0:
            return True
        index = int(np.argmax(deviation > 1.0))
        (ticker, date), was, became = ticker_date(index), float(original[index]), float(altered[index])
        text = (
            f"{what} of {f'{ticker} {date}'.strip()} was {was:.6g} and became {became:.6g} when all values after "
            f"{self.date} were replaced ({self.scenario})"
        )
        self.add_leak(Leak(stage=stage, what=what, ticker=ticker, date=date, was=was, became=became, text=text))
        return False

    def count_unchanged(self, stage: str, n_compared: int) -> None:
        """Count numbers that are known to be equal."""
        self.collector.n_compared[stage] += n_compared
        if n_compared:
            self.collector.max_deviation.setdefault(stage, 0.0)

    def add_leak(self, leak: Leak) -> None:
        """Record a leak, whose text is without the stage; its date is that of this session unless it has one."""
        text, date = f"{leak.stage}: {leak.text}", leak.date or self.date
        self.collector.add_leak(replace(leak, date=date, cut=self.date, future=self.scenario, text=text))


def comparison_scale(values: Array) -> Array:
    """Return the scale of comparison of a column's numbers (n,): their size or, if larger, their root mean square."""
    finite = values[np.isfinite(values)]
    root_mean_square = float(np.sqrt(np.mean(finite**2))) if len(finite) else 1.0
    return np.maximum(np.abs(values), root_mean_square or 1.0)
