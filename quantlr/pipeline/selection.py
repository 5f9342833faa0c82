"""The walk-forwards of the candidates that a config chooses among, on one dataset.

Each entry of ``features`` that any candidate has is computed once, and all candidates have the same rows: those after
the longest warm-up. The walk-forward of a candidate is otherwise that of its own config.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np

from quantlr.config.candidates import Candidate
from quantlr.config.run_config import RunConfig
from quantlr.core.errors import UserError
from quantlr.core.progress import Progress, ProgressCounter
from quantlr.core.timing import label_cutoff_row, label_lag
from quantlr.core.values import Dataset, FeatureColumns, Prices
from quantlr.data.features import Feature
from quantlr.model.candidates import (
    CandidateForecasts,
    ChooseFunction,
    SelectedForecasts,
    WeighFunction,
    select_forecasts,
    take_columns,
)
from quantlr.model.selection import SelectSpec
from quantlr.model.walk_forward import WalkForwardFunctions, walk_forward

ColumnNames = tuple[tuple[str, ...], ...]
"""Names of the columns of each entry of the features, as the entry itself names them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedDataset(Dataset):
    """Rows with the columns of all candidates.

    Attributes
    ----------
    entry_names : names of the columns of each distinct entry of the features, in the order of the columns; in `columns`
        a name that occurs a second time has a number after it.
    """

    entry_names: ColumnNames


def distinct_features(candidates: Sequence[Candidate]) -> tuple[Feature, ...]:
    """Return the entries of ``features`` of all candidates, each once, in the order of their first occurrence."""
    distinct: list[Feature] = []
    for candidate in candidates:
        distinct += [feature for feature in candidate.config.features if feature not in distinct]
    return tuple(distinct)


def compute_shared_columns(
    prices: Prices, features: Sequence[Feature], compute: Callable[..., FeatureColumns]
) -> tuple[FeatureColumns, ColumnNames]:
    """Return the columns of entries of the features, and the names that each entry gives them.

    Parameters
    ----------
    compute : (prices, features) to columns.
    """
    columns: FeatureColumns = {}
    entry_names = []
    for feature in features:
        own = compute(prices, [feature])
        for name, values in own.items():
            shared_name, number = name, 1
            while shared_name in columns:
                number += 1
                shared_name = f"{name} ({number})"
            columns[shared_name] = values
        entry_names.append(tuple(own))
    return columns, tuple(entry_names)


def share_dataset(dataset: Dataset, entry_names: ColumnNames) -> SharedDataset:
    """Return a dataset as one whose columns candidates share."""
    values = {field.name: getattr(dataset, field.name) for field in fields(dataset)}
    return SharedDataset(**values, entry_names=entry_names)


def candidate_columns(
    candidates: Sequence[Candidate], entry_names: ColumnNames
) -> tuple[tuple[tuple[int, ...], tuple[str, ...]], ...]:
    """Return the columns of each candidate in the shared dataset, and their names in its own config."""
    entries, stops = distinct_features(candidates), np.cumsum([len(names) for names in entry_names]).tolist()
    result = []
    for candidate in candidates:
        columns: list[int] = []
        names: list[str] = []
        for feature in candidate.config.features:
            index = entries.index(feature)
            columns += range(stops[index] - len(entry_names[index]), stops[index])
            names += entry_names[index]
        result.append((tuple(columns), tuple(names)))
    return tuple(result)


def walk_forward_candidates(
    candidates: Sequence[Candidate],
    dataset: SharedDataset,
    functions: WalkForwardFunctions,
    *,
    sessions_per_year: int,
    workers: int,
    progress: Progress,
) -> list[CandidateForecasts]:
    """Return the forecasts of each candidate.

    Parameters
    ----------
    dataset : with the columns of all of them.
    functions : of each walk-forward.
    sessions_per_year : of the prices.
    workers, progress : as in `walk_forward`; a step is a candidate.

    Raises
    ------
    As `walk_forward`, with the name of the candidate in front.
    """
    forecasts = []
    counter = ProgressCounter("fitting candidates", len(candidates), progress)
    newest: tuple[tuple[int, ...], Dataset] | None = None
    for candidate, (indices, names) in zip(candidates, candidate_columns(candidates, dataset.entry_names), strict=True):
        if newest is None or newest[0] != indices:
            newest = indices, take_columns(dataset, indices, names)
        spec = candidate.config.walk_forward.resolve(sessions_per_year)
        try:
            own = walk_forward(newest[1], spec, candidate.config.model, functions, workers=workers)
        except UserError as error:
            raise type(error)(f"candidate {candidate.name}: {error.message}", key=error.key) from error
        forecasts.append(CandidateForecasts.from_forecasts(own))
        counter.step()
    return forecasts


def choose_function(
    config: RunConfig, entry_names: ColumnNames, weigh: WeighFunction, *, sessions_per_year: int
) -> ChooseFunction:
    """Return the function that makes a config's forecasts from those of its candidates.

    Parameters
    ----------
    entry_names : of the `SharedDataset`.
    weigh : as in `select_forecasts`.
    sessions_per_year : of the prices.
    """
    candidates = config.candidates()
    embargo = max(candidate.config.walk_forward.embargo for candidate in candidates)
    refit_every = config.walk_forward.fold_sizes(sessions_per_year)[1]

    def choose(dataset: Dataset, forecasts: Sequence[CandidateForecasts]) -> SelectedForecasts:
        delay = label_lag(dataset.horizon, label_delay=dataset.label_delay) - label_cutoff_row(0, embargo=embargo)
        has_other_markets = bool((dataset.label_known_to_all_at != dataset.label_known_at).any())
        return select_forecasts(
            dataset,
            forecasts,
            config.selection or SelectSpec(),
            refit_every=refit_every or len(dataset.sessions),
            lag=delay + has_other_markets,
            embargo=embargo,
            dataset_columns=candidate_columns(candidates, entry_names),
            weigh=weigh,
        )

    return choose
