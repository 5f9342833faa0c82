"""The page on the robustness of a run: by span, regime, ticker, costs, delay and setting, and resampled paths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from quantlr.report.context import PageContext
from quantlr.report.pages.layout import Page, PlacedPanel, Table, panel
from quantlr.report.style import (
    BLACK,
    BLUE,
    GREY,
    LEGEND_ROW_POINTS,
    ORANGE,
    SKY,
    SMALL_SIZE,
    Axes,
    add_legend_above,
    axes_height_points,
    format_category_rows,
    format_log_axis,
    number_text,
    number_tick_label,
    p_value_text,
    percent_text,
    set_percent_ticks,
)
from quantlr.stats.path_resamples import ResampledPaths
from quantlr.stats.verdict import is_significant

MIN_ROW_POINTS = 10.5
"""Height of a row. Where there are more rows than have room, those with the lowest Sharpe ratios are drawn."""
MAX_YEAR_LABELS = 16
ONE_STEP_CHANGES = (("cost", "costs x 2"), ("delay", "filled 1 session later"))
"""The changes of costs and delays that the sentence compares with parts and settings."""


@dataclass(frozen=True, slots=True)
class RobustnessRow:
    """A part of a run, or a change to it, and its result.

    Attributes
    ----------
    group : "year", "crisis", "regime", "ticker", "cost", "delay" or "setting".
    name : of the part, or what is changed.
    sessions : number of returns.
    sharpe : annual Sharpe ratio; None where undefined, or in fewer than 20 sessions.
    sharpe_without : of the run without the part; None for a change.
    alpha : annual, over the benchmark; of a ticker, the mean return in excess of cash.
    p_value : one-sided, that alpha is above 0; None where there are too few sessions.
    adjusted_p_value : adjusted for all rows by Holm's method.
    """

    group: str
    name: str
    sessions: int
    sharpe: float | None
    sharpe_without: float | None
    alpha: float
    p_value: float | None
    adjusted_p_value: float | None = None

    @property
    def remaining_sharpe(self) -> float | None:
        """Sharpe ratio without the part, or after the change."""
        return self.sharpe if self.group in ("cost", "delay", "setting") else self.sharpe_without

    @property
    def is_significant(self) -> bool:
        """Whether alpha is significantly above 0 (5 %, adjusted)."""
        return is_significant(self.adjusted_p_value)

    @property
    def is_one_step(self) -> bool:
        """Whether it is a part, or a change by one step: of costs to their double, of fills by one session."""
        return (self.group, self.name) in ONE_STEP_CHANGES or self.group not in ("cost", "delay")

    @property
    def change_text(self) -> str:
        """The part that is left out, or the change, in words."""
        kinds = {"year": "without the year ", "crisis": "without the ", "regime": "without sessions of ",
                 "ticker": "without "}  # fmt: skip
        article = "a " if self.group == "regime" and self.name.endswith("market") else ""
        return f"{kinds.get(self.group, 'with ' if self.group in ('cost', 'setting') else '')}{article}{self.name}"


@dataclass(frozen=True, slots=True)
class RobustnessContext:
    """A run and its robustness.

    Attributes
    ----------
    run_context : the run.
    rows : parts and changes.
    sharpe : annual Sharpe ratio of the run; None where undefined.
    paths : resampled.
    block_length : mean length of the resampled blocks, in sessions.
    """

    run_context: PageContext
    rows: tuple[RobustnessRow, ...]
    sharpe: float | None
    paths: ResampledPaths
    block_length: float

    def of_groups(self, *groups: str) -> list[RobustnessRow]:
        """Return the rows of some groups that have a Sharpe ratio."""
        return [row for row in self.rows if row.group in groups and row.sharpe is not None]


def robustness_sentence(context: RobustnessContext) -> str:
    """Return what the Sharpe ratio of a run depends on most, in one sentence.

    Compared are the ratios without each part, and after each change by one step; of each kind the lowest. Of a ratio
    that is not above 0, the highest after any change is named.
    """
    if context.sharpe is None:
        return "The Sharpe ratio is undefined."
    remaining = [(row.remaining_sharpe, row) for row in context.rows if row.remaining_sharpe is not None]
    ratio = number_text(context.sharpe)
    if context.sharpe <= 0:
        best = max(remaining, key=lambda item: item[0], default=None)
        text = f"The Sharpe ratio of {ratio} is not above 0"
        if best is None:
            return f"{text}."
        return (
            f"{text}; without one part or with one change it is at most {number_text(best[0])}, {best[1].change_text}."
        )
    remaining = [(value, row) for value, row in remaining if row.is_one_step]
    worst_by_kind: dict[str, tuple[float, RobustnessRow]] = {}
    for value, row in sorted(remaining, key=lambda item: item[0]):
        worst_by_kind.setdefault(row.group, (value, row))
    worst = sorted(worst_by_kind.values(), key=lambda item: item[0])[:2]
    if not worst or worst[0][0] >= context.sharpe:
        return f"The Sharpe ratio of {ratio} depends on no part and no setting that was varied."
    texts = [f"{row.change_text} it is {number_text(value)}" for value, row in worst if value < context.sharpe]
    return f"The Sharpe ratio of {ratio} depends most on this: {', and '.join(texts)}."


def _rows_table(context: RobustnessContext, rows: Sequence[RobustnessRow], empty: str) -> Table:
    """Return `names`, `values` (rows,) of the Sharpe ratio, that of the rest and of the run, and `texts`.

    The texts are the adjusted p values of alpha, where significant.
    """
    if not rows:
        return {"message": empty}
    return {
        "names": [row.name for row in rows],
        "values": np.array([row.sharpe for row in rows], dtype=np.float64),
        "without": np.array([np.nan if row.sharpe_without is None else row.sharpe_without for row in rows]),
        "texts": [p_value_text(row.adjusted_p_value or 0.0) if row.is_significant else "" for row in rows],
        "run_sharpe": np.nan if context.sharpe is None else context.sharpe,
    }


def _draw_rows(ax: Axes, table: Table) -> None:
    n_shown = min(len(table["values"]), max(int(axes_height_points(ax) / MIN_ROW_POINTS), 1))
    shown = np.sort(np.argsort(table["values"], kind="stable")[:n_shown])
    values, without, rows = table["values"][shown], table["without"][shown], np.arange(n_shown)
    format_category_rows(ax, [table["names"][index] for index in shown])
    ax.barh(rows, values, height=0.5, color=np.where(values > 0, SKY, ORANGE), linewidth=0, label="Sharpe ratio")
    if np.isfinite(without).any():
        ax.plot(without, rows, "o", color=BLUE, markersize=4, label="of the rest")
    ax.axvline(0.0, color=GREY, linewidth=0.8)
    ax.axvline(table["run_sharpe"], color=BLACK, linewidth=1.0, linestyle=(0, (3, 2)), label="whole run")
    finite = np.concatenate([values, without, [table["run_sharpe"], 0.0]])
    low, high = float(np.nanmin(finite)), float(np.nanmax(finite))
    span = (high - low) or 1.0
    ax.set_xlim(low - 0.05 * span, high + (0.25 if any(table["texts"]) else 0.05) * span)
    for row, index in enumerate(shown):
        style: dict[str, Any] = {"ha": "right", "va": "center", "fontsize": SMALL_SIZE, "color": BLACK}
        ax.text(1.0, row, table["texts"][index], transform=ax.get_yaxis_transform(), **style)
    ax.locator_params(axis="x", nbins=5)
    ax.xaxis.set_major_formatter(number_tick_label)
    add_legend_above(ax, n_columns=3, font_size=7.8)


def regime_table(context: RobustnessContext) -> Table:
    """Return the rows of regimes and crises."""
    rows = context.of_groups("regime", "crisis")
    return _rows_table(context, rows, "no regime or crisis has enough sessions")


@panel("Sharpe ratio by regime and crisis", regime_table, LEGEND_ROW_POINTS + 4)
def robustness_regimes_panel(ax: Axes, table: Table) -> None:
    """Draw a row per regime and crisis."""
    _draw_rows(ax, table)


def setting_table(context: RobustnessContext) -> Table:
    """Return the rows of neighbouring settings."""
    return _rows_table(context, context.of_groups("setting"), "no setting has a neighbour that is valid")


@panel("Sharpe ratio of neighbouring settings", setting_table, LEGEND_ROW_POINTS + 4)
def robustness_settings_panel(ax: Axes, table: Table) -> None:
    """Draw a row per neighbouring setting."""
    _draw_rows(ax, table)


def ticker_table(context: RobustnessContext) -> Table:
    """Return the rows of the tickers."""
    return _rows_table(context, context.of_groups("ticker"), "one ticker")


@panel("Sharpe ratio by ticker", ticker_table, LEGEND_ROW_POINTS + 4)
def robustness_tickers_panel(ax: Axes, table: Table) -> None:
    """Draw a row per ticker."""
    _draw_rows(ax, table)


def year_table(context: RobustnessContext) -> Table:
    """Return the rows of the calendar years."""
    rows = context.of_groups("year")
    if not rows:
        return {"message": "no year has enough sessions"}
    return {
        "names": [row.name for row in rows],
        "values": np.array([row.sharpe for row in rows], dtype=np.float64),
        "run_sharpe": np.nan if context.sharpe is None else context.sharpe,
    }


@panel("Sharpe ratio by year", year_table)
def robustness_years_panel(ax: Axes, table: Table) -> None:
    """Draw a bar per year."""
    values, columns = table["values"], np.arange(len(table["values"]))
    ax.bar(columns, values, width=0.6, color=np.where(values > 0, SKY, ORANGE), linewidth=0)
    ax.axhline(0.0, color=GREY, linewidth=0.8)
    ax.axhline(table["run_sharpe"], color=BLACK, linewidth=1.0, linestyle=(0, (3, 2)))
    step = -(-len(values) // MAX_YEAR_LABELS)
    ax.set_xticks(columns[::step], table["names"][::step])
    ax.yaxis.set_major_formatter(number_tick_label)


def _steps_table(context: RobustnessContext, group: str, steps: Sequence[int], first: int) -> Table:
    """Return `steps` and `values` of the Sharpe ratio, the run itself among them at `first`."""
    rows = [row for row in context.rows if row.group == group]
    pairs = [*zip(steps, (row.sharpe for row in rows), strict=False), (first, context.sharpe)]
    known = sorted((step, value) for step, value in pairs if value is not None)
    if not known:
        return {"message": "undefined"}
    return {"steps": [step for step, _ in known], "values": np.array([value for _, value in known])}


def cost_table(context: RobustnessContext) -> Table:
    """Return the Sharpe ratio by factor of all costs but the estimated spread."""
    return _steps_table(context, "cost", (0, 2, 3, 4, 5), 1)


def delay_table(context: RobustnessContext) -> Table:
    """Return the Sharpe ratio by sessions that fills are delayed."""
    return _steps_table(context, "delay", (1, 2, 3, 4, 5), 0)


def _draw_steps(ax: Axes, table: Table) -> None:
    ax.plot(table["steps"], table["values"], "o-", color=BLUE, linewidth=1.4, markersize=4)
    ax.axhline(0.0, color=GREY, linewidth=0.8)
    ax.set_xticks(table["steps"])
    ax.margins(y=0.15)
    ax.locator_params(axis="y", nbins=4)
    ax.yaxis.set_major_formatter(number_tick_label)


@panel("Sharpe ratio by multiple of the costs", cost_table)
def robustness_costs_panel(ax: Axes, table: Table) -> None:
    """Draw the Sharpe ratio by factor of the costs."""
    _draw_steps(ax, table)


@panel("Sharpe ratio by delay (sessions)", delay_table)
def robustness_delays_panel(ax: Axes, table: Table) -> None:
    """Draw the Sharpe ratio by delay of the fills."""
    _draw_steps(ax, table)


def fan_table(context: RobustnessContext) -> Table:
    """Return quantiles of resampled equity over time (see `ResampledPaths`), and the run's own equity."""
    result, paths = context.run_context.run_data.result, context.paths
    dates = result.fill_dates
    return {
        "dates": dates,
        "point_dates": dates[paths.point_index.astype(np.int64)],
        "quantiles": paths.equity_quantiles,
        "equity": np.append(1.0, result.equity),
        "length": f"{context.block_length:.0f}",
    }


