"""Several runs side by side, over what they share, and which of their differences are larger than luck."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from quantlr.backtest.inference.differences import (
    Difference,
    Pairs,
    draws_for,
    forecast_differences,
    return_differences,
)
from quantlr.backtest.metrics import Scored
from quantlr.config import NAME
from quantlr.errors import OutputError, UserError
from quantlr.report.encoding import defined, json_bytes
from quantlr.report.folder import require_place, write_report
from quantlr.report.pairs import Pair, adjusted, sentence
from quantlr.report.settings import Setting, differing_settings
from quantlr.report.shared import (
    Numbers,
    benchmark_over,
    common_dates,
    common_forecasts,
    losses,
    numbers,
    result_over,
    same_question,
    to_beat,
)
from quantlr.report.stored import Stored, find_run, read_run
from quantlr.types import Array, BacktestResult, Report, day

FEWEST, MOST = 2, 12
"""Runs that a page can show."""
ENOUGH = 60
"""Common sessions below which nothing is tested: a quarter of a year says nothing of luck."""
HELD_ALIKE = 0.01
"""How far buying and holding may come apart, by costs and the first fill, and still be shown as one."""
SEED = 0


@dataclass(frozen=True, slots=True)
class Comparison:
    """Several runs over the sessions and the forecasts that all of them share.

    Attributes
    ----------
    names : of the runs, as they were given.
    folders : of their reports.
    dates : (sessions,) the common sessions.
    equity : (sessions, runs) what one unit became, from before the first common session.
    benchmark : (sessions,) the same of buying and holding, as the first run reckons it; None where runs hold others.
    numbers : for each run its numbers over the common sessions and forecasts, keyed as in ``metrics.json``.
    to_beat : the same of that, and of the base rate; None where they are not the same for all runs.
    forecasts : common forecasts with a known outcome; 0 where the runs answer different questions.
    pairs : of any two runs.
    tests : how many p values were adjusted together.
    draws : how many.
    settings : keys of the config that are not the same for all.
    cautions : what else keeps the runs apart.
    """

    names: tuple[str, ...]
    folders: tuple[Path, ...]
    dates: pd.DatetimeIndex
    equity: Array
    benchmark: Array | None
    numbers: tuple[Numbers, ...]
    to_beat: Numbers
    forecasts: int
    pairs: tuple[Pair, ...]
    tests: int
    draws: int
    settings: tuple[Setting, ...]
    cautions: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as ``compare.json`` has it; what is undefined is None."""
        return dict(
            defined(
                {
                    "runs": [
                        {"name": name, "folder": folder.as_posix(), **numbers}
                        for name, folder, numbers in zip(self.names, self.folders, self.numbers, strict=True)
                    ],
                    "to_beat": self.to_beat,
                    "sessions": {"first": day(self.dates[0]), "last": day(self.dates[-1]), "common": len(self.dates)},
                    "forecasts": self.forecasts,
                    "method": {
                        "bootstrap": "stationary, paired",
                        "draws": self.draws,
                        "adjustment": "Holm",
                        "tests": self.tests,
                    },
                    "pairs": [self._pair(pair) for pair in self.pairs],
                    "settings": {found.key: list(found.values) for found in self.settings},
                    "cautions": list(self.cautions),
                }
            )
        )

    def _pair(self, pair: Pair) -> dict[str, Any]:
        found: dict[str, Any] = {"first": self.names[pair.first], "second": self.names[pair.second]}
        for name, difference, p_value in (
            ("sharpe", pair.sharpe, pair.sharpe_p),
            ("log_loss", pair.log_loss, pair.log_loss_p),
        ):
            found[name] = None if difference is None else {**asdict(difference), "adjusted_p_value": p_value}
        for name, difference in (("mean_return", pair.mean_return), ("accuracy", pair.accuracy)):
            found[name] = None if difference is None else asdict(difference)
        return found | {"sentence": sentence(pair, self.names)}


