"""What a benchmark finds, as it is written to JSON."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.jobs import Memory
from benchmarks.measures import Point
from benchmarks.peers import Contender


@dataclass(frozen=True, slots=True)
class Rival:
    """A peer's loop against quantlr's walk.

    Attributes
    ----------
    contender : the peer at its best.
    processes : that share the loop out.
    fits_timed : of the job's fits; 0 for a peer that is not accurate.
    estimated : whether `repeats` are these fits' seconds times the number of all fits over theirs.
    repeats, seconds : of the whole loop, each time and their median.
    ratio : how many times longer than quantlr's walk that is.
    bar : what the ratio must be at least, None for none.
    met : whether it is; None without a bar.
    """

    contender: Contender
    processes: int
    fits_timed: int
    estimated: bool
    repeats: list[float]
    seconds: float | None
    ratio: float | None
    bar: float | None
    met: bool | None


@dataclass(frozen=True, slots=True)
class Limit:
    """A bar that is no ratio: what was found, in its unit, and the most that it may be."""

    what: str
    unit: str
    found: float
    bar: float
    met: bool


@dataclass(frozen=True, slots=True)
class Result:
    """What a job came to.

    Attributes
    ----------
    job, text : its name, and what it is.
    fits, pairs : refits, and pairs of a refit and a row that trains it.
    cores : that the walk may use.
    compared : refits at which answers were compared.
    error : largest difference there of quantlr's probabilities from the optimum's.
    gradient : largest component of the gradient that quantlr leaves there; None where that is not compared.
    unconverged : refits that did not converge.
    repeats, seconds : of the walk, each time and their median.
    passes : mean updates of a refit.
    pass_cost : seconds of one pass of one pair on one core.
    floor : seconds of one pass of every pair on all the cores.
    above_floor : how many times longer the walk takes.
    rivals : the peers.
    limits : the bars that are no ratios.
    memory : of the walk; None where no bar is set on it.
    curve, slope : seconds as pairs grow, and the power of the pairs that they grow by.
    """

    job: str
    text: str
    fits: int
    pairs: int
    cores: int
    compared: int
    error: float
    gradient: float | None
    unconverged: int
    repeats: list[float]
    seconds: float
    passes: float
    pass_cost: float
    floor: float
    above_floor: float
    rivals: list[Rival]
    limits: list[Limit]
    memory: Memory | None
    curve: list[Point]
    slope: float | None
