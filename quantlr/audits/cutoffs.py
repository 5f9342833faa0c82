"""Where the future is cut off: at the boundaries of folds, and a few sessions after them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from quantlr.model.walk_forward import ModelSplit

CutoffCount = int | Literal["auto", "all"]
DEFAULT_FULL_CHECK_BOUNDARIES = 16
"""Boundaries that are looked at with every future unless told, of however many."""
MAX_MIRROR_CHECK_BOUNDARIES = 400
"""Boundaries up to which the others are looked at too, with one future, unless told."""
MAX_INPUT_CHECKS_PER_BOUNDARY = 6
"""Sessions after a boundary at which features and label are looked at, at most; spread over one horizon."""


@dataclass(frozen=True, slots=True)
class FoldBoundary:
    """A session after which everything is looked at.

    Attributes
    ----------
    session : position of the cut; what follows is replaced.
    journey : position of the model whose refits are walked to.
    """

    session: int
    split_index: int


@dataclass(frozen=True, slots=True)
class AuditSchedule:
    """The sessions after which the future is replaced.

    Attributes
    ----------
    whole : those after which everything is looked at.
    once : further boundaries, that are walked to from the mirror image of what came.
    inputs : (n,) positions of those after which features and label are, ascending; the whole ones included.
    """

    full_check_boundaries: tuple[FoldBoundary, ...]
    mirror_check_boundaries: tuple[FoldBoundary, ...]
    input_check_sessions: tuple[int, ...]


def make_audit_schedule(
    splits: Sequence[ModelSplit], *, n_sessions: int, horizon: int, n_cutoffs: CutoffCount, rng: np.random.Generator
) -> AuditSchedule:
    """Return the cuts of an audit.

    A cut is made where a refit forecasts first: what trains it must be known by then, and nothing else may be. Another
    is made one to `horizon` sessions on, where the labels that the purge kept back come to be known. Of more
    boundaries than `how_many` the first and the last are kept, and others drawn; with fewer, sessions between the
    first forecast and the last are drawn besides. "auto" keeps a few, and of the others, where they are not
    thousands, looks at each once.

    Features and label are cheap: they are also looked at in between, and from the first sessions on, where windows
    have not filled yet.
    """
    there = [
        FoldBoundary(int(session), number)
        for number, journey in enumerate(splits)
        for session in journey.first_session.tolist()
        if session < n_sessions - 1
    ]
    there.sort(key=_boundary_sort_key)
    wanted = len(there) if n_cutoffs == "all" else DEFAULT_FULL_CHECK_BOUNDARIES if n_cutoffs == "auto" else n_cutoffs
    chosen = _sample_boundaries(there, wanted, rng)
    once = (
        sorted(set(there) - set(chosen), key=_boundary_sort_key)
        if n_cutoffs == "auto" and len(there) <= MAX_MIRROR_CHECK_BOUNDARIES
        else []
    )
    whole = {
        cut for boundary in chosen for cut in (boundary, _random_boundary_after(boundary, n_sessions, horizon, rng))
    }
    whole |= _random_boundaries(splits, n_sessions, wanted - len(chosen), rng)
    near = np.unique(np.linspace(0, horizon, min(MAX_INPUT_CHECKS_PER_BOUNDARY, horizon + 1)).round().astype(np.int64))
    inputs = {boundary.session + int(step) for boundary in (*chosen, *once) for step in near}
    inputs |= {2**power for power in range(n_sessions.bit_length())} | {0, n_sessions - 2}
    inputs |= {boundary.session for boundary in whole}
    return AuditSchedule(
        tuple(sorted(whole, key=_boundary_sort_key)),
        tuple(once),
        tuple(sorted(session for session in inputs if 0 <= session < n_sessions - 1)),
    )


def _boundary_sort_key(boundary: FoldBoundary) -> tuple[int, int]:
    return boundary.session, boundary.split_index


def _sample_boundaries(
    boundaries: list[FoldBoundary], n_boundaries: int, rng: np.random.Generator
) -> list[FoldBoundary]:
    if len(boundaries) <= n_boundaries:
        return boundaries
    inner = 1 + np.sort(rng.choice(len(boundaries) - 2, size=max(n_boundaries - 2, 0), replace=False))
    return [boundaries[at] for at in [0, *inner.tolist(), len(boundaries) - 1][:n_boundaries]]


def _random_boundary_after(
    boundary: FoldBoundary, n_sessions: int, horizon: int, rng: np.random.Generator
) -> FoldBoundary:
    """Return a cut one to `horizon` sessions after a boundary."""
    return FoldBoundary(min(boundary.session + int(rng.integers(1, horizon + 1)), n_sessions - 2), boundary.split_index)


def _random_boundaries(
    splits: Sequence[ModelSplit], n_sessions: int, n_boundaries: int, rng: np.random.Generator
) -> set[FoldBoundary]:
    """Return cuts anywhere between a model's first forecast and the end."""
    found: set[FoldBoundary] = set()
    for _ in range(n_boundaries):
        number = int(rng.integers(len(splits)))
        first = int(splits[number].first_session[0])
        if first < n_sessions - 1:
            found.add(FoldBoundary(int(rng.integers(first, n_sessions - 1)), number))
    return found
