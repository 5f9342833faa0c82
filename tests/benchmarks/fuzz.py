"""Damaged inputs of every kind, made from seeds: each is used, or refused with an error of quantlr's own.

PYTHONPATH=tests python tests/benchmarks/fuzz.py --seconds 300 --write docs/damaged-inputs.md

The seeds count up from --first. A seed that fails is printed with its kind and its traceback; it belongs into
`FAILED_SEEDS`, which the suite repeats. Kinds: files of prices, configs, the files of a report, the results of a sweep,
the ledger of trials, and answers of Yahoo.
"""

from __future__ import annotations

import argparse
import io
import os
import random
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import quantlr
from quantlr.config.run_config import load_config
from quantlr.core.errors import QuantlrError
from quantlr.experiment.ledger import Ledger
from quantlr.experiment.run import run
from quantlr.experiment.trial import Trial
from quantlr.pipeline.stages import load_run_prices
from quantlr.report.file_formats import json_bytes, parquet_bytes
from quantlr.report.gallery import write_gallery
from quantlr.report.storage import read_previous_metrics, write_report_files
from quantlr.sweeps.trials import TrialStore, encode_result_file

Attack = Callable[[random.Random], None]
"""Function that damages an input and uses it; it may raise `QuantlrError`."""

TOKENS = (
    b"", b",", b";", b"\t", b"\r", b"\n", b"\r\n", b'"', b"'", b"NaN", b"inf", b"-1", b"0", b"1e308", b"1e-308",
    b"null", b"true", b"[]", b"{}", b"[" * 300, b"{" * 300, b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\x1b[31m",
    b"2015-02-30", b"0000-00-00", b"9999-12-31", b"1" * 400, b"Date", b"Close", b"\xed\xa0\x80", "😀".encode(), b"&a",
    b"*a", b"!!python/name:os", b"<<:", b"%", b"../", b"-", b":", b"5", b'"x"', b"9" * 20,
)  # fmt: skip
"""Pieces that are put into an input, or in the place of a part of it."""
FAILED_SEEDS: tuple[tuple[str, int], ...] = (
    ("prices", 32), ("prices", 80), ("prices", 106), ("ledger", 7236), ("ledger", 7677),
)  # fmt: skip
"""Kind and seed of inputs that once ended in an exception of a library."""
SEED_STEPS = {"report": 50, "config": 10, "yahoo": 10}
"""Only every so many seeds are used for the kinds that take longest."""
CONFIG = {
    "name": "fuzz",
    "data": {"source": {"kind": "sample"}, "tickers": ["MSFT"], "end": "2002-06-28"},
    "features": [{"kind": "lagged_returns", "lags": [1, 2]}],
    "walk_forward": {"train": 250},
}


def damage(content: bytes, rng: random.Random) -> bytes:
    """Return bytes with one to four changes: a piece put in, cut out, repeated, exchanged, or the rest cut off."""
    for _ in range(rng.randint(1, 4)):
        first = rng.randrange(len(content) + 1)
        last = min(first + int(rng.expovariate(0.1)), len(content))
        change = rng.choice(("insert", "replace", "delete", "repeat", "truncate", "bit"))
        if change == "bit" and first < len(content):
            content = content[:first] + bytes([content[first] ^ (1 << rng.randrange(8))]) + content[first + 1 :]
        elif change == "truncate" and rng.random() < 0.3:
            content = content[:first]
        else:
            piece = {"insert": rng.choice(TOKENS), "repeat": content[first:last] * rng.choice((2, 50))}.get(change, b"")
            piece = rng.choice(TOKENS) if change == "replace" else piece
            content = content[:first] + piece + content[first if change == "insert" else last :]
    return content


def _price_attack(folder: Path, _: ExitStack) -> Attack:
    dates = pd.bdate_range("2015-01-01", periods=30).strftime("%Y-%m-%d")
    rows = [f"{date},{10 + i},{11 + i},{9 + i},{10.5 + i},{1000 + i}" for i, date in enumerate(dates)]
    text = "\n".join(["Date,Open,High,Low,Close,Volume", *rows]).encode()
    files = {".csv": text, ".parquet": parquet_bytes(price_table(text))}

    def attack(rng: random.Random) -> None:
        suffix = rng.choice(sorted(files))
        path = folder / f"X{suffix}"
        path.write_bytes(damage(files[suffix], rng))
        source = {"kind": "file", "path": str(path)}
        load_run_prices(load_config({**CONFIG, "data": {"source": source, "tickers": ["X"]}}).run)

    return attack


def price_table(csv_text: bytes) -> pd.DataFrame:
    """Return the table of a CSV text, for Parquet."""
    return pd.read_csv(io.BytesIO(csv_text), parse_dates=["Date"])


def _config_attack(folder: Path, _: ExitStack) -> Attack:
    texts = [path.read_bytes() for path in sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))]

    def attack(rng: random.Random) -> None:
        path = folder / "exp.yaml"
        path.write_bytes(damage(rng.choice(texts), rng))
        load_config(path)

    return attack


