"""Memory and time are estimated from sizes: near what is measured, and printed or refused before any computing."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from typing import Any

import pytest
from quantlr.config.run_config import load_config
from quantlr.core.errors import UserError
from quantlr.core.memory import usable_memory_bytes
from quantlr.experiment.plan import plan
from quantlr.experiment.run import run
from quantlr.model.walk_forward import walk_forward
from quantlr.pipeline import resources
from quantlr.pipeline.resources import estimate_resources, require_resources
from quantlr.pipeline.stages import dataset_from_config, load_run_prices

CONFIG: dict[str, Any] = {
    "data": {"source": {"kind": "sample"}, "tickers": ["^GSPC"]},
    "features": [{"kind": "lagged_returns", "lags": list(range(1, 121))}],
    "walk_forward": {"train": 1500},
}


@pytest.mark.parametrize("solver", ["newton", "gradient_descent"])
def test_the_estimated_memory_is_near_the_measured_peak(solver: str) -> None:
    config = load_config({**CONFIG, "model": {"solver": solver, "tol": 1e-2}}).run
    prices = load_run_prices(config)
    tracemalloc.start()
    try:
        walk_forward(dataset_from_config(config, prices), config.walk_forward, config.model)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert 1 / 3 < estimate_resources(config, prices).memory_bytes / peak < 3


def test_columns_are_counted_as_the_features_make_them() -> None:
    features = [
        {"kind": "momentum", "windows": [2, 3, 5]},
        {"kind": "zscore", "of": {"kind": "lagged_returns", "lags": [1, 2]}},
        {"kind": "lag", "bars": [1, 2, 3], "of": {"kind": "lagged_returns", "lags": [1, 2]}},
        {"kind": "product", "of": [{"kind": "lagged_returns", "lags": [1, 2]}, {"kind": "volatility", "windows": [5]}]},
    ]
    config = load_config({**CONFIG, "features": features}).run
    prices = load_run_prices(config)
    assert estimate_resources(config, prices).columns == len(dataset_from_config(config, prices).columns)


def test_too_little_memory_is_an_error_with_both_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_config(CONFIG).run
    needed = estimate_resources(config, load_run_prices(config)).memory_bytes
    monkeypatch.setattr(resources, "usable_memory_bytes", lambda: needed - 1)
    for call in (run, plan):
        with pytest.raises(UserError, match=r"120 columns .* need about \d+ MB of memory, and \d+ MB may be used; use"):
            call(CONFIG)
    monkeypatch.setattr(resources, "usable_memory_bytes", lambda: needed)
    assert plan(CONFIG).walk_forward is not None


def test_more_than_a_day_of_fits_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "usable_memory_bytes", lambda: None)
    features = [{"kind": "lagged_returns", "lags": list(range(1, 9001))}]
    config = load_config({**CONFIG, "features": features, "walk_forward": {"train": 300, "refit_every": 1}}).run
    with pytest.raises(UserError, match=r"need about [\d,]+ hours, .*refit_every"):
        require_resources(config, load_run_prices(config))


@pytest.mark.skipif(sys.platform != "linux", reason="the limit of address space is read as Linux shows it")
def test_memory_is_what_a_limit_of_address_space_leaves() -> None:
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (2_000_000_000, resource.RLIM_INFINITY))\n"
        "from quantlr.core.memory import usable_memory_bytes; print(usable_memory_bytes())"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert 1_000_000_000 < int(shown) < 2_000_000_000
    assert (usable_memory_bytes() or 0) > 0
