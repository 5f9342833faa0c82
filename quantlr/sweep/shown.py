"""A sweep's findings in the words and numbers of its page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from quantlr.report.figures.landscape import Landscape, Marginal, short
from quantlr.report.figures.style import number, percent
from quantlr.report.figures.tables import TableRow
from quantlr.report.pages.sweep import Course, SweepShown
from quantlr.sweep.grid import label
from quantlr.sweep.results import Finding
from quantlr.types import Array, IntArray

BEST = 8
"""Trials that the page lists."""
RUN = 4
"""Numbers that follow one another from which on only the ends are told."""
LONGEST = 50
"""Letters of a listed trial's values."""
LONGEST_ERROR = 112
"""Letters of a listed trial's error."""


def shown_of(finding: Finding) -> SweepShown:
    """Return a sweep as its page shows it."""
    title, _, text = finding.verdict.sentence.partition(": ")
    landscape = landscape_of(finding)
    marginals = sorted(_marginals(landscape), key=lambda found: -_matters(found))
    return SweepShown(
        title=title,
        text=text[:1].upper() + text[1:],
        setting=_setting(finding),
        notes=finding.notes,
        landscape=landscape,
        marginals=tuple(marginals),
        course=_course(finding),
        failures=_failures(finding),
        numbers=_numbers(finding),
        best=_best(finding),
    )


def landscape_of(finding: Finding) -> Landscape:
    """Return the trials' Sharpe ratios per year over the grid; keys of a single value are left out."""
    axes = finding.sweep.axes
    several = [at for at, axis in enumerate(axes) if len(axis.choices) > 1] or [0]
    at = np.array([finding.sweep.indices(number) for number in finding.numbers], dtype=np.int64)
    results, root, winner = finding.results, finding.root, finding.results.winner
    return Landscape(
        keys=tuple(axes[each].key for each in several),
        labels=tuple(tuple(map(brief, axes[each].choices)) for each in several),
        place=at[:, several],
        sharpe=results.ratio * root,
        low=results.low * root,
        high=results.high * root,
        failed=~results.good,
        winner=winner,
        luck=None if finding.judgement.luck is None else finding.judgement.luck * root,
        benchmark=None if winner is None else results.about[winner]["benchmark"]["sharpe"],
    )


def brief(value: Any) -> str:
    """Return a value of the grid in fewer letters than `label`: a run of numbers by its ends, parts without keys."""
    if isinstance(value, dict):
        rest = "/".join(brief(item) for key, item in value.items() if key != "kind")
        return " ".join(part for part in (str(value.get("kind", "")), rest) if part)
    if isinstance(value, (list, tuple)) and len(value) >= RUN and list(value) == list(_run(value)):
        return f"[{value[0]} … {value[-1]}]"
    if isinstance(value, (list, tuple)) and len(value) == 1 and not isinstance(value[0], (int, float)):
        return brief(value[0])
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(brief, value))}]"
    return label(value)


def _run(value: Sequence[Any]) -> Sequence[Any]:
    """Return the whole numbers that follow one another from the first entry on; nothing if it is no whole number."""
    return range(value[0], value[0] + len(value)) if isinstance(value[0], int) else ()


def _marginals(found: Landscape) -> list[Marginal]:
    return [_marginal(found, at) for at in range(len(found.keys))]


def _marginal(found: Landscape, key: int) -> Marginal:
    values = [_of_value(found, key, value) for value in range(len(found.labels[key]))]
    low, middle, high, best = np.array(values).T
    winner = None if found.winner is None else int(found.place[found.winner, key])
    return Marginal(found.keys[key], found.labels[key], low, middle, high, best, winner)


def _of_value(found: Landscape, key: int, value: int) -> Array:
    """Return quantiles and the highest of the ratios of trials with a value; NaN where there are none."""
    ratios = found.sharpe[(found.place[:, key] == value) & ~np.isnan(found.sharpe)]
    return np.append(np.quantile(ratios, [0.05, 0.5, 0.95]), ratios.max()) if len(ratios) else np.full(4, np.nan)


def _matters(found: Marginal) -> float:
    """Return by how much the middle changes from value to value."""
    there = found.middle[~np.isnan(found.middle)]
    return float(np.ptp(there)) if len(there) else 0.0