def _report_attack(folder: Path, _: ExitStack) -> Attack:
    result = run(CONFIG)
    files = {
        "metrics.json": json_bytes(result.metrics),
        "provenance.json": json_bytes(result.provenance),
        "config.yaml": result.config.to_yaml().encode(),
        "backtest.parquet": parquet_bytes(result.backtest),
        "forecasts.parquet": parquet_bytes(result.forecasts),
        "tickers/index.json": b'{"MSFT.png": "MSFT"}',
    }

    def attack(rng: random.Random) -> None:
        for name in ("one", "two"):
            for file, content in files.items():
                (folder / name / file).parent.mkdir(parents=True, exist_ok=True)
                (folder / name / file).write_bytes(content)
        file = rng.choice(sorted(files))
        (folder / "two" / file).write_bytes(damage(files[file], rng))
        read_previous_metrics(folder / "two")
        write_gallery(folder)
        write_report_files({"audit.json": b"{}"}, folder / "two")
        quantlr.compare(["one", "two"], output=folder)

    return attack


def _store_attack(folder: Path, _: ExitStack) -> Attack:
    session, returns = np.arange(20, dtype=np.int32), np.zeros((2, 20))
    content = encode_result_file({"cash": 0.0, "sharpe": 1.0}, session=session, returns=returns)
    store, trial = TrialStore(folder), mock.Mock(result_key="ab" * 32)

    def attack(rng: random.Random) -> None:
        store.write_result_file(trial.result_key, damage(content, rng))
        with mock.patch("quantlr.sweeps.trials.replace", lambda trial, **_: trial):
            store.read_record_and_returns(trial)

    return attack


def _ledger_attack(folder: Path, _: ExitStack) -> Attack:
    trial = Trial.from_config(load_config(CONFIG).run, data_sha256="ab", price_keys=(1, 2))
    ledger = Ledger(folder / "trials.db", lock_timeout_seconds=0.2)
    ledger.record_trials([trial])
    content = ledger.path.read_bytes()

    def attack(rng: random.Random) -> None:
        for path in folder.iterdir():
            path.unlink()
        ledger.path.write_bytes(damage(content, rng))
        ledger.require_usable()
        ledger.read_family([trial])
        ledger.record_trials([trial])

    return attack