@panel("Growth of 1 in {length}-session block resamples (log scale)", fan_table, LEGEND_ROW_POINTS + 4)
def robustness_fan_panel(ax: Axes, table: Table) -> None:
    """Draw bands of resampled equity, their median, and the run's equity."""
    dates, quantiles = table["point_dates"], np.maximum(table["quantiles"], 1e-6)
    for low, high, alpha, label in ((0, 4, 0.25, "90% of resamples"), (1, 3, 0.45, "50%")):
        ax.fill_between(dates, quantiles[low], quantiles[high], color=SKY, alpha=alpha, linewidth=0, label=label)
    ax.plot(dates, quantiles[2], color=BLUE, linewidth=1.0, label="median")
    positive = np.where(table["equity"] > 0, table["equity"], np.nan)
    ax.plot(table["dates"], positive, color=BLACK, linewidth=1.0, label="run")
    format_log_axis(ax, np.concatenate([quantiles.ravel(), table["equity"]]))
    add_legend_above(ax, n_columns=4)


def fall_table(context: RobustnessContext) -> Table:
    """Return the resampled max drawdowns (paths,), and the run's."""
    result = context.run_context.run_data.result
    level = np.append(1.0, result.equity)
    own = float((level / np.maximum.accumulate(level) - 1.0).min())
    falls = context.paths.max_drawdown
    worst = percent_text(float(np.quantile(falls, 0.05)), decimals=0)
    return {
        "falls": falls,
        "own": own,
        "subtitle": f"the run {percent_text(own, decimals=0)}; 5% below {worst}",
    }


