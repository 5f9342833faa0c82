"""Tables of what was measured, made of the files that a command writes into ``docs/measurements``."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.measured import markdown_table, rows_table

MEASUREMENTS = Path(__file__).parents[2] / "docs" / "measurements"
RECIPES = {
    "plain": "plain",
    "l2 = 100": "`l2: 100`",
    "balanced": "balanced",
    "half-life": "half-life 250",
    "Platt": "Platt",
    "rolling": "rolling year",
    "pooled": "pooled, all tickers",
}
"""The models of the table of sizes, by their names in the file."""
MARKETS = {
    "noise, h = 1": "noise, a session ahead",
    "noise, h = 5": "noise, a week ahead",
    "noise, h = 21": "noise, a month ahead",
    "ten tickers": "ten correlated tickers",
    "five unequal drifts": "five unequal drifts",
    "GARCH": "GARCH",
    "leverage effect": "leverage effect",
    "bid-ask bounce": "bid-ask bounce",
    "stale opens": "stale opens",
    "regimes": "drift in regimes, weekday and volume",
    "one break": "one break, weekday and volume",
}
"""The markets of that table, by their names in the file."""
EXCESS_LOSS = ": log loss above the base rate's, x 100,000"
REJECTS, EDGE, ALPHA = ": Clark-West rejects", ": evidence of an edge", ": alpha alone"
ACCURACY, AUC, SHARPE = (f": coverage of the {name} interval" for name in ("accuracy's", "AUC's", "Sharpe ratio's"))
FIGURES = {
    "Size: the test rejects though there is no skill, at most 5%": {
        "Pesaran-Timmermann, a model on noise of 3,500 sessions, 10 lags": "noise of 3,500, h = 1, 1 ticker: "
        "Pesaran-Timmermann rejects",
        **{
            f"Clark-West on noise, horizon {horizon}, {n:,} forecasts": f"noise, h = {horizon}, {n:,} forecasts"
            + REJECTS
            for horizon in (1, 5, 21)
            for n in (60, 250, 1000, 4000)
            if (horizon, n) != (21, 60)  # too short for the test
        },
        "Clark-West, shifting up-rates: weekday, with a penalty": f"regimes, weekday, rolling, l2 = 100{REJECTS}",
        **{
            f"Clark-West, shifting up-rates: slow feature, AR of {phi}": f"regimes, volume an AR(1) of {phi}, rolling"
            + REJECTS
            for phi in (0.95, 0.99)
        },
    },
    "Power: the test rejects where there is skill": {
        "Clark-West on an AR(1) of 0.05, 4,000 forecasts; 70% or more": f"AR(1) of .05, 4,000 forecasts{REJECTS}",
    },
    'The verdict is "evidence of an edge" without one, at most 1% (bid-ask bounce, the best of many: 5%)': {
        "twice the equity": f"long at twice the equity{EDGE}",
        "three times the equity, part-time": f"long above .5 at three times the equity{EDGE}",
        "a volatility target": f"long at a volatility target{EDGE}",
        "a volatility target; alpha alone is significant": f"long at a volatility target{ALPHA}",
        "leverage effect, part-time at a volatility target": "leverage effect, long above .5 at a volatility target"
        f"{EDGE}",
        "ten tickers, part-time at a volatility target": f"ten tickers, long above .5 at a volatility target{EDGE}",
        "up-rates that shift, part-time": f"regimes, weekday, part-time{EDGE}",
        "stale opens": f"stale opens, long and short at the next open, no costs{EDGE}",
        "long and short by bid-ask bounce, without costs": "bid-ask bounce, long and short, twice the equity, no costs"
        f"{EDGE}",
        "the best of 100 part-time rules": f"best of 100 part-time rules{EDGE}",
        "the best of 100 part-time rules; alpha alone is significant": f"best of 100 part-time rules{ALPHA}",
    },
    'The verdict is "evidence of an edge" where there is one, 80% or more': {
        "in the session held, at a volatility target of 8%": f"AR(2) of .12 at a volatility target of 8 %{EDGE}",
        "in returns between fills, AR of 0.1, `label.of: fill`, 3 bps a side": "AR of .1 between fills, label of "
        f"fills, 3 bps a side{EDGE}",
    },
    "`quantlr worth` of five features, 700 forecasts, Holm's adjustment": {
        "one of three without effect is found, at most 5%": "two planted features of five: one without effect is found",
        "false discoveries, at most 5%": "two planted features of five: false discoveries",
        "one of five without effect is found, at most 5%": "five noise features: one without effect is found",
        "one with an effect of 0.2 on the log odds is found": "two planted features of five: a planted one is found",
    },
    "The audit finds what knows the future, 100%": {
        "volume that later splits rescale": "volume of several tickers: convicted",
        "its rank": "rank of volume: convicted",
        "a centred mean": "centred mean of returns: convicted",
        "a reference series of another market, by date": "reference series by date: convicted",
    },
    "95% intervals cover the truth, 95%": {
        "weights of a planted logit": "simulated logit: coefficient within 1.96 standard errors",
        **{
            f"{name}, {text}": f"{label}{suffix}"
            for name, suffix in (("accuracy", ACCURACY), ("area under the ROC curve", AUC))
            for text, label in (
                ("a session ahead", "h = 1, 1 ticker"),
                ("a week", "h = 5, 1 ticker"),
                ("a month", "h = 21, 1 ticker"),
                ("ten tickers", "h = 1, 10 tickers"),
            )
        },
        "Sharpe ratio, fat tails": f"fat tails{SHARPE}",
        "Sharpe ratio, clustered volatility": f"GARCH{SHARPE}",
        "Sharpe ratio, AR(1) of 0.2": f"AR(1) of .2{SHARPE}",
    },
    "Known truths": {
        "AR(1) of 0.1: sign accuracy of the ideal forecast, should be 53.19%": "AR(1) of .1: accuracy",
        "AR(1) of 0.1: its Sharpe ratio per session, should be 0.0800": "AR(1) of .1: Sharpe ratio per session",
        "the best of 100 strategies without skill over five years: annual Sharpe ratio, should be 1.12": "best of 100 "
        "without skill: annual Sharpe ratio",
        "... deflated Sharpe ratio above 95%, at most 5%": "best of 100 without skill: deflated Sharpe ratio of .95",
        "... family-wise p below 0.05, should be 5%": "best of 100 without skill: family-wise p below .05",
    },
}
"""By heading, the figures of the other table: their words, and their names in the file."""
PLAIN_NUMBERS = ("best of 100 without skill: annual Sharpe ratio", "AR(1) of .1: Sharpe ratio per session")
JOBS = {
    "expanding": "S&P 500, 10 lags, expanding window, a refit a day",
    "rolling": "the same, rolling window of 1,000 rows",
    "panel_monthly": "500 tickers of 5,020 sessions, a refit a month",
    "panel_daily": "the same, a refit a day",
    "pooled": "one model for all of them, a refit a month on up to 2.5 million rows",
    "one_fit": "one fit of a million rows and 20 features",
}
"""The jobs of ``descent.py`` in words."""


def read_measurements(name: str) -> Any:
    """Return the content of a file of measurements."""
    return json.loads((MEASUREMENTS / name).read_text(encoding="utf-8"))


def caption(content: dict[str, Any]) -> str:
    """Return when and on which machine the figures of a file were measured, or what the file says instead."""
    if "note" in content:
        return str(content["note"])
    machine = content.get("machine")
    if not machine:
        return ""
    text = f"Measured on {machine['date']}: {machine['cores']} cores of {machine['processor']}"
    load = f", load {machine['load_before']:g} before the start" if "load_before" in machine else ""
    return f"{text}, Python {machine['python']}{load}."


def measured_table(name: str) -> str:
    """Return the rows of a file as a table below its caption."""
    content = read_measurements(f"{name}.json")
    return f"{caption(content)}\n\n{rows_table(content['rows'])}\n"


MEASURED = {
    path.stem: partial(measured_table, path.stem)
    for path in sorted(MEASUREMENTS.glob("*.json"))
    if "rows" in read_measurements(path.name)
}
"""The table of each file that has rows, by its name."""


def figures_by_label() -> dict[str, dict[str, Any]]:
    """Return the figures of ``size_and_power.json`` by their labels."""
    return {figure["label"]: figure for figure in read_measurements("size_and_power.json")["figures"]}


def skill_sizes() -> str:
    """Return the table of how often the test of skill rejects without skill, by market and model."""
    found = figures_by_label()
    rows = []
    n_rejected = n_markets = 0.0
    for market, text in MARKETS.items():
        cells = []
        for recipe in RECIPES:
            figure = found.get(f"{market}, {recipe}{REJECTS}")
            cells.append("" if figure is None else f"{100 * figure['value']:.1f} ({figure['series']})")
            if figure is not None:
                n_rejected += figure["value"] * figure["series"]
                n_markets += figure["series"]
        rows.append([text, *cells])
    total = f"Together that is {n_rejected / n_markets:.1%} of {n_markets:,.0f} markets; empty cells were not run."
    return markdown_table(["market", *RECIPES.values()], rows) + f"\n\n{total}\n"


def choice_sizes() -> str:
    """Return the table of the walk-forwards that choose on noise: size of the test of skill, and loss of the choice."""
    found = figures_by_label()
    ways = ("mixture", "best", "follow", "fixed")
    rates = [
        [found.get(f"noise, {way} of 18 candidates, h = {horizon}{REJECTS}") for horizon in (1, 5)] for way in ways
    ]
    losses = [[found[f"noise, {way}, h = {horizon}{EXCESS_LOSS}"] for horizon in (1, 5)] for way in ways]
    rows = [
        ["the test of skill rejects, %", *(_pair_text(pair, scale=100, digits=1) for pair in rates)],
        ["log loss above the base rate's, x 100,000", *(_pair_text(pair, scale=1, digits=0) for pair in losses)],
        ["markets", *(f"{day['series']} ({week['series']})" for day, week in losses)],
    ]
    return markdown_table(["", *(f"`{way}`" for way in ways[:-1]), "one fixed candidate"], rows) + "\n"


def _pair_text(pair: list[Any], *, scale: int, digits: int) -> str:
    """Return the values of a session and, in brackets, of a week ahead."""
    day, week = ("" if figure is None else f"{scale * figure['value']:.{digits}f}" for figure in pair)
    return day and f"{day} ({week})"


def size_and_power() -> str:
    """Return the table of the other figures, with their standard errors and numbers of markets."""
    found, parts = figures_by_label(), [caption(read_measurements("size_and_power.json"))]
    for heading, figures in FIGURES.items():
        rows = [[text, value_text(found[label]), f"{found[label]['series']:,}"] for text, label in figures.items()]
        parts.append(markdown_table([heading, "found", "markets"], rows))
    return "\n\n".join(part for part in parts if part) + "\n"


def value_text(figure: dict[str, Any]) -> str:
    """Return a figure in percent, or as a number, with its standard error where it is known."""
    if figure["label"] in PLAIN_NUMBERS:
        return f"{figure['value']:.3g}"
    error = figure["standard_error"]
    return f"{figure['value']:.1%}" + (f" ± {error:.1%}" if error else "")


def descent_times() -> str:
    """Return the table of times of the walk-forward, and how many times longer other libraries take."""
    content, rows = read_measurements("descent.json"), []
    for job in content["jobs"]:
        cores = f"{job['seconds']:.2g} s, {job['cores']} core{'s'[: job['cores'] > 1]}"
        rivals = ", ".join(
            f"{rival['contender']['peer']} {rival['ratio']:.3g}" for rival in job["rivals"] if rival["ratio"]
        )
        rows.append([JOBS[job["job"]], f"{job['fits']:,}", cores, rivals.replace("scikit-learn ", "")])
    return f"{caption(content)}\n\n{markdown_table(['job', 'refits', 'quantlr', 'times faster than'], rows)}\n"
