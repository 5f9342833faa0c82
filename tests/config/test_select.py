"""Errors of `select` have the place of the value, and candidates are what a config of their own would be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from quantlr.config.run_config import load_config
from quantlr.core.errors import ConfigError
from quantlr.data.features import LaggedReturns
from quantlr.model.sklearn_classifier import SklearnClassifier

SMALL = """\
data: {source: {kind: sample}, tickers: [MSFT]}
features: [{kind: lagged_returns, lags: [1, 2]}]
"""


def config_problem_lines(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "exp.yaml"
    path.write_text(SMALL + text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    return [line.removeprefix(f"{tmp_path}/") for line in caught.value.problems]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("select: {}", ["exp.yaml:3:9: select.over: needs values to choose among, like {model.l2: [0.01, 1]}"]),
        (
            "select:\n  over:\n    model.l2: [0.1, -1]\n    features.0.lags: [[1], [0]]",
            [
                "exp.yaml:5:21: model.l2: needs a number of at least 0 or 'auto', found -1",
                "exp.yaml:6:29: features.0.lags.0: needs a number of at least 1, found 0",
            ],
        ),
        (
            "select:\n  over: {policy.long_above: [0.5]}",
            [
                ("exp.yaml:4:10: select.over.policy.long_above: select chooses among values of features, model, "
                "walk_forward; a sweep varies other keys")
            ],
        ),
        (
            "select: {over: {model: [{l2: 1}], model.l2: [1]}}",
            ["exp.yaml:3:35: select.over.model.l2: is part of model, which the grid varies too; keep one of them"],
        ),
        (
            "select: {over: {model.l2: [1, 1.0]}}",
            ["exp.yaml:3:31: select.over.model.l2.1: duplicate value; write each value once"],
        ),
        (
            "select: {over: {model.l2: [1, auto]}}",
            ["exp.yaml:3:31: model.l2: auto is a choice of its own; write numbers here"],
        ),
        (
            "select: {over: {model.l2: [1, 2]}, how: best}\nwalk_forward: {refit_every: never}",
            [
                ("exp.yaml:3:9: select: best chooses at refits, and walk_forward.refit_every is never: write how: "
                "mixture, or a number of rows")
            ],
        ),
        (
            f"select: {{over: {{model.max_iter: {list(range(1, 1002))}}}}}",
            ["exp.yaml:3:16: select.over: needs at most 1,000 candidates, found 1,001; list fewer values"],
        ),
    ],
)  # fmt: skip
def test_an_error_has_the_place_of_the_value(text: str, expected: list[str], tmp_path: Path) -> None:
    assert config_problem_lines(tmp_path, text) == expected


def test_candidates_are_all_combinations_and_choose_among_nothing() -> None:
    values: dict[str, Any] = {
        "data": {"source": {"kind": "sample"}, "tickers": ["MSFT"]},
        "features": [{"kind": "lagged_returns"}],
        "select": {
            "over": {
                "features": [[LaggedReturns(lags=(1,))], [{"kind": "volatility"}]],
                "model": [{"l2": 2}, {"kind": "sklearn", "estimator": "GaussianNB"}],
            }
        },
    }
    config = load_config(values).run
    candidates = config.candidates()
    assert [candidate.config.features[0].kind for candidate in candidates] == [
        "lagged_returns", "lagged_returns", "volatility", "volatility",
    ]  # fmt: skip
    assert [isinstance(candidate.config.model, SklearnClassifier) for candidate in candidates] == 2 * [False, True]
    assert all(candidate.config.candidates() == () for candidate in candidates)
    assert load_config(config).run.candidates() == candidates
