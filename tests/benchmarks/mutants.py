"""How many changes of the formulas are noticed by a test: the counts of mutmut, written into the documentation.

nice mutmut run
python tests/benchmarks/mutants.py --write docs/mutants.md

A mutant is the code with one small change: another operator, number, argument or word. It is killed if a test fails.
The results that mutmut keeps in mutants/ are read, so that the counts are those of all runs since it was made.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

PACKAGES = ("stats", "backtest", "model")
RESULTS = ("killed", "timeout", "survived", "no tests")
"""Results of mutmut that are counted; another one is "not checked"."""
PAGE = """# Mutation tests

<!-- Written by python tests/benchmarks/mutants.py --write docs/mutants.md -->

[mutmut](https://mutmut.readthedocs.io) changes `stats/`, `backtest/` and `model/` in one place after another, in
{total:,} all together: another operator, number, argument or word. A change is noticed if a test fails or does not end.

| package | changes | tried | a test failed | did not end | survived | reached by no test | noticed |
| --- | --- | --- | --- | --- | --- | --- | --- |
{rows}

Where fewer were tried than there are, they are not drawn at random: mutmut begins with those whose tests are quickest.
Those of `stats/` and `backtest/` were tried with the tests of both, those of `model/` with its own alone.

The survivors were read. Most of those in `stats/` and `backtest/` that change a number or a decision have a test since,
and of those in `model/` some; the others are of these kinds:

- The result is the same for every input: a horizon of 2 for 1 in the cosine test, which gives as many frequencies; the
  kind of a sort whose ties get one value; `dtype=None` for values of that type; `strict` of a `zip` of equal lengths;
  `<` for `<=` where both sides give the limit itself.
- A guard against rounding of which one half suffices: constant forecasts are known by their rate and by their variance.
- The format `F` for `f`, which differ for infinity alone.
- Words of a sentence: tests look for its numbers and its subject, and do not repeat it.
- Speed alone: the size of a chunk, the number of threads, the start of an iteration.
"""


def count_results(lines: Iterable[str]) -> dict[str, Counter[str]]:
    """Return the number of mutants of each package by result, from the lines of ``mutmut results --all true``."""
    counts: dict[str, Counter[str]] = {package: Counter() for package in PACKAGES}
    for line in lines:
        match = re.fullmatch(r"\s*quantlr\.(\w+)\.\S+: (.+)", line)
        if match and match[1] in counts:
            counts[match[1]][match[2]] += 1
    return counts


def counts_page(counts: Mapping[str, Counter[str]]) -> str:
    """Return the page of the documentation with the counts of each package."""
    rows = []
    for package, count in counts.items():
        numbers = [count[result] for result in RESULTS]
        tried, noticed = sum(numbers), count["killed"] + count["timeout"]
        cells = " | ".join(f"{number:,}" for number in (count.total(), tried, *numbers))
        rows.append(f"| `{package}/` | {cells} | {noticed / max(tried, 1):.1%} |")
    return PAGE.format(rows="\n".join(rows), total=sum(count.total() for count in counts.values()))


def main() -> int:
    """Print the page, or write it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--write", type=Path, help="page of the documentation that the counts are written to")
    arguments = parser.parse_args()
    command = [str(Path(sys.executable).parent / "mutmut"), "results", "--all", "true"]
    page = counts_page(count_results(subprocess.check_output(command, text=True).splitlines()))
    if arguments.write:
        arguments.write.write_text(page, encoding="utf-8")
    else:
        print(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