def compare_runs(runs: Sequence[str], *, output: Path) -> Comparison:
    """Return a comparison of runs that are named by their reports' folders, or by their names in a folder of reports.

    Raises
    ------
    UserError : fewer than two runs, more than twelve, the same one twice, one that is no report, or runs that can't be
        compared.
    Fault : the disk is in the way.
    """
    if len(runs) < FEWEST:
        raise UserError(f"a comparison needs two runs or more, found {len(runs)}; name another")
    if len(runs) > MOST:
        raise UserError(
            f"a page of {len(runs)} runs can't be read; compare up to {MOST}; the gallery, index.html in {output}, "
            "sorts any number of them"
        )
    folders = [find_run(run, output) for run in runs]
    seen: dict[Path, str] = {}
    for run, folder in zip(runs, folders, strict=True):
        place = folder.resolve()
        if place in seen:
            raise UserError(f"{run} and {seen[place]} are the same report, {folder}; name each once")
        seen[place] = run
    return compare([read_run(folder, name=name) for folder, name in zip(folders, _told_apart(folders), strict=True)])


def require_comparison(name: str, output: Path) -> None:
    """Refuse a place that no comparison can be written to: a name that is none, or that of a run's report.

    Raises
    ------
    OutputError : with what to choose instead.
    """
    if not re.fullmatch(NAME, name):
        raise OutputError(f"--name {name!r}: needed 1 to 80 of A-Z a-z 0-9 . _ -, not beginning with a dot")
    require_place(output, name)
    if (output / name / "metrics.json").exists():
        raise OutputError(
            f"{output / name} is the report of a run, which a comparison would replace; choose another --name"
        )


def write_comparison(found: Comparison, name: str, output: Path) -> Path:
    """Write ``compare.png`` and ``compare.json`` to ``output/NAME`` and return that folder; the gallery names it.

    Raises
    ------
    OutputError, Fault : as for a report.
    """
    from quantlr.report.gallery import write_gallery
    from quantlr.report.pages.comparison import comparison_page

    require_comparison(name, output)
    files = {"compare.png": comparison_page(found), "compare.json": json_bytes(found.to_dict())}
    folder = write_report(Report(name, files), output)
    write_gallery(output)
    return folder


def _told_apart(folders: list[Path]) -> list[str]:
    """Return the names of folders, with that of the folder around where two are named alike, or the whole path."""
    whole = [folder.resolve() for folder in folders]
    for parts in (1, 2):
        names = [Path(*folder.parts[-parts:]).as_posix() for folder in whole]
        if len(set(names)) == len(names):
            return names
    return [folder.as_posix() for folder in whole]


def compare(runs: Sequence[Stored]) -> Comparison:
    """Set runs side by side over what they share.

    Raises
    ------
    UserError : no session is common to all, or years are counted differently.
    """
    per_year = _counted_alike(runs)
    dates = common_dates(runs)
    results = [result_over(run, dates) for run in runs]
    rows = common_forecasts(runs) if same_question(runs) else []
    benchmarks = [benchmark_over(run, dates).equity for run in runs]
    alike = all(np.allclose(benchmarks[0], one, rtol=HELD_ALIKE, atol=0) for one in benchmarks)
    draws = draws_for(len(runs) * (len(runs) - 1))
    pairs = _pairs(results, rows, per_year=per_year, draws=draws)
    return Comparison(
        names=tuple(run.name for run in runs),
        folders=tuple(run.folder for run in runs),
        dates=dates,
        equity=np.stack([result.equity for result in results], axis=1),
        benchmark=benchmarks[0] if alike else None,
        numbers=tuple(
            numbers(result, rows[at] if rows else None, per_year=per_year) for at, result in enumerate(results)
        ),
        to_beat=to_beat(benchmark_over(runs[0], dates) if alike else None, rows, per_year=per_year),
        forecasts=len(rows[0].up) if rows else 0,
        pairs=pairs,
        tests=sum((pair.sharpe_p is not None) + (pair.log_loss_p is not None) for pair in pairs),
        draws=draws,
        settings=differing_settings([run.config for run in runs]),
        cautions=_cautions(runs, dates, rows),
    )


