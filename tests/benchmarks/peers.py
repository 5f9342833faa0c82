"""The peers: libraries that fit one unpenalised logistic regression at a time, each as its documentation shows it."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import median

import numpy as np
from quantlr.core.parallel import available_core_count
from quantlr.core.values import Array
from quantlr.model.logistic import sigmoid
from threadpoolctl import threadpool_limits

from benchmarks.jobs import Job, Refit

# A peer is imported where it is used. The processes that quantlr's own walk starts read these files too, and would pay
# for imports that are none of theirs.

Predict = Callable[[Array], Array]
"""From rows (n, k) to their probabilities (n,)."""
Fit = Callable[[Array, Array, float], Predict]
"""From rows (n, k), labels (n,) and a tolerance to what forecasts."""

NEAR = 1e-7
"""How far a probability may be from the optimum's."""
OPTIMUM = 1e-12
"""Tolerance at which scikit-learn's newton-cholesky stands for the optimum."""
LADDER = (1e-2, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9, 1e-10)
"""Tolerances that a peer is tried at, the loosest first."""
UPDATES = 10_000
"""More than any peer needs."""
ROUNDS, BRIEF = 5, 2.0
"""Times that numbers of threads are tried in turns, if once takes no more than so many seconds."""
CLEARLY = 0.9
"""Share of the time that more threads must get by with: they suffer more from whatever else the machine does."""


def sklearn_pipeline(X: Array, y: Array, tol: float, *, solver: str = "lbfgs") -> Predict:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    classifier = LogisticRegression(C=np.inf, solver=solver, tol=tol, max_iter=UPDATES)
    model = make_pipeline(StandardScaler(), classifier).fit(X, y)
    return lambda rows: model.predict_proba(rows)[:, 1]


def sklearn_alone(X: Array, y: Array, tol: float) -> Predict:
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=np.inf, tol=tol, max_iter=UPDATES).fit(X, y)
    return lambda rows: model.predict_proba(rows)[:, 1]


def statsmodels_logit(X: Array, y: Array, tol: float) -> Predict:
    from statsmodels.api import Logit, add_constant

    model = Logit(y, add_constant(X)).fit(disp=0, tol=tol, maxiter=UPDATES)
    return lambda rows: model.predict(add_constant(rows, has_constant="add"))


def glum_regressor(X: Array, y: Array, tol: float) -> Predict:
    from glum import GeneralizedLinearRegressor

    model = GeneralizedLinearRegressor(family="binomial", alpha=0, gradient_tol=tol, max_iter=UPDATES).fit(X, y)
    return lambda rows: model.predict(rows)


def skglm_lbfgs(X: Array, y: Array, tol: float) -> Predict:
    """An L2 penalty of 0 is skglm's only smooth one; its solver has no intercept, so that a column of ones is one."""
    from skglm.datafits import Logistic
    from skglm.penalties import L2
    from skglm.solvers import LBFGS
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(X)

    def design(rows: Array) -> Array:
        return np.column_stack([scaler.transform(rows), np.ones(len(rows))])

    weights = LBFGS(tol=tol, max_iter=UPDATES).solve(design(X), 2.0 * y - 1.0, Logistic(), L2(0.0))[0]
    return lambda rows: sigmoid(design(rows) @ weights)


PEERS: dict[str, Fit] = {
    "scikit-learn lbfgs": sklearn_pipeline,
    "scikit-learn newton-cholesky": partial(sklearn_pipeline, solver="newton-cholesky"),
    "scikit-learn lbfgs, no scaler": sklearn_alone,
    "statsmodels Logit": statsmodels_logit,
    "glum": glum_regressor,
    "skglm": skglm_lbfgs,
}


@dataclass(frozen=True, slots=True)
class Contender:
    """A peer at its best: as loose as accuracy allows, with the threads that suit it.

    Attributes
    ----------
    peer : its name.
    tolerance : the loosest at which it is accurate, None where it is at none.
    error : largest difference of a probability from the optimum's.
    gradient : largest component of the mean loss's gradient that it leaves, None where that is not compared.
    threads : of BLAS and of OpenMP.
    """

    peer: str
    tolerance: float | None
    error: float
    gradient: float | None = None
    threads: int = 1

    def loop(self, refits: Sequence[Refit]) -> float:
        """Return the seconds in which the peer fits and forecasts some refits, one after the other."""
        if self.tolerance is None:
            raise ValueError(f"{self.peer} was accurate at no tolerance; only what is accurate is timed")
        fit = PEERS[self.peer]
        with threadpool_limits(self.threads), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # The first fit imports and compiles: it is not timed.
            fit(refits[0].X[:1000], refits[0].y[:1000], self.tolerance)
            started = time.perf_counter()
            for refit in refits:
                fit(refit.X, refit.y, self.tolerance)(refit.ahead)
            return time.perf_counter() - started


def optimum(refit: Refit) -> Array:
    """Return the best probabilities (forecasts,) of a refit."""
    return sklearn_pipeline(refit.X, refit.y, OPTIMUM, solver="newton-cholesky")(refit.ahead)


def gradient_left(refit: Refit, probability: Array) -> float:
    """Return the largest component of the mean loss's gradient where the training rows have that probability."""
    residual = probability - refit.y
    return float(max(abs(residual.mean()), np.abs(residual @ refit.X).max() / len(residual)))


def at_its_best(peer: str, job: Job, refits: Sequence[Refit], optima: Sequence[Array]) -> Contender:
    """Return a peer as loose as accuracy on some refits allows, with the threads that suit it on a few of them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = _accurate(peer, job, refits, optima)
    # Processes that share out a loop over several models leave no core for threads.
    if found.tolerance is None or job.cores > 1:
        return found
    return _with_best_threads(found, refits[:: max(len(refits) // 10, 1)])


def _with_best_threads(found: Contender, few: Sequence[Refit]) -> Contender:
    """Return a peer with one thread, or with one for each core where that is clearly faster."""
    tries = [replace(found, threads=threads) for threads in sorted({1, available_core_count()})]
    rounds: list[list[float]] = []
    while not rounds or (len(rounds) < ROUNDS and sum(rounds[0]) < BRIEF):
        rounds.append([tried.loop(few) for tried in tries])
    one, *all_cores = (median(times) for times in zip(*rounds, strict=True))
    return tries[-1] if all_cores and all_cores[0] < CLEARLY * one else tries[0]


def _accurate(peer: str, job: Job, refits: Sequence[Refit], optima: Sequence[Array]) -> Contender:
    tried: list[Contender] = []
    for tolerance in LADDER:
        tried.append(_measured(peer, tolerance, job, refits, optima))
        if tried[-1].error <= NEAR and (tried[-1].gradient or 0.0) <= (job.gradient or 0.0):
            return tried[-1]
    return replace(min(tried, key=lambda one: one.error), tolerance=None)


def _measured(peer: str, tolerance: float, job: Job, refits: Sequence[Refit], optima: Sequence[Array]) -> Contender:
    """Return how far from the optimum a peer ends at some tolerance."""
    errors, gradients = [], []
    for refit, best in zip(refits, optima, strict=True):
        predict = PEERS[peer](refit.X, refit.y, tolerance)
        errors.append(float(np.abs(predict(refit.ahead) - best).max()))
        if job.gradient is not None:
            gradients.append(gradient_left(refit, predict(refit.X)))
    return Contender(peer, tolerance, max(errors), max(gradients, default=None))
