"""Where the future is cut off: at the boundaries of folds, and a few sessions after them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from quantlr.model.journey import Journey

HowMany = int | Literal["auto", "all"]
AUTO = 16
"""Boundaries that are looked at with every future unless told, of however many."""
ONCE = 400
"""Boundaries up to which the others are looked at too, with one future, unless told."""
NEAR = 6
"""Sessions after a boundary at which features and label are looked at, at most; spread over one horizon."""


@dataclass(frozen=True, slots=True)
class Boundary:
    """A session after which everything is looked at.

    Attributes
    ----------
    session : position of the cut; what follows is replaced.
    journey : position of the model whose refits are walked to.
    """

    session: int
    journey: int


@dataclass(frozen=True, slots=True)
class Cuts:
    """The sessions after which the future is replaced.

    Attributes
    ----------
    whole : those after which everything is looked at.
    once : further boundaries, that are walked to from the mirror image of what came.
    inputs : (n,) positions of those after which features and label are, ascending; the whole ones included.
    """

    whole: tuple[Boundary, ...]
    once: tuple[Boundary, ...]
    inputs: tuple[int, ...]


def choose(
    journeys: Sequence[Journey], *, sessions: int, horizon: int, how_many: HowMany, rng: np.random.Generator
) -> Cuts:
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
        Boundary(int(session), number)
        for number, journey in enumerate(journeys)
        for session in journey.session.tolist()
        if session < sessions - 1
    ]
    there.sort(key=_place)
    wanted = len(there) if how_many == "all" else AUTO if how_many == "auto" else how_many
    chosen = _drawn(there, wanted, rng)
    once = sorted(set(there) - set(chosen), key=_place) if how_many == "auto" and len(there) <= ONCE else []
    whole = {cut for boundary in chosen for cut in (boundary, _after(boundary, sessions, horizon, rng))}
    whole |= _between(journeys, sessions, wanted - len(chosen), rng)
    near = np.unique(np.linspace(0, horizon, min(NEAR, horizon + 1)).round().astype(np.int64))
    inputs = {boundary.session + int(step) for boundary in (*chosen, *once) for step in near}
    inputs |= {2**power for power in range(sessions.bit_length())} | {0, sessions - 2}
    inputs |= {boundary.session for boundary in whole}
    return Cuts(
        tuple(sorted(whole, key=_place)),
        tuple(once),
        tuple(sorted(session for session in inputs if 0 <= session < sessions - 1)),
    )


def _place(boundary: Boundary) -> tuple[int, int]:
    return boundary.session, boundary.journey


def _drawn(there: list[Boundary], how_many: int, rng: np.random.Generator) -> list[Boundary]:
    if len(there) <= how_many:
        return there
    inner = 1 + np.sort(rng.choice(len(there) - 2, size=max(how_many - 2, 0), replace=False))
    return [there[at] for at in [0, *inner.tolist(), len(there) - 1][:how_many]]


def _after(boundary: Boundary, sessions: int, horizon: int, rng: np.random.Generator) -> Boundary:
    """Return a cut one to `horizon` sessions after a boundary."""
    return Boundary(min(boundary.session + int(rng.integers(1, horizon + 1)), sessions - 2), boundary.journey)


def _between(journeys: Sequence[Journey], sessions: int, how_many: int, rng: np.random.Generator) -> set[Boundary]:
    """Return cuts anywhere between a model's first forecast and the end."""
    found: set[Boundary] = set()
    for _ in range(how_many):
        number = int(rng.integers(len(journeys)))
        first = int(journeys[number].session[0])
        if first < sessions - 1:
            found.add(Boundary(int(rng.integers(first, sessions - 1)), number))
    return found
