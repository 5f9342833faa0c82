"""CPU time that the rules of instants, dates, frequencies, halts and exporters take of a run of one market.

python tests/benchmarks/price_rules.py [--output DIR]

A run of configs/sp500_daily.yaml, from the import of quantlr to its written report, in a new interpreter; once with the
sample and once with the same prices in a CSV. The functions below are timed where they are called, those within others
not again; with none of them a run would at most save their share. The smallest of the shares counts; the bar is 2 %.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import runpy
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.measured import Row, parse_options, report_rows, rounded

ROOT = Path(__file__).parents[2]
REPEATS = 5
BAR = 0.02
FUNCTIONS = {
    "quantlr.data.stamps": ("resolve_stamps",),
    "quantlr.data.bars": ("require_equal_periods", "aggregate_rows"),
    "quantlr.data.markets": ("find_markets", "check_unknown_markets", "unfinished_reason"),
    "quantlr.data.validation_rules": (
        "flag_mixed_time_zones", "flag_shifted_weekdays", "flag_unfinished_last_bars", "flag_other_basis",
    ),
    "quantlr.core.frequency": ("count_sessions", "interest_between_fills", "interest_over_sessions"),
    "quantlr.core.market_views": ("market_views", "market_rows", "first_session_known_to_all", "sessions_known_to_all"),
    "quantlr.backtest.halts": ("halted_mask", "limit_side"),
    "quantlr.data.csv.text": ("_to_utf8", "_find_header"),
    "quantlr.data.csv.layouts": ("detect_table_layout",),
    "quantlr.data.csv.numbers": ("decide_decimal_mark",),
    "quantlr.data.csv.date_texts": ("to_iso_texts",),
}  # fmt: skip
"""The functions by their module."""


class CpuCounter:
    """CPU seconds in functions, without those within another one of them."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.depth = 0

    def timed(self, function: Callable[..., Any], name: str) -> Callable[..., Any]:
        """Return the function with its CPU time counted."""

        def call(*arguments: Any, **keywords: Any) -> Any:
            started, self.depth = time.process_time(), self.depth + 1
            try:
                return function(*arguments, **keywords)
            finally:
                self.depth -= 1
                if self.depth == 0:
                    self.seconds[name] = self.seconds.get(name, 0.0) + time.process_time() - started

        return call


def time_one_run(source: str, output: str) -> None:
    """Print the share of the functions in one run, and then the time of each."""
    counter = CpuCounter()
    originals = {
        getattr(importlib.import_module(module), name): name for module, names in FUNCTIONS.items() for name in names
    }
    for module in [module for name, module in sys.modules.items() if name.startswith("quantlr.")]:
        for attribute, value in list(vars(module).items()):
            places: list[tuple[Any, Any]] = [(vars(module), attribute)]
            places += [(value, key) for key in value] if isinstance(value, dict) else []
            for mapping, key in places:
                if callable(mapping[key]) and getattr(mapping[key], "__hash__", None) and mapping[key] in originals:
                    mapping[key] = counter.timed(mapping[key], originals[mapping[key]])
    sys.argv = ["quantlr", "run", "configs/sp500_daily.yaml", "--output", output, "--quiet"]
    sys.argv += ["--set", f"data.source={{kind: file, path: {source}}}"] if source else []
    with contextlib.suppress(SystemExit):
        runpy.run_module("quantlr", run_name="__main__")
    total = time.process_time()
    print(sum(counter.seconds.values()) / total)
    for name, seconds in sorted(counter.seconds.items(), key=lambda item: -item[1]):
        print(f"    {name}: {seconds * 1000:.2f} ms")


def write_prices(path: Path) -> None:
    import pandas as pd

    table = pd.read_parquet(ROOT / "quantlr" / "data" / "samples" / "sp500_1999_2018.parquet")
    table.to_csv(path, index=False)


def main() -> None:
    """Time both runs in turn, each in a new interpreter."""
    if len(sys.argv) == 4 and sys.argv[1] == "--one-run":
        time_one_run(*sys.argv[2:])
        return
    options = parse_options(argparse.ArgumentParser(description=__doc__.partition("\n")[0]))
    with tempfile.TemporaryDirectory() as folder:
        prices = Path(folder) / "prices.csv"
        write_prices(prices)
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        shares: dict[str, list[tuple[float, str]]] = {"the sample": [], "the same prices in a CSV": []}
        for number in range(REPEATS):
            for source, found in zip(("", str(prices)), shares.values(), strict=True):
                command = [
                    sys.executable,
                    __file__,
                    "--one-run",
                    source,
                    str(Path(folder) / f"out{number}{bool(source)}"),
                ]
                done = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
                first_line, _, rest = done.stdout.partition("\n")
                found.append((float(first_line), rest))
    rows: list[Row] = []
    for name, found in shares.items():
        share, listed = min(found)
        rows.append({"prices": name, "least (%)": rounded(100 * share), "largest (%)": rounded(100 * max(found)[0])})
        print(f"{name}; the bar is {BAR:.0%}\n{listed.rstrip()}")
    report_rows("price_rules", rows, options)


if __name__ == "__main__":
    main()
