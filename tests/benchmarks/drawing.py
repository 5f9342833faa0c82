"""CPU seconds that the pages of the S&P 500 take to draw, in one process that has drawn before.

python tests/benchmarks/drawing.py [--profile FILE] [--output DIR]

Each page is drawn five times from a context that has computed nothing yet, and the least is shown. With --profile, the
profile of one more round is written, for `python -m pstats FILE`.
"""

from __future__ import annotations

import argparse
import cProfile
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import quantlr
from quantlr.report.pages import pages_to_draw, warm_up_fonts

from benchmarks.measured import Row, parse_options, report_rows, rounded

ROOT = Path(__file__).parents[2]
REPEATS = 5


def drawing_seconds(run: quantlr.Run) -> dict[str, float]:
    """Return the CPU seconds of each page by name."""
    context, seconds = run.page_context, {}
    for page in pages_to_draw(context):
        started = time.process_time()
        page.render_picture(context)
        seconds[page.name] = time.process_time() - started
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", type=Path)
    options = parse_options(parser)
    run = quantlr.run(ROOT / "configs/sp500_daily.yaml")
    warm_up_fonts()
    rounds = [drawing_seconds(run) for _ in range(REPEATS)]
    least = {name: min(seconds[name] for seconds in rounds) for name in rounds[0]}
    rows: list[Row] = [{"page": name, "CPU seconds": rounded(seconds)} for name, seconds in least.items()]
    report_rows("drawing", [*rows, {"page": "all", "CPU seconds": rounded(sum(least.values()))}], options)
    if options.profile:
        with cProfile.Profile(time.process_time) as profile:
            drawing_seconds(run)
        profile.dump_stats(options.profile)


if __name__ == "__main__":
    main()