def _counted_alike(runs: Sequence[Stored]) -> int:
    """Return the sessions of a year; refuse runs that do not agree on it."""
    counted = {run.name: run.sessions_per_year for run in runs}
    if len(set(counted.values())) > 1:
        told = ", ".join(f"{name} {sessions}" for name, sessions in counted.items())
        raise UserError(f"numbers per year can't be compared where years differ: report.sessions_per_year is {told}")
    return runs[0].sessions_per_year


def _pairs(results: Sequence[BacktestResult], rows: Sequence[Scored], *, per_year: int, draws: int) -> tuple[Pair, ...]:
    """Return all pairs with their differences, per year where they are of returns."""
    excess = np.stack([found.net_return - found.cash for found in results], axis=1)
    means: Pairs = {}
    ratios, loss, hits = means, means, means
    if len(excess) >= ENOUGH:
        means, ratios = return_differences(excess, draws=draws, seed=SEED)
    lost = losses(rows) if rows else np.zeros((0, len(results)))
    if _enough(rows, lost):
        calls = np.stack([one.hits for one in rows], axis=1)
        loss, hits = forecast_differences(
            lost, calls, session=rows[0].session, horizon=rows[0].horizon, draws=draws, seed=SEED
        )
    return adjusted(
        [
            Pair(
                *pair,
                sharpe=_of(ratios, pair, times=float(np.sqrt(per_year))),
                mean_return=_of(means, pair, times=per_year),
                log_loss=_of(loss, pair),
                accuracy=_of(hits, pair),
                same_returns=_same(excess, pair),
                same_forecasts=_same(lost, pair),
            )
            for pair in combinations(range(len(results)), 2)
        ]
    )


def _same(columns: Array, pair: tuple[int, int]) -> bool:
    """Whether two columns are one and the same, and not empty."""
    return len(columns) > 0 and bool((columns[:, pair[0]] == columns[:, pair[1]]).all())


def _enough(rows: Sequence[Scored], lost: Array) -> bool:
    """Whether there are forecasts of enough sessions, and none that was sure and wrong, whose loss has no end."""
    return bool(rows) and len(np.unique(rows[0].session)) >= ENOUGH and bool(np.isfinite(lost).all())


def _of(found: Pairs, pair: tuple[int, int], *, times: float = 1.0) -> Difference | None:
    """Return a pair's difference in another unit; None where there is none."""
    one = found.get(pair)
    return one and one.times(times)


def _cautions(runs: Sequence[Stored], dates: pd.DatetimeIndex, rows: Sequence[Scored]) -> tuple[str, ...]:
    """Return what keeps the runs apart beside their settings, a sentence each."""
    longest = max(runs, key=lambda run: len(run.backtest))
    said = {
        f"{len(dates):,} of the {len(longest.backtest):,} sessions of {longest.name} are common to all; all else is "
        "left out": len(dates) < len(longest.backtest),
        f"{len(dates)} common sessions are too few to tell a difference from luck; {ENOUGH} are needed":
            len(dates) < ENOUGH,
        "runs are filled at different prices (execution.fill): a difference may be that of a price nobody could trade "
        "at": len({run.fill for run in runs}) > 1,
        "runs forecast different things (label): their forecasts are not compared": not rows,
        "no forecast is common to all, or too few are: forecasts are not compared":
            bool(rows) and len(np.unique(rows[0].session)) < ENOUGH,
        "a forecast was sure and wrong: its log loss has no end, and forecasts are not compared":
            bool(rows) and not bool(np.isfinite(losses(rows)).all()),
        "the prices have changed from one run to another, though their data are configured alike":
            len({run.prices for run in runs}) > 1 and all(run.config["data"] == runs[0].config["data"] for run in runs),
        f"written by different versions: {', '.join(f'{run.name} {run.version}' for run in runs)}":
            len({run.version for run in runs}) > 1,
    }  # fmt: skip
    return tuple(text for text, applies in said.items() if applies)
