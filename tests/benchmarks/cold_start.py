"""How long a run takes from nothing, against what importing its libraries takes anyway.

python tests/benchmarks/cold_start.py

Each is started in a new interpreter, in turn, seven times; medians are compared. A first time, which is not counted,
leaves the bytecode behind that an installed program has. The bars: a run of the S&P 500 with all its pages and its HTML
under 5 times the imports, its plan under a second, help under 0.3 seconds.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
REPEATS = 7
BAR = 5
COMPILED = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def seconds(*arguments: str) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, *arguments], cwd=ROOT, env=COMPILED, check=True, capture_output=True)
    return time.perf_counter() - started


def main() -> None:
    with tempfile.TemporaryDirectory() as output:
        jobs = {
            "imports": ("-c", "import pandas, pyarrow, matplotlib.figure"),
            "run": ("-m", "quantlr", "run", "configs/sp500_daily.yaml", "--output", output, "--quiet"),
            "plan": ("-m", "quantlr", "plan", "configs/sp500_daily.yaml", "--output", output),
            "help": ("-m", "quantlr", "--help"),
        }
        for arguments in jobs.values():
            seconds(*arguments)
        taken: dict[str, list[float]] = {name: [] for name in jobs}
        for _ in range(REPEATS):
            for name, arguments in jobs.items():
                taken[name].append(seconds(*arguments))
    middle = {name: statistics.median(times) for name, times in taken.items()}
    for name, value in middle.items():
        print(f"{name:8} {value:6.2f} s   {min(taken[name]):.2f} to {max(taken[name]):.2f}")
    print(f"a run takes {middle['run'] / middle['imports']:.2f} times the imports; the bar is {BAR}")


if __name__ == "__main__":
    main()
