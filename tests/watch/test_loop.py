"""The loop behind the page: what each save publishes and records, and that errors leave the last result."""

from __future__ import annotations

import json
import shutil
import sqlite3
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import quantlr
from quantlr.config.run_config import LoadedConfig, load_config
from quantlr.core.errors import Fault
from quantlr.experiment.ledger import Ledger
from quantlr.pipeline.stages import forecasts_from_config
from quantlr.watch.evaluation import Evaluation, evaluate, judge, trial_to_record
from quantlr.watch.loop import SupersededError, WatchLoop

from user_components import install_user_module

CONFIG = """\
name: live
data: {source: {kind: file, path: prices.csv}, tickers: [ABC]}
features:
  - {kind: lagged_returns, lags: [1, 2]}
walk_forward: {train: 250}
policy: {kind: threshold, long_above: 0.5}
execution: {commission_bps: 1.0}
"""


class Recorder:
    """The parts of the page as they are, and every status so far."""

    def __init__(self) -> None:
        self.parts: dict[str, str] = {}
        self.statuses: list[str] = []
        self.n_published: Counter[str] = Counter()
        self._changed = threading.Condition()

    def __call__(self, parts: Mapping[str, str]) -> None:
        with self._changed:
            self.parts |= parts
            self.statuses += [parts["status"]] if "status" in parts else []
            self.n_published.update(list(parts))
            self._changed.notify_all()

    def wait_for(self, condition: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(condition, timeout=60), (self.statuses, self.parts.get("error"))

    def wait_until_up_to_date(self) -> None:
        self.wait_for(lambda: self.parts.get("status", "").startswith("up to date"))


def write_prices(folder: Path, *, seed: int = 0) -> None:
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0.0003, 0.01, 500)))
    dates = pd.bdate_range("2015-01-05", periods=500)
    pd.DataFrame({"Date": dates, "Close": close}).to_csv(folder / "prices.csv", index=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_prices(tmp_path)
    (tmp_path / "my.yaml").write_text(CONFIG)
    return tmp_path


@pytest.fixture
def live(folder: Path) -> Iterator[Recorder]:
    """Return what a loop publishes that runs in a thread and has given its first result."""
    recorder = Recorder()
    loop = WatchLoop(folder / "my.yaml", recorder, folder / "reports")
    thread = threading.Thread(target=loop.run)
    thread.start()
    recorder.wait_until_up_to_date()
    yield recorder
    loop.stop()
    thread.join(timeout=10)
    assert not thread.is_alive()


def save(folder: Path, former: str, new: str) -> None:
    """Save the config with one text replaced, in one step, as most editors do."""
    path, fresh = folder / "my.yaml", folder / "fresh.yaml"
    fresh.write_text(path.read_text().replace(former, new))
    fresh.replace(path)


def save_and_wait(live: Recorder, folder: Path, former: str, new: str) -> None:
    """Save another value of a key, and wait for its result."""
    save(folder, former, new)
    change = " → ".join(text.partition(": ")[2] for text in (former, new))
    live.wait_for(lambda: change in live.parts["changes"])
    live.wait_until_up_to_date()


def trials_and_variations(folder: Path) -> list[str]:
    """Return the variation of each recorded trial, empty for a trial of its own."""
    with sqlite3.connect(folder / "reports" / "trials.db") as connection:
        return [row[0] for row in connection.execute("SELECT variation FROM trials ORDER BY rowid")]


def test_a_save_publishes_the_numbers_of_a_run_of_the_same_config(live: Recorder, folder: Path) -> None:
    save_and_wait(live, folder, "long_above: 0.5", "long_above: 0.51")
    run = quantlr.run(folder / "my.yaml")
    sharpe = f"{run.metrics['backtest']['strategy']['sharpe']:.2f}".replace("-", "−")
    assert f"<td>{sharpe}</td>" in live.parts["headline"]
    sentence = run.verdict.partition(":")[0]
    assert sentence in live.parts["verdict"]
    assert "policy.long_above" in live.parts["changes"]
    assert "0.5 → 0.51" in live.parts["changes"]
    assert "Sharpe ratio" in live.parts["changes"]
    assert json.loads(live.parts["charts"])["tickers"][0]["ticker"] == "ABC"


def test_curves_come_before_the_verdict(live: Recorder, folder: Path) -> None:
    n_statuses = len(live.statuses)
    save_and_wait(live, folder, "long_above: 0.5", "long_above: 0.505")
    statuses = live.statuses[n_statuses:]
    assert statuses[0] == "calculating…"
    assert "up to date" not in statuses[: statuses.index("intervals and verdict are pending")]


def test_changed_threshold_runs_only_the_backtest(
    live: Recorder, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted: list[str] = []

    def count_and_fit(*arguments: Any, **options: Any) -> Any:
        fitted.append("fit")
        return forecasts_from_config(*arguments, **options)

    monkeypatch.setattr("quantlr.sweeps.worker.forecasts_from_config", count_and_fit)
    n_panels, panels = live.n_published["panels"], live.parts["panels"]
    save_and_wait(live, folder, "long_above: 0.5", "long_above: 0.49")
    assert fitted == []
    assert live.n_published["panels"] == n_panels, "those of the model are as they were"
    save_and_wait(live, folder, "lags: [1, 2]", "lags: [1, 3]")
    assert fitted == ["fit"]
    assert live.n_published["panels"] == n_panels + 2, "pending, then new"
    assert live.parts["panels"] not in {"", panels}


def test_charts_are_of_the_chosen_ticker_as_long_as_it_has_forecasts(folder: Path) -> None:
    (folder / "prices").mkdir()
    for index, name in enumerate(("ABC", "DEF", "GHI")):
        write_prices(folder / "prices", seed=index)
        (folder / "prices" / "prices.csv").rename(folder / "prices" / f"{name}.csv")
    save(folder, "path: prices.csv}, tickers: [ABC]", "path: prices}, tickers: [ABC, DEF, GHI]")
    recorder = Recorder()
    loop = WatchLoop(folder / "my.yaml", recorder, folder / "reports")
    thread = threading.Thread(target=loop.run)

    def shown() -> list[str]:
        charts = json.loads(recorder.parts["charts"])
        assert charts["remark"] == ""
        return [*charts["ticker_names"], *(ticker["ticker"] for ticker in charts["tickers"])]

    loop.show_ticker("DEF")
    thread.start()
    try:
        recorder.wait_until_up_to_date()
        assert shown() == ["ABC", "DEF", "GHI", "DEF"]
        n_charts = recorder.n_published["charts"]
        loop.show_ticker("GHI")
        assert recorder.n_published["charts"] == n_charts + 1
        assert shown() == ["ABC", "DEF", "GHI", "GHI"]
        save_and_wait(recorder, folder, "long_above: 0.5", "long_above: 0.51")
        assert shown() == ["ABC", "DEF", "GHI", "GHI"]
        save(folder, "tickers: [ABC, DEF, GHI]", "tickers: [ABC, DEF]")
        recorder.wait_for(lambda: shown() == ["ABC", "DEF", "ABC"])
    finally:
        loop.stop()
        thread.join()


def test_new_prices_are_read_again(live: Recorder, folder: Path) -> None:
    before = live.parts["charts"]
    n_statuses = len(live.statuses)
    write_prices(folder, seed=1)
    live.wait_for(lambda: len(live.statuses) > n_statuses)
    live.wait_until_up_to_date()
    assert live.parts["charts"] != before
    assert "data have changed" in live.parts["changes"]


def test_change_of_an_extended_file_is_seen(folder: Path) -> None:
    (folder / "child.yaml").write_text("extends: my.yaml\nname: child\n")
    recorder = Recorder()
    loop = WatchLoop(folder / "child.yaml", recorder, folder / "reports")
    thread = threading.Thread(target=loop.run)
    thread.start()
    try:
        recorder.wait_until_up_to_date()
        save_and_wait(recorder, folder, "long_above: 0.5", "long_above: 0.52")
        assert "0.5 → 0.52" in recorder.parts["changes"]
    finally:
        loop.stop()
        thread.join()


@pytest.mark.parametrize(
    ("break_it", "found"),
    [
        (lambda path: path.write_text(CONFIG.replace("train: 250", "train: never")), ":5:23"),
        (lambda path: path.write_text(CONFIG[: len(CONFIG) // 2]), ":4:31"),
        (lambda path: path.unlink(), "no such config"),
        (lambda path: path.write_text(CONFIG.replace("train: 250", "train: 9999")), ":5:"),
    ],
    ids=["wrong value", "half-written", "vanished", "too little history"],
)
def test_error_stands_beside_the_last_result_until_it_is_mended(
    live: Recorder, folder: Path, break_it: Callable[[Path], Any], found: str
) -> None:
    before = {name: live.parts[name] for name in ("charts", "headline", "verdict")}
    break_it(folder / "my.yaml")
    live.wait_for(lambda: live.parts["status"].startswith("error") and found in live.parts["error"])
    assert {name: live.parts[name] for name in before} == before
    (folder / "my.yaml").write_text(CONFIG)
    live.wait_until_up_to_date()
    assert live.parts["error"] == ""


def test_full_disk_leaves_the_last_result(live: Recorder, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = live.parts["charts"]

    def fail(*_: Any, **__: Any) -> None:
        raise Fault("trials.db: the ledger of trials can't be used: database or disk is full")

    monkeypatch.setattr(Ledger, "record_trials", fail)
    save(folder, "long_above: 0.5", "long_above: 0.53")
    live.wait_for(lambda: live.parts["status"].startswith("error"))
    assert "disk is full" in live.parts["error"]
    assert live.parts["charts"] == before


def test_save_of_a_replaced_file_is_seen(live: Recorder, folder: Path) -> None:
    n_statuses = len(live.statuses)
    (folder / "new").write_text(CONFIG.replace("0.5}", "0.54}"))
    shutil.move(folder / "new", folder / "my.yaml")
    live.wait_for(lambda: len(live.statuses) > n_statuses)
    live.wait_until_up_to_date()
    assert "0.54" in live.parts["changes"]


def test_ten_rapid_saves_publish_the_last(live: Recorder, folder: Path) -> None:
    n_charts = live.n_published["charts"]
    for value in range(10):
        (folder / "my.yaml").write_text(CONFIG.replace("long_above: 0.5", f"long_above: 0.51{value}"))
        time.sleep(0.004)
    live.wait_for(lambda: "0.519" in live.parts["changes"])
    live.wait_until_up_to_date()
    assert live.n_published["charts"] - n_charts <= 2  # where the machine pauses between two saves
    assert len(trials_and_variations(folder)) == 1 + live.n_published["charts"] - n_charts


def test_comment_changes_nothing_and_is_not_recorded(live: Recorder, folder: Path) -> None:
    n_charts = live.n_published["charts"]
    n_statuses = len(live.statuses)
    save(folder, "name: live", "name: live  # a comment")
    live.wait_for(lambda: len(live.statuses) > n_statuses)
    live.wait_until_up_to_date()
    assert live.n_published["charts"] == n_charts
    assert trials_and_variations(folder) == [""]


def test_save_ends_the_calculation_of_an_earlier_one(
    live: Recorder, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[float] = []

    def wait_in_the_first(loaded: LoadedConfig, **options: Any) -> Evaluation:
        started.append(loaded.run.policy.model_dump()["long_above"])
        if len(started) == 1:
            save(folder, "long_above: 0.58", "long_above: 0.59")
            for _ in range(1000):
                time.sleep(0.01)
                options["progress"]("waiting", done=0, total=1)
        return evaluate(loaded, **options)

    monkeypatch.setattr("quantlr.watch.loop.evaluate", wait_in_the_first)
    n_charts = live.n_published["charts"]
    save(folder, "long_above: 0.5", "long_above: 0.58")
    live.wait_for(lambda: "0.5 → 0.59" in live.parts["changes"])
    live.wait_until_up_to_date()
    assert started == [0.58, 0.59]
    assert live.n_published["charts"] == n_charts + 1
    assert trials_and_variations(folder) == ["", ""]


def test_verdict_follows_where_a_save_without_a_change_ended_its_calculation(
    live: Recorder, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged: list[Evaluation] = []

    def end_the_first(evaluation: Evaluation, *arguments: Any) -> dict[str, Any]:
        judged.append(evaluation)
        if len(judged) == 1:
            save(folder, "name: live", "name: live  # a comment")
            raise SupersededError
        return judge(evaluation, *arguments)

    monkeypatch.setattr("quantlr.watch.loop.judge", end_the_first)
    save(folder, "long_above: 0.5", "long_above: 0.56")
    live.wait_for(lambda: len(judged) == 2 and live.parts["status"] == "up to date")
    assert "pending" not in live.parts["verdict"]
    assert trials_and_variations(folder) == ["", ""]


def test_linked_config_and_a_config_that_is_wrong_at_first_are_followed(folder: Path) -> None:
    (folder / "files").mkdir()
    target, link = folder / "files" / "target.yaml", folder / "link.yaml"
    target.write_text(CONFIG.replace("path: prices.csv", f"path: {folder}/prices.csv").replace("0.5}", "wrong}"))
    link.symlink_to(target)
    recorder = Recorder()
    loop = WatchLoop(link, recorder, folder / "reports")
    thread = threading.Thread(target=loop.run)
    thread.start()
    try:
        recorder.wait_for(lambda: recorder.parts.get("status") == "error")
        target.write_text(target.read_text().replace("wrong}", "0.5}"))
        recorder.wait_until_up_to_date()
        assert recorder.parts["error"] == ""
        target.write_text(target.read_text().replace("0.5}", "0.57}"))
        recorder.wait_for(lambda: "0.5 → 0.57" in recorder.parts["changes"])
    finally:
        loop.stop()
        thread.join()


def test_rules_are_recorded_as_trials_and_costs_as_variations(live: Recorder, folder: Path) -> None:
    save_and_wait(live, folder, "long_above: 0.5", "long_above: 0.51")
    save_and_wait(live, folder, "commission_bps: 1.0", "commission_bps: 7.0")
    save(folder, "commission_bps: 7.0", "commission_bps: 7.0, slippage_bps: 3.0")
    live.wait_for(lambda: "slippage_bps" in live.parts["changes"])
    save_and_wait(live, folder, "lags: [1, 2]", "lags: [2]")
    both_costs = "execution.commission_bps 7.0, execution.slippage_bps 3.0"
    assert trials_and_variations(folder) == ["", "", "execution.commission_bps 7.0", both_costs, ""]
    assert "Trials on these prices: 5." in live.parts["verdict"]


OWN_FEATURE = """
from typing import Literal
import quantlr
from scaling import FACTOR

class Scaled(quantlr.Feature):
    "The close times a factor."
    kind: Literal["scaled"] = "scaled"
    def compute(self, prices):
        "One column."
        return {"scaled": FACTOR * (prices.close / prices.close)}
    def warm_up(self):
        "None."
        return 0
"""


@pytest.fixture
def own_files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Install a package with a feature, and return the folder of its modules."""
    install_user_module(folder, {"features": {"scaled": "Scaled"}}, name="scaled_feature")
    (folder / "scaled_feature.py").write_text(OWN_FEATURE)
    (folder / "scaling.py").write_text("FACTOR = 1.0")
    monkeypatch.syspath_prepend(str(folder))
    yield folder
    for name in ("scaled_feature", "scaling"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("name", ["scaled_feature.py", "scaling.py"])
def test_changed_module_of_a_component_needs_a_new_process(own_files: Path, live: Recorder, name: str) -> None:
    n_charts = live.n_published["charts"]
    save(own_files, "features:\n", "features:\n  - {kind: scaled}\n")
    live.wait_for(lambda: live.n_published["charts"] > n_charts)
    live.wait_until_up_to_date()
    assert live.parts["error"] == ""  # a component that is new in the config is no change of its module
    charts, path = live.parts["charts"], own_files / name
    text = path.read_text()
    path.write_text(f"{text}\n# changed")
    live.wait_for(lambda: live.parts["status"].startswith("error"))
    assert f"{name} has changed" in live.parts["error"]
    assert live.parts["charts"] == charts
    path.write_text(text)
    live.wait_until_up_to_date()
    assert live.parts["error"] == ""


def evaluation_of(folder: Path, **overrides: Any) -> Evaluation:
    keys = {key.replace("__", "."): value for key, value in overrides.items()}
    loaded = load_config(folder / "my.yaml", overrides=keys)
    return evaluate(loaded, data_files_digest="", offline=True, progress=lambda *_, **__: None)


def test_rule_that_changes_no_position_is_a_trial_of_its_own(folder: Path) -> None:
    base, other = (evaluation_of(folder, policy__long_above=value) for value in (0.0, 0.001))
    assert np.array_equal(base.run_data.positions.weight, other.run_data.positions.weight, equal_nan=True)
    assert trial_to_record(other, base) == other.trial


def test_cost_that_changes_a_position_is_a_trial_of_its_own(folder: Path) -> None:
    rule = {"policy": {"kind": "expected_value"}}
    base = evaluation_of(folder, **rule)
    dear = evaluation_of(folder, **rule, execution__commission_bps=80.0)
    assert not np.array_equal(base.run_data.positions.weight, dear.run_data.positions.weight, equal_nan=True)
    assert trial_to_record(dear, base) == dear.trial
    plain = evaluation_of(folder)
    assert trial_to_record(evaluation_of(folder, execution__commission_bps=80.0), plain).variation
