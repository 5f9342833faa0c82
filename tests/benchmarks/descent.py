"""How long the descent takes, against libraries that fit one logistic regression at a time.

pip install -e ".[bench]"
python tests/benchmarks/descent.py [--job NAME]... [--quick] [--output DIR]

Before anything is timed, answers must agree: at refits spread over the walk, the forecasts of quantlr and of every peer
are within 1e-7 of the optimum, which is scikit-learn's newton-cholesky at a tolerance of 1e-12. Each peer is given the
loosest tolerance at which it is, and the number of threads that suits it; one that never is, is named and not timed.
Then quantlr's walk, from features to forecasts, and each peer's loop, fit and forecast, are timed in turns, and medians
compared. A loop too long to be timed whole is estimated from fits spread evenly over it, and said to be. The floor is
one pass of X @ Theta, tanh and X' @ R over every pair of a refit and a row that trains it: no descent does with less.

It writes descent.json; with --job the other jobs in that file stay.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[1]))

if TYPE_CHECKING:
    from benchmarks.results import Result, Rival

# The processes that a walk starts read this file again: what is slow to import is imported where it is used.

LIBRARIES = ("quantlr", "numpy", "scipy", "scikit-learn", "statsmodels", "glum", "skglm")


def main() -> int:
    from benchmarks.jobs import catalogue
    from benchmarks.race import Disagreement, run

    options = _options()
    path = Path(options.output) / "descent.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    if not options.job:
        path.unlink(missing_ok=True)
    results: list[Result] = []
    disagreed = False
    for name, job in catalogue(quick=options.quick).items():
        if options.job and name not in options.job:
            continue
        try:
            results.append(run(name, job, quick=options.quick, say=_say))
        except Disagreement as error:
            _say(f"{name}: {error}; not timed")
            disagreed = True
            continue
        _write(results, path, quick=options.quick)
    print("\n".join(tables(results)))
    _say(f"wrote {path}")
    return int(disagreed)


def tables(results: Sequence[Result]) -> Iterator[str]:
    """Yield the lines of three tables: the walks, the peers, and the bars that are no ratios."""
    from benchmarks.jobs import MEGABYTE

    yield f"{'job':15}{'fits':>10}{'cores':>6}{'quantlr':>11}{'passes':>8}{'floor':>11}{'over it':>9}{'error':>10}"
    for one in results:
        yield (
            f"{one.job:15}{one.fits:>10,}{one.cores:>6}{one.seconds:>9.3f} s{one.passes:>8.2f}{one.floor:>9.3f} s"
            f"{one.above_floor:>8.1f}x{one.error:>10.1e}"
        )
    yield ""
    yield (
        f"{'job':15}{'peer':31}{'error':>8}{'tol':>8}{'threads':>9}{'seconds':>10}  {'timed':18}{'ratio':>8}{'bar':>7}"
    )
    yield from (f"{one.job:15}{_against(rival)}" for one in results for rival in one.rivals)
    yield ""
    for one in results:
        for limit in one.limits:
            found = f"{limit.found:,.3g} {limit.unit}".strip()
            yield f"{one.job:15}{limit.what} {found}, at most {limit.bar:,.4g}: {_verdict(limit.met)}"
        if one.memory:
            above, features = one.memory.peak - one.memory.panel, one.memory.features
            yield (
                f"{'':15}the panel {one.memory.panel / MEGABYTE:,.0f} MB, its features {features / MEGABYTE:,.0f} MB, "
                f"forecasts {one.memory.forecasts / MEGABYTE:,.0f} MB; the peak is {above / MEGABYTE:,.0f} MB above "
                "the panel"
            )


def _against(rival: Rival) -> str:
    one = rival.contender
    if one.tolerance is None or rival.seconds is None or rival.ratio is None:
        return f"{one.peer:31}{one.error:>8.0e}  not accurate at any tolerance, and not timed"
    shared = f"{rival.processes} x {one.threads}" if rival.processes > 1 else str(one.threads)
    timed = f"estimate, {rival.fits_timed} fits" if rival.estimated else "whole"
    bar = "" if rival.bar is None or rival.met is None else f"{rival.bar:>6.0f}x  {_verdict(rival.met)}"
    return (
        f"{one.peer:31}{one.error:>8.0e}{one.tolerance:>8.0e}{shared:>9}{rival.seconds:>10.2f}  {timed:18}"
        f"{rival.ratio:>7.1f}x{bar}"
    )


def _verdict(met: bool) -> str:
    return "met" if met else "MISSED"


def _write(results: Sequence[Result], path: Path, *, quick: bool) -> None:
    from benchmarks.measured import with_entries

    found = with_entries(path, "jobs", [asdict(result) for result in results], by="job")
    path.write_text(json.dumps(found | {"machine": _machine(), "quick": quick}, indent=2) + "\n")


def _machine() -> dict[str, Any]:
    from threadpoolctl import threadpool_info

    from benchmarks.measured import machine

    return machine() | {
        "system": platform.system(),
        "blas": [f"{pool['internal_api']} {pool['version']}" for pool in threadpool_info()],
        "versions": {name: _version(name) for name in LIBRARIES},
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _options() -> argparse.Namespace:
    from benchmarks.jobs import catalogue

    parser = argparse.ArgumentParser(description="How long the descent takes, against its peers.")
    parser.add_argument(
        "--job", action="append", choices=list(catalogue(quick=True)), help="only this; may be repeated"
    )
    parser.add_argument("--quick", action="store_true", help="a smaller panel and fewer repeats: a minute")
    parser.add_argument(
        "--output", metavar="DIR", default="reports/benchmarks", help="where to write (default: %(default)s)"
    )
    return parser.parse_args()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
