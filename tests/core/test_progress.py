"""Progress counters report the start of a stage and each completed step."""

from __future__ import annotations

from quantlr.core.progress import ProgressCounter


def test_a_counter_reports_the_start_and_each_step() -> None:
    reports: list[tuple[str, int, int]] = []
    counter = ProgressCounter("fitting", 2, lambda stage, *, done, total: reports.append((stage, done, total)))
    assert [(item, len(reports)) for item in counter.iter_items((5, 6))] == [(5, 1), (6, 2)]
    assert reports == [("fitting", 0, 2), ("fitting", 1, 2), ("fitting", 2, 2)]
    counter = ProgressCounter("x", 1, lambda stage, *, done, total: reports.append((stage, done, total)))
    counter.step()
    assert reports[-2:] == [("x", 0, 1), ("x", 1, 1)]
