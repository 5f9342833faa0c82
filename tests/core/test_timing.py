"""The timing rule: which labels may train a model for a row, and which bars are known at a date."""

from __future__ import annotations

import pandas as pd
import pytest
from quantlr.core.timing import first_forecast_row, iso_date, label_cutoff_row, label_known_row, last_training_row


@pytest.mark.parametrize("horizon", [1, 5])
@pytest.mark.parametrize("embargo", [0, 3])
def test_the_last_training_label_is_known_at_the_forecast_less_the_embargo(horizon: int, embargo: int) -> None:
    row = 50
    last = last_training_row(row, lag=horizon, embargo=embargo)
    cutoff = label_cutoff_row(row, embargo=embargo)
    assert label_known_row(last, lag=horizon) == cutoff == row - embargo
    assert label_known_row(last + 1, lag=horizon) > cutoff


@pytest.mark.parametrize("horizon", [1, 5])
@pytest.mark.parametrize("embargo", [0, 3])
def test_the_first_forecast_has_exactly_the_requested_training_rows(horizon: int, embargo: int) -> None:
    first = first_forecast_row(100, lag=horizon, embargo=embargo)
    assert last_training_row(first, lag=horizon, embargo=embargo) == 99


def test_dates_are_written_as_iso() -> None:
    assert iso_date(pd.Timestamp("2020-01-02 15:00")) == "2020-01-02"