@panel("Max drawdown of the resamples", fall_table, LEGEND_ROW_POINTS)
def robustness_drawdowns_panel(ax: Axes, table: Table) -> None:
    """Draw the distribution of resampled max drawdowns, with the run's."""
    ax.hist(table["falls"], bins=30, color=SKY, linewidth=0)
    ax.axvline(table["own"], color=BLACK, linewidth=1.2)
    set_percent_ticks(ax.xaxis, max_intervals=5)
    ax.set_yticks([])


def robustness_title_and_text(context: RobustnessContext) -> tuple[str, str]:
    """Return what the result depends on, and how that was found."""
    n_tested = sum(row.adjusted_p_value is not None for row in context.rows)
    n_significant = sum(row.is_significant for row in context.rows)
    p_values = ", whose p values are beside them" if n_significant else ""
    loss = float((context.paths.final_equity < 1.0).mean())
    text = (
        f"Alpha is significantly above 0 in {n_significant} of {n_tested} parts and changes{p_values} (5%, Holm). "
        "Regimes are as known when each position was decided; settings are varied one at a time, by one step, and "
        f"recorded as trials. {percent_text(loss, decimals=0)} of the block resamples end with a loss."
    )
    return robustness_sentence(context).rstrip("."), text


def robustness_panels(context: RobustnessContext) -> tuple[PlacedPanel, ...]:
    """Return the panels of the page."""
    has_tickers = bool(context.of_groups("ticker"))
    right = (
        (PlacedPanel(robustness_settings_panel, (0.7, 0.31, 0.28, 0.16)),
         PlacedPanel(robustness_tickers_panel, (0.7, 0.05, 0.28, 0.16)))
        if has_tickers
        else (PlacedPanel(robustness_settings_panel, (0.7, 0.05, 0.28, 0.36)),)
    )  # fmt: skip
    return (
        PlacedPanel(robustness_fan_panel, (0.042, 0.51, 0.27, 0.27)),
        PlacedPanel(robustness_drawdowns_panel, (0.34, 0.51, 0.15, 0.27)),
        PlacedPanel(robustness_years_panel, (0.042, 0.29, 0.448, 0.14)),
        PlacedPanel(robustness_costs_panel, (0.042, 0.05, 0.2, 0.16)),
        PlacedPanel(robustness_delays_panel, (0.29, 0.05, 0.2, 0.16)),
        PlacedPanel(
            robustness_regimes_panel, (0.7, 0.56 if has_tickers else 0.52, 0.28, 0.22 if has_tickers else 0.26)
        ),
        *right,
    )


def make_robustness_page(context: RobustnessContext) -> Page:
    """Return the page on the robustness of a run."""
    return Page(
        "robustness.png",
        "Robustness",
        robustness_title_and_text,
        robustness_panels,
        "Each row is the same strategy in a part of the sessions, under another setting, cost or delay; a result that "
        "one row alone carries depends on it.",
        make_context=lambda _: context,
    )