def _setting(finding: Finding) -> str:
    keys = " x ".join(f"{len(axis.choices)} {axis.key}" for axis in finding.sweep.axes)
    tried = len(finding.numbers)
    drawn = "" if tried == finding.sweep.combinations else f", {tried:,} drawn by seed {finding.sweep.spec.seed}"
    return short(f"{finding.sweep.spec.name}   {finding.sweep.combinations:,} combinations: {keys}{drawn}", longest=190)


def _course(finding: Finding) -> Course | None:
    result, untouched, winner = finding.shown.result, finding.untouched, finding.results.winner
    if result is None or winner is None:
        return None
    held = result.benchmark or result
    then = "" if untouched is None else f", then {number(untouched.sharpe)}"
    return Course(
        dates=result.fills,
        winner=np.concatenate([[1.0], result.equity]),
        benchmark=np.concatenate([[1.0], held.equity]),
        cut=None if untouched is None or finding.cut is None else pd.Timestamp(finding.cut),
        said=f"chosen for {number(finding.results.ratio[winner] * finding.root)}{then}",
    )


def _failures(finding: Finding) -> tuple[TableRow, ...]:
    failed = np.flatnonzero(~finding.results.good)[:BEST].tolist()
    lines = [f"no. {finding.numbers[at]}: {finding.results.about[at]['error']}" for at in failed]
    return (TableRow("FAILED"), *(TableRow(short(line, longest=LONGEST_ERROR)) for line in lines)) if lines else ()


def _numbers(finding: Finding) -> tuple[TableRow, ...]:
    results, judgement, untouched = finding.results, finding.judgement, finding.untouched
    winner = results.winner
    found = judgement.superior
    at = -1 if winner is None else winner

    def annual(values: Array) -> float | None:
        return None if winner is None else float(values[at] * finding.root)

    named = f"{len(found.better):,} of {len(results.compared):,}" if found else "–"
    rows = [
        TableRow("ALL TRIALS TOGETHER", ("",)),
        TableRow("Tried, and failed", (f"{len(results.good):,}, {int((~results.good).sum()):,}",)),
        TableRow("Sessions in common", (f"{len(results.common):,}",)),
        TableRow("Highest Sharpe ratio", (number(annual(results.ratio)),)),
        TableRow("95% interval, as if it were the only one", (
            "–" if winner is None else f"{number(annual(results.low))} to {number(annual(results.high))}",)),
        TableRow(f"Best of luck in {judgement.trials:,} trials", (
            number(None if judgement.luck is None else judgement.luck * finding.root),)),
        TableRow("Deflated Sharpe ratio", (percent(None if winner is None else judgement.deflated[at]),)),
        TableRow("Probability of backtest overfitting", (percent(judgement.overfitting, decimals=0),)),
        TableRow("None beats buy and hold: p, Hansen", (number(found.p_value if found else None, decimals=3),)),
        TableRow("Named as better by StepM", (named,)),
    ]  # fmt: skip
    if untouched is not None:
        interval = "–" if untouched.low95 is None else f"{number(untouched.low95)} to {number(untouched.high95)}"
        rows += [
            TableRow(f"UNTOUCHED, {untouched.sessions:,} SESSIONS FROM {untouched.first}", ("",)),
            TableRow("Sharpe ratio of the winner", (number(untouched.sharpe),)),
            TableRow("95% interval", (interval,)),
            TableRow("Gain, and that of buy and hold", (
                f"{percent(untouched.growth)}, {percent(untouched.benchmark_growth)}",)),
        ]  # fmt: skip
    return tuple(rows)


def _best(finding: Finding) -> tuple[TableRow, ...]:
    """Return the best trials as rows: what they set, the ratio, and how far its interval reaches."""
    results = finding.results
    several: IntArray = np.array([len(axis.choices) > 1 for axis in finding.sweep.axes]).nonzero()[0]
    if finding.results.winner is None:
        return ()
    rows = [TableRow("THE BEST TRIALS", ("Sharpe", "±95%"))]
    for at in results.ranked[:BEST].tolist():
        if np.isnan(results.ratio[at]):
            continue
        values = tuple(map(brief, finding.sweep.values_of(finding.numbers[at]).values()))
        text = "; ".join(values[key] for key in several.tolist()) or values[0]
        cells = (
            number(results.ratio[at] * finding.root),
            number((results.high[at] - results.ratio[at]) * finding.root),
        )
        rows.append(TableRow(short(f"no. {finding.numbers[at]}  {text}", longest=LONGEST), cells))
    return tuple(rows)
