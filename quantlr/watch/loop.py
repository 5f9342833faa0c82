"""The loop behind the page: wait for a change, evaluate the config, and publish what the page shows.

It runs in a thread of its own. A save that comes while an earlier one is evaluated ends that evaluation at its next
step, so that only the newest is completed. After an error the last good page stays, with the error beside it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from quantlr.config.run_config import LoadedConfig, load_config
from quantlr.core.errors import QuantlrError, UserError
from quantlr.experiment.ledger import Ledger
from quantlr.experiment.run import Run
from quantlr.experiment.worth import forecasts_sha256, read_saved_worth
from quantlr.report.html import render_template
from quantlr.report.interactive import interactive_data, json_for_html
from quantlr.report.model_panels import model_panel_tables, model_panels
from quantlr.report.pages.layout import Table
from quantlr.report.pairs import pair_sentence
from quantlr.report.storage import check_report_target, make_reports_dir
from quantlr.report.summary import condense_notes, headline_changes, headline_tables, headline_text_rows, note_text
from quantlr.watch.controls import FileControls
from quantlr.watch.evaluation import (
    Evaluation,
    changed_keys,
    compare_with_previous,
    evaluate,
    judge,
    trial_to_record,
)
from quantlr.watch.files import ImportedFiles, component_paths, config_paths, data_paths, files_digest, watch_files

Publish = Callable[[Mapping[str, str]], None]
"""Function that is given the parts of the page that have changed, by name."""


class SupersededError(Exception):
    """A newer save, or the end of the program, ends the evaluation of an older one."""


@dataclass
class WatchLoop:
    """A config that is evaluated after each change of its files.

    Attributes
    ----------
    config_path, settings, name, offline, output : as the options of `quantlr run`.
    publish : is given the parts of the page that have changed.
    writes_pages : whether the report is written too, after each verdict.
    controls : of the config, for the server.
    """

    config_path: Path
    publish: Publish
    output: Path
    settings: tuple[str, ...] = ()
    name: str | None = None
    offline: bool = False
    writes_pages: bool = False
    controls: FileControls = field(init=False)
    _changed: threading.Event = field(default_factory=threading.Event)
    _is_stopping: bool = False
    _last: Evaluation | None = None
    _previous: Evaluation | None = None
    _is_judged: bool = False
    _ticker: str = ""
    _charts_lock: threading.Lock = field(default_factory=threading.Lock)
    _panel_tables: dict[str, Table] = field(default_factory=dict)
    _panels_digest: str = ""
    _panels_json: str = ""
    _last_digest: str = ""
    _base: Evaluation | None = None
    _paths: set[Path] = field(default_factory=set)
    _watched_paths: set[Path] = field(default_factory=set)
    _watched_digest: str = ""
    _imported_files: ImportedFiles = field(default_factory=ImportedFiles)
    _watcher_stop: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.controls = FileControls(self.config_path, self.settings, self.name)

    def run(self) -> None:
        """Evaluate now and after each change, until `stop` is called."""
        self._changed.set()
        while True:
            self._changed.wait()
            if self._is_stopping:
                break
            self._changed.clear()
            self._take_digest(self._paths | {self.config_path})
            with suppress(SupersededError):
                self._update()
            self._compare_digest()  # for a change while a watcher was being replaced
        self._watcher_stop.set()

    def stop(self) -> None:
        """End the loop, and an evaluation at its next step."""
        self._is_stopping = True
        self._changed.set()

    def show_ticker(self, ticker: str) -> None:
        """Publish the charts of a ticker; later results are shown for it too, as long as it has forecasts.

        Called from the thread of the server.
        """
        with self._charts_lock:
            self._ticker = ticker
            if self._last:
                self.publish({"charts": self._charts_json(self._last)})

    def _take_digest(self, paths: set[Path]) -> None:
        """Remember the state of files; the config is evaluated again once it differs."""
        self._watched_paths, self._watched_digest = paths, files_digest(paths)

    def _compare_digest(self) -> None:
        """Have the config evaluated again if a file is not as it was: one save may be notified several times."""
        if files_digest(self._watched_paths) != self._watched_digest:
            self._changed.set()

    def _check_superseded(self, stage: str, *, done: int, total: int) -> None:
        if self._changed.is_set():
            raise SupersededError

    def _update(self) -> None:
        """Evaluate the config as it stands and publish the result, or the error."""
        self.publish({"status": "calculating…"})
        loaded: LoadedConfig | None = None
        try:
            loaded = load_config(self.config_path, settings=self.settings, name=self.name)
            self._watch(config_paths(loaded) | data_paths(loaded) | component_paths(loaded))
            self.publish(self.controls.parts(loaded))
            self._evaluate_and_publish(loaded)
        except SupersededError:
            raise
        except QuantlrError as error:
            located = loaded.error_with_location(error) if loaded and error.key else error
            self._publish_error(located.message)
        except Exception as error:  # a defect must not end the page
            self._publish_error(f"{type(error).__name__}: {error}")
        finally:
            self._watch(self._paths | {self.config_path})

    def _publish_error(self, text: str) -> None:
        status = "error; below is the last result" if self._last else "error"
        self.publish({"status": status, "error": render_template("live_error.html", lines=text.splitlines())})

    def _watch(self, paths: set[Path]) -> None:
        """Watch these files from now on."""
        if paths == self._paths:
            return
        self._compare_digest()
        self._take_digest(paths | {self.config_path})
        self._watcher_stop.set()
        self._paths, self._watcher_stop = paths, threading.Event()
        arguments = (paths, self._compare_digest, self._watcher_stop)
        threading.Thread(target=watch_files, args=arguments, daemon=True, name="quantlr watch").start()

    def _evaluate_and_publish(self, loaded: LoadedConfig) -> None:
        self._imported_files.require_unchanged(component_paths(loaded))
        digest = files_digest(data_paths(loaded))
        ledger = Ledger.from_output_folder(self.output)
        if self._last and loaded.run == self._last.config and digest == self._last_digest:
            self.publish({"status": "up to date; the save changed nothing", "error": ""})
            if not self._is_judged:
                self._judge_and_publish(self._last, self._previous, ledger)
            return
        check_report_target(self.output, loaded.run.name)
        previous = self._last
        evaluation = evaluate(loaded, data_files_digest=digest, offline=self.offline, progress=self._check_superseded)
        parts = self._first_parts(evaluation, previous)
        self._check_superseded("publishing", done=0, total=1)
        make_reports_dir(self.output, loaded.run.name)
        with self._charts_lock:
            charts = self._charts_json(evaluation)
            trial = trial_to_record(evaluation, self._base)
            ledger.record_trials([trial])
            self._last, self._previous, self._last_digest, self._is_judged = evaluation, previous, digest, False
            self.publish(parts | {"charts": charts})
        if trial is evaluation.trial:
            self._base = evaluation
        self._judge_and_publish(evaluation, previous, ledger)

    def _first_parts(self, evaluation: Evaluation, previous: Evaluation | None) -> dict[str, str]:
        """Return point estimates, and what has changed since the previous evaluation."""
        metrics = evaluation.context.metrics
        changes = headline_changes(metrics, previous.context.metrics) if previous else []
        parts = {
            "status": "intervals and verdict are pending",
            "error": "",
            "title": evaluation.config.name,
            "setup": evaluation.context.setup_text,
            "headline": render_template("live_headline.html", rows=headline_text_rows(metrics), changes=changes),
            "changes": _changes_html(previous, evaluation, tests=None),
            "verdict": render_template("live_verdict.html", metrics=None),
            "tables_status": "Pending." if previous is None else "Pending; these are of the previous result.",
        }
        if evaluation.forecast_digest != self._panels_digest:
            parts["panels"] = self._panels_json = ""
        return parts

    def _charts_json(self, evaluation: Evaluation) -> str:
        """Return the charts of the chosen ticker, or of the first one where it has no forecasts, for JSON."""
        names = evaluation.context.forecast_tickers
        ticker = self._ticker if self._ticker in names else names[0]
        return json_for_html(interactive_data(evaluation.context, only_ticker=ticker))

    def _judge_and_publish(self, evaluation: Evaluation, previous: Evaluation | None, ledger: Ledger) -> None:
        """Publish intervals, verdict and the comparison with the previous evaluation; write the report, if asked."""
        metrics = judge(evaluation, ledger, self._check_superseded)
        notes = [note_text(note) for note in condense_notes(evaluation.notes)]
        parts = {
            "verdict": render_template("live_verdict.html", metrics=metrics),
            "tables_status": "",
            "tables": render_template("live_tables.html", tables=headline_tables(metrics, "tear_sheet"), notes=notes),
        }
        self._check_superseded("publishing", done=0, total=1)
        self.publish(parts)
        if previous:
            self.publish({"changes": _changes_html(previous, evaluation, tests=_tests_text(previous, evaluation))})
        self._check_superseded("publishing", done=0, total=1)
        self._publish_panels(evaluation, metrics)
        self._is_judged = True
        self._check_superseded("publishing", done=0, total=1)
        if self.writes_pages:
            self.publish({"status": "writing the report…"})
            run = Run(evaluation.config, metrics, evaluation.notes, evaluation.run_data, (), ledger)
            folder = run.save(self.output, replace_other_config=True, progress=self._check_superseded)
            self.publish({"status": f"up to date; report in {folder}"})
        else:
            self.publish({"status": "up to date"})

    def _publish_panels(self, evaluation: Evaluation, metrics: dict[str, Any]) -> None:
        """Publish the panels on the model where they have changed; they are computed if the forecasts have."""
        context = replace(evaluation.context, metrics=metrics)
        if evaluation.forecast_digest != self._panels_digest:
            self._panel_tables = model_panel_tables(context)
            self._panels_digest = evaluation.forecast_digest
        worth = read_saved_worth(self.output / evaluation.config.name)
        digest = forecasts_sha256(evaluation.config, evaluation.run_data.prices)
        is_earlier = worth is not None and not worth["forecasts_sha256"].eq(digest).all()
        panels = json_for_html(model_panels(context, self._panel_tables, worth, is_earlier_worth=is_earlier))
        if panels != self._panels_json:
            self._panels_json = panels
            self.publish({"panels": panels})


def _changes_html(previous: Evaluation | None, evaluation: Evaluation, *, tests: str | None) -> str:
    """Return the keys that have changed, with the tests of the differences; None while these are pending."""
    differences = changed_keys(previous, evaluation) if previous else {}
    has_previous = previous is not None
    return render_template("live_changes.html", has_previous=has_previous, differences=differences, tests=tests)


def _tests_text(previous: Evaluation, evaluation: Evaluation) -> str:
    """Return whether the differences from the previous evaluation are larger than noise, as `quantlr compare` does."""
    try:
        comparison = compare_with_previous(previous, evaluation)
    except UserError as error:
        return f"Not compared: {error.message}"
    return " ".join((pair_sentence(comparison.pairs[0], comparison.run_names), *comparison.caveats))
