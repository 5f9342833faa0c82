"""Results beyond what daily prices have ever shown, of which look-ahead is the first suspect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MAX_ACCURACY_GAIN = 0.15
"""Largest plausible accuracy above the majority-class baseline.

The strongest linear dependence of daily returns on record is that of the equal-weighted index of the Center for
Research in Security Prices, 1962 to 1978, made by prices that were not up to date: an autocorrelation of .43 (Campbell,
Lo and MacKinlay, "The Econometrics of Financial Markets", 1997, table 2.4). The ideal forecast of a Gaussian AR(1) is
right with probability 1/2 + asin(.43)/pi, 14 points above chance.
"""
MAX_SHARPE = 3.0
"""Largest plausible Sharpe ratio a year.

The Medallion fund, before fees, 1988 to 2018: 66.1 % a year with a standard deviation of 31.7 %, a Sharpe ratio of 2
(Cornell, "Medallion Fund: The Ultimate Counterexample?", Journal of Portfolio Management 46, 2020).
"""


def implausible_result_text(metrics: Mapping[str, Any]) -> str | None:
    """Return what is implausible about a run, in words; None where nothing is.

    A number is implausible where all of its 95 % interval is, so that short samples are not suspected.

    Parameters
    ----------
    metrics : keyed as in ``metrics.json``; None is undefined.
    """
    forecast, strategy = metrics["forecast"], metrics["backtest"]["strategy"]
    accuracy_interval, sharpe_interval = forecast.get("accuracy_ci95"), strategy.get("sharpe_ci95")
    texts = []
    if accuracy_interval and accuracy_interval[0] > forecast["accuracy_base_rate"] + MAX_ACCURACY_GAIN:
        gain = forecast["accuracy"] - forecast["accuracy_base_rate"]
        text = f"accuracy {forecast['accuracy']:.1%} is {100 * gain:.0f} points above the majority-class baseline"
        texts.append(f"{text} (daily prices have shown {100 * MAX_ACCURACY_GAIN:.0f} at most)")
    if sharpe_interval and sharpe_interval[0] > MAX_SHARPE:
        text = f"the Sharpe ratio is {strategy['sharpe']:.2f}"
        texts.append(f"{text} (the best record of a fund that is known is about 2 a year)")
    return ", and ".join(texts) or None
