"""The report as one page for a browser: it asks for nothing but itself, from disk as from anywhere."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from quantlr.backtest.series import deepest_drawdowns
from quantlr.report.figures.style import number, percent
from quantlr.report.headline import Headline, headline_tables
from quantlr.report.shown import Shown
from quantlr.report.templating import rendered
from quantlr.types import BacktestResult, day

if TYPE_CHECKING:
    from quantlr.report.pages import Picture

FALLS = 5
"""Drawdowns that are listed, the deepest."""


@dataclass(frozen=True, slots=True)
class Written:
    """What a report says besides its pages.

    Attributes
    ----------
    config : the resolved config, as YAML.
    provenance : as in ``provenance.json``.
    round_trips : by side, as `backtest.trades.by_side` returns them.
    """

    config: str
    provenance: dict[str, Any]
    round_trips: pd.DataFrame


def html(shown: Shown, pictures: Mapping[str, Picture], written: Written) -> bytes:
    """Return the report as HTML, every picture inside it; text of the config or the data is never taken as markup."""
    finding, _, basis = shown.metrics["verdict"]["sentence"].partition(": ")
    text = rendered(
        "report.html",
        name=shown.config.name,
        finding=finding,
        basis=basis[:1].upper() + basis[1:],
        setting=shown.setting,
        pictures=[
            (_anchor(file), file, picture, _data_uri(picture.png))
            for file, picture in pictures.items()
            if "/" not in file  # hundreds of tickers' pages would be more than a browser opens
        ],
        tables=[
            *headline_tables(shown.metrics),
            *_falls(shown.course.result),
            *_trades(written.round_trips),
            _model(shown.metrics["model"]),
        ],
        notes=shown.notes,
        config=written.config,
        source=written.provenance["data"]["source"],
        sha256=written.provenance["data"]["sha256"],
        versions=written.provenance["versions"],
    )
    return text.encode()


def _anchor(file: str) -> str:
    return file.partition(".")[0]


def _data_uri(png: bytes) -> str:
    return f"data:image/png;base64,{b64encode(png).decode('ascii')}"


def _falls(result: BacktestResult) -> list[Headline]:
    """Return the table of the deepest drawdowns; none where there was no fall."""
    rows = [
        (percent(fall.depth), (day(fall.high), day(fall.low), day(fall.regained) if fall.regained else "not yet"))
        for fall in deepest_drawdowns(result, most=FALLS)
    ]
    return [Headline("Deepest falls from a high", ("high", "low", "regained"), tuple(rows))] if rows else []


def _trades(trips: pd.DataFrame) -> list[Headline]:
    """Return the table of round trips; none where nothing was traded."""
    if not len(trips):
        return []
    whole = {"trades": "Round trips", "sessions": "Sessions held, median"}
    shares = {"won": "Earned more than they cost", "mean": "Mean", "best": "Best", "worst": "Worst"}
    rows = [(label, tuple(f"{value:,.0f}" for value in trips[key])) for key, label in whole.items()]
    rows += [(label, tuple(percent(value) for value in trips[key])) for key, label in shares.items()]
    return [Headline("Round trips, after costs, of the position", tuple(map(str, trips.index)), tuple(rows))]


def _model(model: dict[str, Any]) -> Headline:
    rows = (
        ("Refits", (f"{model['refits']:,}",)),
        ("Steps of the descent, mean", (number(model["iterations_mean"], decimals=1),)),
        ("Did not converge", (f"{model['unconverged']:,}",)),
        ("Without a best fit", (f"{model['degenerate']:,}",)),
        ("Condition number of the features", (number(model["condition_number"], decimals=1),)),
    )
    return Headline("How was it fitted?", ("",), rows)
