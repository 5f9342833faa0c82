"""The short form of the fuzz job: a few seeds of every kind, and all seeds that once failed."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from benchmarks.fuzz import ATTACKS, FAILED_SEEDS, run_attack

N_SEEDS = {"prices": 40, "config": 10, "report": 3, "store": 150, "ledger": 60, "yahoo": 6}


@pytest.mark.parametrize("kind", ATTACKS)
def test_damaged_inputs_are_used_or_refused(tmp_path: Path, kind: str) -> None:
    seeds = {*range(N_SEEDS[kind]), *(seed for failed_kind, seed in FAILED_SEEDS if failed_kind == kind)}
    with ExitStack() as stack:
        attack = ATTACKS[kind](tmp_path, stack)
        tracebacks = [text for seed in sorted(seeds) if (text := run_attack(attack, kind, seed))]
    assert not tracebacks, tracebacks[0]
