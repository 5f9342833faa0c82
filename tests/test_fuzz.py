"""The short form of the fuzz job: a few seeds of every kind, and all seeds that once failed."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from benchmarks.fuzz import ATTACKS, FAILED_SEEDS, counts_page, run_attack

N_SEEDS = {"prices": 40, "config": 10, "report": 3, "store": 150, "ledger": 60, "yahoo": 6}


@pytest.mark.parametrize("kind", ATTACKS)
def test_damaged_inputs_are_used_or_refused(tmp_path: Path, kind: str) -> None:
    seeds = {*range(N_SEEDS[kind]), *(seed for failed_kind, seed in FAILED_SEEDS if failed_kind == kind)}
    with ExitStack() as stack:
        attack = ATTACKS[kind](tmp_path, stack)
        tracebacks = [text for seed in sorted(seeds) if (text := run_attack(attack, kind, seed))]
    assert not tracebacks, tracebacks[0]


def test_the_page_of_counts_has_every_kind_and_is_the_one_in_the_documentation() -> None:
    page = counts_page(dict.fromkeys(ATTACKS, 1234), [("ledger", 5)], seconds=300, first=0)
    assert page.count("| 1,234 | 0 |") == len(ATTACKS) - 1
    assert page.count("| 1,234 | 1 |") == 1
    written = (Path(__file__).parents[1] / "docs/damaged-inputs.md").read_text()
    assert [line.split("|")[1] for line in written.splitlines() if line.startswith("| ")] == [
        line.split("|")[1] for line in page.splitlines() if line.startswith("| ")
    ]
    assert written.count("| 0 |") == len(ATTACKS), "a kind that fails is mended before its counts are published"
