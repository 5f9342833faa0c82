"""How long a run takes from nothing, against what importing its libraries takes anyway.

python tests/benchmarks/cold_start.py [--output DIR]

Each is started in a new interpreter, in turn, seven times; medians of the seconds are compared, and the least CPU
seconds of a process and its children, which depend less on what else the machine does. A first time, which is not
counted, leaves the bytecode behind that an installed program has. The bars: a run of the S&P 500 with all its pages and
its HTML under 5 times the imports, its plan under a second, help under 0.3 seconds.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.measured import Row, parse_options, report_rows, rounded

ROOT = Path(__file__).parents[2]
REPEATS = 7
BAR = 5
IMPORTS, RUN = "import pandas, pyarrow, matplotlib.figure", "quantlr run"
COMPILED = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def seconds(*arguments: str) -> tuple[float, float]:
    """Return the seconds that a command takes, and its CPU seconds."""
    started, cpu_before = time.perf_counter(), _children_cpu_seconds()
    subprocess.run([sys.executable, *arguments], cwd=ROOT, env=COMPILED, check=True, capture_output=True)
    return time.perf_counter() - started, _children_cpu_seconds() - cpu_before


def _children_cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    options = parse_options(argparse.ArgumentParser(description=__doc__.partition("\n")[0]))
    with tempfile.TemporaryDirectory() as output:
        config = ("configs/sp500_daily.yaml", "--output", output)
        jobs = {
            IMPORTS: ("-c", IMPORTS),
            RUN: ("-m", "quantlr", "run", *config, "--quiet"),
            f"{RUN} --pages tearsheet": ("-m", "quantlr", "run", *config, "--quiet", "--pages", "tearsheet"),
            "quantlr plan": ("-m", "quantlr", "plan", *config),
            "quantlr --help": ("-m", "quantlr", "--help"),
        }
        for arguments in jobs.values():
            seconds(*arguments)
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in jobs}
        for _ in range(REPEATS):
            for name, arguments in jobs.items():
                taken[name].append(seconds(*arguments))
    middle = {name: statistics.median(elapsed for elapsed, _ in times) for name, times in taken.items()}
    rows: list[Row] = [
        {
            "command": f"`{name}`",
            "seconds (median)": rounded(middle[name]),
            "range": f"{min(times)[0]:.2g} to {max(times)[0]:.2g}",
            "CPU seconds (least)": rounded(min(cpu for _, cpu in times)),
        }
        for name, times in taken.items()
    ]
    report_rows("cold_start", rows, options)
    print(f"a run takes {middle[RUN] / middle[IMPORTS]:.2f} times the imports; the bar is {BAR}")


if __name__ == "__main__":
    main()
