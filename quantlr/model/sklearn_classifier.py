"""Any classifier of scikit-learn in the walk-forward: the same folds, scaling, weights and calibration."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from inspect import signature
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, StrictInt, ValidationInfo, field_validator, model_validator
from threadpoolctl import ThreadpoolController, threadpool_limits

from quantlr.core.components import Unit
from quantlr.core.errors import DegenerateFold, ModelError, did_you_mean_text
from quantlr.core.parallel import available_core_count
from quantlr.core.values import Array, IntArray
from quantlr.model.base import (
    ClassWeightSetting,
    DescribeRefit,
    FittedModel,
    HalfLife,
    Model,
    RefitProgressCallback,
    class_weight_field,
    half_life_field,
    ignore_refit_progress,
)
from quantlr.model.logistic import logit
from quantlr.model.training import mean_one_weights

if TYPE_CHECKING:
    from quantlr.model.training import TrainingData


@dataclass(frozen=True, kw_only=True)
class FittedSklearnClassifier(FittedModel):
    """The fitted classifiers of all refits.

    Attributes
    ----------
    classifiers : one per refit; None of a degenerate one, which forecasts its base rate.
    mean, std : (refits, k) by which features are standardised; `std` is 1 where a feature is constant.
    base_rate : (refits,) share of ups among the training rows, by Laplace (ups + 1) / (rows + 2).
    bound : (refits,) largest probability, (rows + 1) / (rows + 2), and 1 less the smallest.
    """

    classifiers: tuple[Any, ...]
    mean: Array
    std: Array
    base_rate: Array
    bound: Array

    def log_odds(self, X: Array, refit_index: IntArray) -> Array:
        """Return the log odds (rows,) of rows X (rows, k), each by the refit `refit_index` (rows,).

        A classifier that gives 0 or 1, such as a forest whose trees all agree, is taken for as certain as its training
        rows allow: Laplace's (rows + 1) / (rows + 2).
        """
        probability = np.empty(len(X))
        with _loaded_thread_pools().limit(limits=1, user_api="openmp"):
            for refit in np.unique(refit_index).tolist():
                rows, classifier = refit_index == refit, self.classifiers[refit]
                if classifier is None:
                    probability[rows] = self.base_rate[refit]
                    continue
                scaled = (X[rows] - self.mean[refit]) / self.std[refit]
                by_class = classifier.predict_proba(scaled)
                probability[rows] = by_class[:, list(classifier.classes_).index(1)]
        bound = self.bound[refit_index]
        return logit(np.clip(probability, 1.0 - bound, bound))


class SklearnClassifier(Model):
    """Any classifier of scikit-learn that gives probabilities, fitted refit by refit."""

    packages: ClassVar[tuple[str, ...]] = ("scikit-learn",)
    example_parameters = (
        {"estimator": "GaussianNB"},
        {"estimator": "DecisionTreeClassifier", "params": {"max_depth": 2}, "random_state": 1},
    )

    kind: Literal["sklearn"] = "sklearn"
    estimator: str = Field(
        description="Name of the classifier; it must have predict_proba.",
        min_length=1,
        max_length=60,
        examples=["HistGradientBoostingClassifier", "RandomForestClassifier"],
    )
    params: dict[str, Any] = Field(
        {},
        description="Parameters of the classifier that differ from scikit-learn's defaults.",
        examples=[{"max_iter": 100}],
    )
    random_state: Annotated[StrictInt, Unit("none (a seed)"), Field(ge=0, le=2**32 - 1)] | None = Field(
        None,
        description="Seed of each refit, where the classifier draws random numbers; null: the config's `seed`, so that "
        "runs repeat.",
        examples=[1],
    )
    class_weight: ClassWeightSetting = class_weight_field()
    half_life: HalfLife = half_life_field()

    @model_validator(mode="before")
    @classmethod
    def _read_estimator_object(cls, raw_config: Any) -> Any:
        """Take an object of scikit-learn in place of the name: its class and its changed parameters."""
        estimator = raw_config.get("estimator") if isinstance(raw_config, Mapping) else None
        if estimator is None or isinstance(estimator, str) or not hasattr(estimator, "get_params"):
            return raw_config
        defaults = type(estimator)().get_params()
        changed = {name: value for name, value in estimator.get_params().items() if value != defaults[name]}
        return {**raw_config, "estimator": type(estimator).__name__, "params": changed | raw_config.get("params", {})}

    @field_validator("estimator")
    @classmethod
    def _validate_estimator(cls, estimator: str) -> str:
        names = classifier_classes()
        if estimator not in names:
            hint = did_you_mean_text(estimator, names)
            raise ValueError(f"scikit-learn has no classifier {estimator!r} with predict_proba and defaults{hint}")
        return estimator

    @field_validator("params")
    @classmethod
    def _validate_params(cls, params: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        estimator = info.data.get("estimator")
        if estimator is None:
            return params
        known = classifier_classes()[estimator]().get_params()
        for name in params:
            if name not in known:
                raise ValueError(f"{name}: {estimator} has no such parameter{did_you_mean_text(name, list(known))}")
        if "random_state" in params:
            raise ValueError("random_state: give it as model.random_state, beside params")
        try:
            classifier_classes()[estimator](**params)._validate_params()  # scikit-learn's own constraints
        except ValueError as error:
            raise ValueError(str(error)) from error
        return {name: _plain_value(value) for name, value in params.items()}

    @field_validator("class_weight", "half_life")
    @classmethod
    def _validate_takes_weights(cls, setting: Any, info: ValidationInfo) -> Any:
        """Refuse weights of rows for a classifier whose `fit` takes no `sample_weight`."""
        estimator = info.data.get("estimator")
        if setting is not None and estimator is not None:
            fit_parameters = signature(classifier_classes()[estimator].fit).parameters
            if "sample_weight" not in fit_parameters:
                raise ValueError(f"{estimator} takes no weights of training rows: leave it out, or take another one")
        return setting

    @property
    def display_name(self) -> str:
        """The name of the classifier, with the parameters that differ from the defaults."""
        params = ", ".join(f"{key}={value!r}" for key, value in self.params.items())
        return f"{self.estimator}({params})" if params else self.estimator

    def fit_many(
        self,
        training_sets: Sequence[TrainingData],
        *,
        describe_refits: Sequence[DescribeRefit],
        on_refits_done: RefitProgressCallback = ignore_refit_progress,
    ) -> list[FittedModel]:
        """Return the fitted classifiers of all refits; several refits are fitted at once, each by one thread."""
        # OpenMP has a limit for each thread, BLAS one for all of them, which the outer block resets.
        threads = ThreadPoolExecutor(available_core_count(), initializer=threadpool_limits, initargs=(1,))
        with threadpool_limits(1), threads as pool:
            fits: list[FittedModel] = []
            for training, describe in zip(training_sets, describe_refits, strict=True):
                fits.append(self._fit_refits(training, describe, pool))
                on_refits_done(len(training.folds[0]))
            return fits

    def _fit_refits(
        self, training: TrainingData, describe: DescribeRefit, pool: ThreadPoolExecutor
    ) -> FittedSklearnClassifier:
        n_rows, n_ups = training.row_and_up_counts()
        degenerate = (n_ups == 0) | (n_ups == n_rows)
        if degenerate.any() and self.degenerate == "error":
            text = f"{describe(int(degenerate.argmax()))}: its training rows are of one class, and two are needed"
            hint = "lengthen walk_forward.train, or set model.degenerate to base_rate"
            raise DegenerateFold(f"{text}; {hint}", key="walk_forward.train")
        mean, std = training.scaling.mean, np.where(training.scaling.std > 0, training.scaling.std, 1.0)
        make_classifier = self._classifier_factory()

        def fit(refit: int) -> Any:
            if degenerate[refit]:
                return None
            rows = training.refit_rows(refit)
            scaled, up = (training.X[rows] - mean[refit]) / std[refit], training.y[rows].astype(np.int64)
            is_weighted = self.class_weight is not None or self.half_life is not None
            weights = {"sample_weight": mean_one_weights(training, self, refit)} if is_weighted else {}
            try:
                return make_classifier().fit(scaled, up, **weights)
            except ValueError as error:
                text = f"{describe(refit)}: {self.estimator} cannot be fitted: {error}; take another classifier"
                raise ModelError(text, key="model.estimator") from error

        return FittedSklearnClassifier(
            converged=np.ones(len(n_rows), dtype=np.bool_),
            degenerate=degenerate,
            classifiers=tuple(pool.map(fit, range(len(n_rows)))),
            mean=mean,
            std=std,
            base_rate=(n_ups + 1.0) / (n_rows + 2.0),
            bound=(n_rows + 1.0) / (n_rows + 2.0),
        )

    def _classifier_factory(self) -> Callable[[], Any]:
        classifier_class = classifier_classes()[self.estimator]
        params = dict(self.params)
        if "random_state" in classifier_class().get_params():
            params["random_state"] = self.random_state
        return lambda: classifier_class(**params)


def _plain_value(value: Any) -> Any:
    """Return a parameter without the place in a file that numbers and texts of a config carry."""
    if isinstance(value, Mapping):
        return {key: _plain_value(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain_value(item) for item in value]
    plain_type = next((kind for kind in (bool, int, float, str) if isinstance(value, kind)), None)
    return value if plain_type is None else plain_type(value)


def find_classifier(name: str) -> str:
    """Return scikit-learn's name of a classifier, given as it is or in snake case, with or without its ending.

    Raises
    ------
    ValueError : there is no such classifier; the message names the nearest.
    """
    names = {_plain_name(form): known for known in classifier_classes() for form in (known, _short_name(known))}
    if _plain_name(name) not in names:
        hint = did_you_mean_text(name, [*map(_short_name, names.values()), *names.values()])
        raise ValueError(f"scikit-learn has no classifier {name!r} with predict_proba and defaults{hint}")
    return names[_plain_name(name)]


def _plain_name(name: str) -> str:
    return re.sub("[_-]", "", name).lower()


def _short_name(name: str) -> str:
    """Return a class name in snake case without its ending: hist_gradient_boosting."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name.removesuffix("Classifier"))
    return words.lower()


@cache
def _loaded_thread_pools() -> ThreadpoolController:
    """Return the thread pools of OpenMP and BLAS, whose limits can be set in little time once scikit-learn is loaded.

    One thread forecasts: on two busy cores, the threads of OpenMP that wait for each other double the processor time of
    HistGradientBoostingClassifier's forecasts.
    """
    return ThreadpoolController()


@cache
def classifier_classes() -> dict[str, Any]:
    """Return scikit-learn's classifiers by name: those that have predict_proba and need no parameter."""
    from sklearn.utils import all_estimators

    classes = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # some are deprecated
        for name, classifier_class in all_estimators(type_filter="classifier"):
            needs_parameter = any(
                parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD
                for parameter in signature(classifier_class).parameters.values()
            )
            if not needs_parameter and hasattr(classifier_class(), "predict_proba"):
                classes[name] = classifier_class
    return classes
