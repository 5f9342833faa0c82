"""What an audit has found: the leaks, by name, and how far it looked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from quantlr.core.arrays import Array

AUDITED_STAGES = (
    "features", "label", "folds", "scale", "fit", "knowledge", "forecast", "calibrate", "known", "decide", "execute",
)  # fmt: skip
"""What is looked at, in the order of a run; all but `forecast` are fields of `pipeline.Stages` or of its `walk`."""
RELATIVE_TOLERANCE, PROBABILITY_TOLERANCE = 1e-9, 1e-7
"""How far a number may move by rounding: relative to its size; and a probability, which a descent only approaches."""


@dataclass(frozen=True, slots=True)
class Leak:
    """One thing that knew the future.

    Attributes
    ----------
    stage : the stage of the run, one of `STAGES`.
    what : the feature, or the field of the stage's result.
    ticker : whose, or "pooled"; empty where it is of all of them.
    date : session of the value that moved first.
    cut : the last session that was left as it was; the value's own where nothing had to be changed to see it.
    future : what was put after the cut; empty where nothing had to be.
    was, became : the value with the future that came, and with the other; NaN where there is none.
    times : how often it was seen.
    text : all of it in a sentence.
    """

    stage: str
    what: str
    ticker: str
    date: str
    cut: str
    future: str
    was: float
    became: float
    times: int
    text: str


@dataclass(frozen=True, slots=True)
class AuditCoverage:
    """How far an audit looked.

    Attributes
    ----------
    first, last : sessions of the first and of the last cut.
    refits, refits_walked : how many there are, all models together; how many of them were walked to from other futures.
    cuts : sessions after which everything was looked at: walked, decided and executed.
    cuts_once : further sessions, after which models were walked with the mirror image of what came.
    input_cuts : sessions after which features and label were looked at, those all included.
    futures : what was put after each cut.
    input_futures : how many of them, in turn, where only features and label were looked at.
    checks : numbers that were compared, by stage.
    largest : how far the most moved of them moved, by stage, in units of what is allowed.
    """

    first: str
    last: str
    refits: int
    refits_walked: int
    cuts: int
    cuts_once: int
    input_cuts: int
    futures: tuple[str, ...]
    input_futures: int
    checks: dict[str, int]
    largest: dict[str, float]


@dataclass(frozen=True, slots=True)
class Audit:
    """Whether anything in a run knew the future.

    Attributes
    ----------
    name : of the config.
    config_sha256, data_sha256 : digests of the resolved config and of the prices.
    leaks : what did, in the order of the stages; empty if nothing.
    coverage : how far the audit looked.
    """

    name: str
    config_sha256: str
    data_sha256: str
    leaks: tuple[Leak, ...]
    coverage: AuditCoverage

    @property
    def is_clean(self) -> bool:
        """Whether nothing leaked."""
        return not self.leaks

    @property
    def leaking_stages(self) -> tuple[str, ...]:
        """The stages that leak, in the order of a run."""
        return tuple(dict.fromkeys(leak.stage for leak in self.leaks))

    def to_dict(self) -> dict[str, Any]:
        """Return the audit as ``audit.json`` has it; what is undefined is None."""
        found = {"clean": self.is_clean, **asdict(self)}
        for leak in found["leaks"]:
            leak.update({key: None for key in ("was", "became") if not np.isfinite(leak[key])})
        return found


@dataclass(frozen=True, slots=True)
class Cutoff:
    """A session after which the future was replaced, and by what."""

    session: int
    date: str
    scenario: str


LocateValue = Callable[[int], tuple[str, str]]
"""From the position of a number to its ticker and its date."""


class LeakCollector:
    """What has been compared so far, and what moved."""

    def __init__(self) -> None:
        self._leaks: dict[tuple[str, str], Leak] = {}
        self.n_compared_by_stage: dict[str, int] = {}
        self.max_deviation_by_stage: dict[str, float] = {}

    @property
    def leaks(self) -> tuple[Leak, ...]:
        """The leaks found, in the order of the stages."""
        return tuple(sorted(self._leaks.values(), key=lambda leak: AUDITED_STAGES.index(leak.stage)))

    def check_unchanged(
        self,
        stage: str,
        value_name: str,
        original: Array,
        altered: Array,
        *,
        cutoff: Cutoff,
        locate: LocateValue,
        scale: Array | float = 1.0,
        tolerance: float = RELATIVE_TOLERANCE,
    ) -> bool:
        """Compare numbers (n,) that may not move by more than `allowed` of `size`; return whether none did."""
        with np.errstate(invalid="ignore"):
            gap = np.abs(altered - original) / scale
        gap = np.where(np.isnan(original) & np.isnan(altered), 0.0, np.where(np.isnan(gap), np.inf, gap))
        gap = np.where(original == altered, 0.0, gap) / tolerance
        self.n_compared_by_stage[stage] = self.n_compared_by_stage.get(stage, 0) + len(gap)
        if not len(gap):
            return True
        self.max_deviation_by_stage[stage] = max(
            self.max_deviation_by_stage.get(stage, 0.0), min(float(gap.max()), 1e300)
        )
        moved = np.flatnonzero(gap > 1.0)
        if len(moved):
            at = int(moved[0])
            ticker, date = locate(at)
            self.add(
                changed_value_leak(stage, value_name, ticker, date, cutoff, float(original[at]), float(altered[at]))
            )
        return not len(moved)

    def add(self, leak: Leak) -> None:
        """Write a leak down; the one with the earliest cut speaks for those of its kind."""
        key = (leak.stage, leak.what)
        former = self._leaks.get(key)
        times = leak.times + (former.times if former else 0)
        self._leaks[key] = replace(former or leak, times=times)


def changed_value_leak(
    stage: str, value_name: str, ticker: str, date: str, cutoff: Cutoff, original: float, altered: float
) -> Leak:
    """Return the leak of a number that moved."""
    about = f"{ticker} {date}".strip()
    text = (
        f"{stage}: {value_name} of {about} was {original:.6g} and became {altered:.6g} when all after {cutoff.date} was replaced "
        f"({cutoff.scenario})"
    )
    return Leak(stage, value_name, ticker, date, cutoff.date, cutoff.scenario, original, altered, 1, text)


def comparison_scale(values: Array) -> Array:
    """Return the size that a column's numbers (n,) are compared by: their own, or their root mean square if larger."""
    there = values[np.isfinite(values)]
    typical = float(np.sqrt(np.mean(there**2))) if len(there) else 1.0
    return np.maximum(np.abs(values), typical or 1.0)