def _yahoo_attack(folder: Path, stack: ExitStack) -> Attack:
    from data.yahoo_market import LONG_AGO, Market
    from yahoo_server import Yahoo, serving, session_to, share

    yahoo = Yahoo()
    market = Market(yahoo, session_to(stack.enter_context(serving(yahoo))))
    yahoo.shares["AAA"] = share(1, LONG_AGO[-30:], dividends={LONG_AGO[-5]: 0.1}, splits={LONG_AGO[-9]: 2.0})
    content = yahoo.chart("AAA", {"period1": "0", "period2": "9999999999", "events": "div,splits"})[1].encode()

    def attack(rng: random.Random) -> None:
        text = damage(content, rng).decode("utf-8", "replace")
        yahoo.trouble["AAA"] = [(rng.choice((200, 200, 200, 404, 500)), text, "application/json")]
        home = folder / str(rng.random())
        with mock.patch.dict(os.environ, {"QUANTLR_HOME": str(home)}):
            market.load("AAA", deadline=5.0)

    return attack


ATTACKS: dict[str, Callable[[Path, ExitStack], Attack]] = {
    "prices": _price_attack,
    "config": _config_attack,
    "report": _report_attack,
    "store": _store_attack,
    "ledger": _ledger_attack,
    "yahoo": _yahoo_attack,
}


def run_attack(attack: Attack, kind: str, seed: int) -> str | None:
    """Use the input of a seed; return None if it was used or refused, else the last line of the traceback."""
    unraisable: list[str] = []
    with mock.patch.object(sys, "unraisablehook", lambda failure: unraisable.append(repr(failure.exc_value))):
        try:
            with warnings.catch_warnings(action="error"), suppress(QuantlrError):
                attack(random.Random(f"{kind} {seed}"))  # noqa: S311 - no secret
        except Exception:
            return traceback.format_exc()
    return unraisable[0] if unraisable else None


DESCRIPTIONS = {
    "prices": "files of prices, CSV and Parquet",
    "config": "configs",
    "report": "files of a report, read by the gallery and a comparison",
    "store": "stored results of a sweep",
    "ledger": "ledgers of trials",
    "yahoo": "answers of Yahoo Finance",
}
PAGE = """# Damaged inputs

<!-- Written by python tests/benchmarks/fuzz.py --seconds {seconds:.0f} --write docs/damaged-inputs.md -->

Inputs that were damaged at random, each by one to four pieces put in, cut out, repeated or exchanged. Each must be
used, or refused with an error of quantlr's own; what fails is mended, and the suite repeats its seed.

| input | tried | failed |
| --- | --- | --- |
{rows}

{total:,} inputs in {seconds:.0f} seconds, seeds from {first}.
"""


def counts_page(counts: Mapping[str, int], failures: Sequence[tuple[str, int]], *, seconds: float, first: int) -> str:
    """Return the page of the documentation that states how many inputs of each kind were tried, and how many failed."""
    n_failed = Counter(kind for kind, _ in failures)
    rows = "\n".join(f"| {DESCRIPTIONS[kind]} | {count:,} | {n_failed[kind]:,} |" for kind, count in counts.items())
    return PAGE.format(rows=rows, total=sum(counts.values()), seconds=seconds, first=first)


def main() -> int:
    """Run seeds of all kinds in turn until the time is over; return 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--write", type=Path, help="page of the documentation that the counts are written to")
    arguments = parser.parse_args()
    counts: Counter[str] = Counter()
    failures: list[tuple[str, int]] = []
    with ExitStack() as stack:
        attacks = {}
        for kind, make_attack in ATTACKS.items():
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            attacks[kind] = make_attack(folder, stack)
        end, seed = time.monotonic() + arguments.seconds, arguments.first
        while time.monotonic() < end:
            for kind, attack in attacks.items():
                if seed % SEED_STEPS.get(kind, 1):
                    continue
                counts[kind] += 1
                if text := run_attack(attack, kind, seed):
                    failures.append((kind, seed))
                    print(f"{kind} {seed}:\n{text}")
            seed += 1
    print(
        ", ".join(f"{count:,} {kind}" for kind, count in counts.items()),
        f"{len(failures)} failed: {failures}",
        sep="; ",
    )
    if arguments.write:
        page = counts_page(counts, failures, seconds=arguments.seconds, first=arguments.first)
        arguments.write.write_text(page, encoding="utf-8")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
