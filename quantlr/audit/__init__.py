"""Does anything in a run know the future? Replace the future, and see whether the past moves.

Look-ahead is kept out by construction: one timing rule, folds made in one place, stages that see what they are given.
An audit doesn't take that on trust. It goes to the boundaries of a config's own folds, on its own prices, and puts
other futures behind them: nothing at all, noise, the mirror image, a hundredfold, a hundredth, all up, all down, a
dividend that rescales the past, a few holidays more. What was known by then may not move: features and labels first,
then scaling, weights and probabilities of the refits up to there, what policies decide, and the returns that are
booked. Random sessions and a single noise would show little: the leak of one label shows only at a session before that
label is known, and only if it then turns out otherwise.

What really is a function of the future, and may be:

- adjusted prices: each dividend and split scales all that came before it. Features must therefore be ratios; one that
  looks at the level of an adjusted price is named as a leak (the future "a dividend").
- labels, up to the session `Dataset.known_at`; no model may learn from one before.
- that a ticker has no later bar: the backtest sells it at its last one. Prices are therefore never cut off where
  returns are compared.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from quantlr.audit.cuts import Boundary, Cuts, HowMany, choose
from quantlr.audit.findings import Audit, Coverage, Cut, Findings, Leak
from quantlr.audit.inputs import Inputs, OpenLabels, look_at_inputs, look_at_open_labels
from quantlr.audit.trading import Calibrated, Executed, Recorder, look_at_decisions
from quantlr.audit.walks import Reference, Walkers, audited, look_at_folds
from quantlr.config import Config, RunConfig, load_config
from quantlr.data.dataset import build_dataset
from quantlr.data.universe import load_prices
from quantlr.errors import DataError
from quantlr.pipeline import STAGES, Stages, foresee
from quantlr.testing.futures import CUT, DIVIDEND, FUTURES, HOLIDAYS, MIRROR, with_future
from quantlr.types import Prices, Progress, day, no_progress

__all__ = ["Audit", "Coverage", "Leak", "audit", "audit_config", "audit_prices"]

WALKED = tuple(future for future in FUTURES if future not in (DIVIDEND, HOLIDAYS))
"""Futures that can move more than what is computed from prices and dates."""
EACH_OF = 3
"""One of so many futures is put after a session where only features and label are looked at, another one each time."""
TRADED = ("noise", "a hundredth")
"""Futures that decisions and returns are held against."""


def audit(
    config: str | Path | Mapping[str, Any],
    *,
    overrides: Mapping[str, Any] | None = None,
    stages: Stages = STAGES,
    cuts: HowMany = "auto",
    offline: bool = False,
    progress: Progress = no_progress,
) -> Audit:
    """Return what an audit of a config finds, on its own data.

    Parameters
    ----------
    config, overrides, offline, progress : as in `quantlr.run`.
    stages : the functions of the run; replace one to see what it knows.
    cuts : boundaries of folds to look at with every future, or "all"; "auto" takes a few, and looks at the others with
        the mirror image of what came, which turns every label over, unless they are more than 400.

    Raises
    ------
    UserError : what can be mended in the config or the data; a leak is no error, but a result.

    Examples
    --------
    >>> from quantlr.audit import audit
    >>> audit("configs/sp500_daily.yaml").clean  # doctest: +SKIP
    """
    loaded = load_config(config, overrides=overrides)
    return audit_config(loaded, stages=stages, cuts=cuts, offline=offline, progress=progress)


def audit_config(
    config: Config,
    *,
    stages: Stages = STAGES,
    cuts: HowMany = "auto",
    offline: bool = False,
    workers: int = 1,
    progress: Progress = no_progress,
) -> Audit:
    """Audit a loaded config; an error of a layer comes back with the place of its key."""
    with config.locating():
        prices = load_prices(config.run.data, offline=offline, progress=progress)
        return audit_prices(config.run, prices, stages, cuts=cuts, workers=workers, progress=progress)


def audit_prices(
    config: RunConfig,
    prices: Prices,
    stages: Stages = STAGES,
    *,
    cuts: HowMany = "auto",
    workers: int = 1,
    progress: Progress = no_progress,
) -> Audit:
    """Return what an audit of a config finds on prices."""
    with threadpool_limits(1, user_api="blas"):
        auditor = _Auditor(config, prices, stages, cuts=cuts, workers=workers, progress=progress)
        return auditor.audit(progress)


def _by_session(boundaries: Iterable[Boundary]) -> dict[int, list[Boundary]]:
    found: dict[int, list[Boundary]] = {}
    for boundary in boundaries:
        found.setdefault(boundary.session, []).append(boundary)
    return found


class _Auditor:
    """A run as it was, and what has been found by replacing its future."""

    def __init__(
        self,
        config: RunConfig,
        prices: Prices,
        stages: Stages,
        *,
        cuts: HowMany,
        workers: int,
        progress: Progress,
    ) -> None:
        self.config, self.prices, self.stages = config, prices, stages
        self.model, self.horizon = audited(config.model), config.label.horizon
        self.findings, self.open_labels = Findings(), OpenLabels()
        recorder = Recorder(stages.walk)
        calibrated = config.model.calibration is not None
        recorded = replace(stages, walk=replace(stages.walk, calibrate=recorder)) if calibrated else stages
        # A feature that tells the future often separates the classes: a run stops there, and here the reason is wanted.
        lenient = config.model.model_copy(update={"degenerate": "base_rate"})
        config = config.model_copy(update={"model": lenient})
        self.run = foresee(config, prices, recorded, workers=1 if calibrated else workers, progress=progress)
        self.executed = Executed(config, self.run, prices, stages)
        self.now = self._inputs(prices)
        self.walkers = Walkers.of(self.run.dataset, config.walk_forward, self.model, stages.walk)
        self.calibrated = [
            Calibrated(self.run, made, journey, stages)
            for made, journey in zip(recorder.seen, self.walkers.journeys, strict=False)
        ]
        self.rng = np.random.default_rng(config.seed)
        self.cuts: Cuts = choose(
            self.walkers.journeys,
            sessions=len(prices.sessions),
            horizon=self.horizon,
            how_many=cuts,
            rng=self.rng,
        )
        self.walked: set[tuple[int, int]] = set()

    def audit(self, progress: Progress) -> Audit:
        """Look everywhere and return what was found."""
        folds_in_time = look_at_folds(self.walkers, self.config.walk_forward, self.findings)
        whole, once = _by_session(self.cuts.whole), _by_session(self.cuts.once)
        for done, session in enumerate(self.cuts.inputs):
            progress("auditing", done=done, total=len(self.cuts.inputs))
            references = [
                Reference(self.walkers, boundary.journey, boundary.session)
                for boundary in (*whole.get(session, ()), *once.get(session, ()))
                if folds_in_time
            ]
            walked = WALKED if session in whole else (MIRROR,) if references else ()
            inputs = FUTURES if session in whole else FUTURES[done % EACH_OF :: EACH_OF]
            for future in FUTURES:
                if future in inputs or future in walked:
                    self._look(session, future, references if future in walked else [])
            if session in whole:
                self._look_at_trading(session, whole[session])
            self.walked |= {reference.newest for reference in references}
        progress("auditing", done=len(self.cuts.inputs), total=len(self.cuts.inputs))
        look_at_open_labels(self.open_labels, self._cut(self.cuts.inputs[-1], ""), self.findings, horizon=self.horizon)
        return self._audit()

    def _cut(self, session: int, future: str) -> Cut:
        return Cut(session, day(self.prices.sessions[session]), future)

    def _inputs(self, prices: Prices) -> Inputs:
        columns = self.stages.features(prices, self.config.features)
        return Inputs(prices, columns, self.stages.label(prices, self.config.label))

    def _look(self, session: int, future: str, references: list[Reference]) -> None:
        """Put another future after a session; walk through it only where features and labels have not moved."""
        cut = self._cut(session, future)
        if future == CUT and session < self.run.forecasts.session.min():
            return  # so few bars are no history for anyone
        prices = with_future(self.prices, future, after=session, seed=self.config.seed)
        other = self._inputs(prices)
        still = look_at_inputs(self.now, other, cut, self.findings, self.open_labels, horizon=self.horizon)
        if not still or not references:
            return
        walkers = self._walkers(other)
        if walkers is not None:
            for reference in references:
                reference.look_at(walkers, cut, self.findings)

    def _walkers(self, inputs: Inputs) -> Walkers | None:
        """Return what models walk through in another future; None where a feature is no number then, or none can."""
        try:
            dataset = build_dataset(inputs.prices, inputs.columns, inputs.labels, horizon=self.horizon)
            return Walkers.of(dataset, self.config.walk_forward, self.model, self.stages.walk)
        except DataError:
            return None

    def _look_at_trading(self, session: int, boundaries: list[Boundary]) -> None:
        cut = self._cut(session, "")
        others = {future: with_future(self.prices, future, after=session, seed=self.config.seed) for future in TRADED}
        if self.calibrated:
            for boundary in boundaries:
                self.calibrated[boundary.journey].look_at(cut, self.findings, self.rng)
        look_at_decisions(self.config, self.run, self.prices, others, self.stages, cut, self.findings, self.rng)
        self.executed.look_at(others, cut, self.findings, self.rng)

    def _audit(self) -> Audit:
        sessions = self.prices.sessions
        return Audit(
            name=self.config.name,
            config_sha256=hashlib.sha256(self.config.to_yaml().encode()).hexdigest(),
            data_sha256=self.prices.sha256,
            leaks=self.findings.leaks,
            coverage=Coverage(
                first=day(sessions[self.cuts.inputs[0]]),
                last=day(sessions[self.cuts.inputs[-1]]),
                refits=len(self.run.forecasts.refits.session),
                refits_walked=len(self.walked),
                cuts=len({boundary.session for boundary in self.cuts.whole}),
                cuts_once=len({boundary.session for boundary in self.cuts.once}),
                input_cuts=len(self.cuts.inputs),
                futures=FUTURES,
                input_futures=len(FUTURES) // EACH_OF,
                checks=self.findings.checks,
                largest=self.findings.largest,
            ),
        )
