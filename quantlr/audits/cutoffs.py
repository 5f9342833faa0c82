"""Cutoff sessions of an audit: at the boundaries of folds, and a few sessions after them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from quantlr.model.walk_forward import ModelSplit

CutoffCount = int | Literal["auto", "all"]
DEFAULT_FULL_CHECK_BOUNDARIES = 16
"""Boundaries with every scenario under "auto", of however many."""
MAX_MIRROR_CHECK_BOUNDARIES = 400
"""Number of boundaries up to which "auto" checks all others too, with one scenario."""
MAX_INPUT_CHECKS_PER_BOUNDARY = 6
"""Sessions after a boundary at which features and label are checked, at most; spread over one horizon."""


@dataclass(frozen=True, slots=True, order=True)
class FoldBoundary:
    """A session after which the prices are replaced, at or after the start of a fold.

    Attributes
    ----------
    session : position of the last session that is not replaced.
    split_index : position of the model whose refits are checked.
    """

    session: int
    split_index: int


@dataclass(frozen=True, slots=True)
class AuditSchedule:
    """Sessions after which the prices are replaced.

    Attributes
    ----------
    full_check_boundaries : at which every stage is checked, with every scenario.
    mirror_check_boundaries : further ones, at which models are checked with mirrored returns only.
    input_check_sessions : positions at which features and label are checked, ascending; all others included.
    """

    full_check_boundaries: tuple[FoldBoundary, ...]
    mirror_check_boundaries: tuple[FoldBoundary, ...]
    input_check_sessions: tuple[int, ...]


def make_audit_schedule(
    splits: Sequence[ModelSplit],
    *,
    n_sessions: int,
    horizon: int,
    n_cutoffs: CutoffCount,
    rng: np.random.Generator,
    n_default: int = DEFAULT_FULL_CHECK_BOUNDARIES,
    max_mirror_checks: int = MAX_MIRROR_CHECK_BOUNDARIES,
) -> AuditSchedule:
    """Return the cutoffs of an audit.

    One cutoff is the first session that a refit forecasts: its training labels must be known by then. Another is one to
    `horizon` sessions later, where labels that the purge excluded become known. Of more boundaries than `n_cutoffs`
    the first and the last are kept, and the others sampled; of fewer, sessions between the first and the last forecast
    are sampled too. "auto" keeps `n_default`, and checks each of the others once, where they are at most
    `max_mirror_checks`.

    Features and label are cheap to check: also between boundaries, and from the first sessions on, where their windows
    are not full yet.
    """
    last = n_sessions - 2  # the last session after which there is a price to replace
    boundaries = sorted(
        FoldBoundary(session, index)
        for index, split in enumerate(splits)
        for session in split.first_session.tolist()
        if session <= last
    )
    n_full = len(boundaries) if n_cutoffs == "all" else n_default if n_cutoffs == "auto" else n_cutoffs
    chosen = _first_last_and_sampled_boundaries(boundaries, n_full, rng)
    mirrored = n_cutoffs == "auto" and len(boundaries) <= max_mirror_checks
    once = sorted(set(boundaries) - set(chosen)) if mirrored else []
    full = set(chosen)
    for boundary in chosen:
        later = boundary.session + int(rng.integers(1, horizon + 1))
        full.add(FoldBoundary(min(later, last), boundary.split_index))
    for _ in range(n_full - len(chosen)):
        index = int(rng.integers(len(splits)))
        first = int(splits[index].first_session[0])
        if first <= last:
            full.add(FoldBoundary(int(rng.integers(first, last + 1)), index))
    n_steps = min(MAX_INPUT_CHECKS_PER_BOUNDARY, horizon + 1)
    steps = np.unique(np.linspace(0, horizon, n_steps).round().astype(np.int64)).tolist()
    sessions = {boundary.session + step for boundary in (*chosen, *once) for step in steps}
    sessions |= {2**power for power in range(n_sessions.bit_length())} | {0, last}
    sessions |= {boundary.session for boundary in full}
    return AuditSchedule(
        tuple(sorted(full)), tuple(once), tuple(sorted(session for session in sessions if 0 <= session <= last))
    )


def _first_last_and_sampled_boundaries(
    boundaries: list[FoldBoundary], n_boundaries: int, rng: np.random.Generator
) -> list[FoldBoundary]:
    """Return the first and the last boundary and a sample of the others, in order."""
    if len(boundaries) <= n_boundaries:
        return boundaries
    inner = 1 + np.sort(rng.choice(len(boundaries) - 2, size=max(n_boundaries - 2, 0), replace=False))
    return [boundaries[index] for index in [0, *inner.tolist(), len(boundaries) - 1][:n_boundaries]]
