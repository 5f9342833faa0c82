"""A run that chooses among candidates: its metrics, its trials, its prediction, and sweeps over it."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import quantlr
from quantlr.config.run_config import load_config
from quantlr.core.errors import ConfigError
from quantlr.experiment.ledger import Ledger
from quantlr.model.candidates import SelectedForecasts
from quantlr.stats.family_wise import RunningMaxima
from quantlr.sweeps.grid import load_sweep

pytestmark = pytest.mark.usefixtures("without_drawing")

BASE: dict[str, Any] = {
    "name": "chosen",
    "data": {"source": {"kind": "sample"}, "tickers": ["MSFT"], "start": "2000-03-01", "end": "2003-06-30"},
    "features": [{"kind": "lagged_returns", "lags": [1, 2]}],
    "walk_forward": {"train": 250},
    "select": {"over": {"features.0.lags": [[1], [1, 2]], "model.l2": [0.01, 1.0]}},
}
FIXED = {key: value for key, value in BASE.items() if key != "select"}


def counted(output: Path) -> tuple[int, int]:
    """Return the number of trials that count, and of those that are recorded."""
    entries = Ledger.from_output_folder(output).read_entries()
    return sum(entry.retracted is None for entry in entries), len(entries)


def test_metrics_say_what_choosing_was_worth() -> None:
    run = quantlr.run(BASE)
    forecasts, selection = run.run_data.forecasts, run.metrics["selection"]
    assert isinstance(forecasts, SelectedForecasts)
    losses = [candidate["log_loss"] for candidate in selection["candidates"]]
    for index, candidate in enumerate(load_config(BASE).run.candidates()):
        own = forecasts.of_candidate(index)
        known = ~np.isnan(own.up)
        z, up = own.log_odds[known], own.up[known]
        assert losses[index] == pytest.approx((np.logaddexp(0, z) - up * z).mean(), rel=1e-12)
        assert selection["candidates"][index]["values"] == candidate.values
    assert selection["best_in_hindsight"] == int(np.argmin(losses))
    total = run.metrics["forecast"]["log_loss"] * run.metrics["forecast"]["n"]
    assert selection["regret"] == pytest.approx(total - min(losses) * run.metrics["forecast"]["n"])
    assert selection["regret"] <= selection["regret_bound"] == pytest.approx(np.log(4))
    assert sum(candidate["newest_weight"] for candidate in selection["candidates"]) == pytest.approx(1.0)
    assert (
        quantlr.run(BASE | {"select": {**BASE["select"], "how": "best"}}).metrics["selection"]["regret_bound"] is None
    )


def test_resolved_config_gives_the_same_run_and_a_choice_changes_the_digest(tmp_path: Path) -> None:
    run = quantlr.run(BASE)
    path = tmp_path / "again.yaml"
    path.write_text(run.config.to_yaml())
    again = quantlr.run(path)
    assert again.metrics == run.metrics
    digests = {
        load_config(config).run.results_sha256()
        for config in (FIXED, BASE, BASE | {"select": {**BASE["select"], "how": "best"}})
    }
    assert len(digests) == 3
    cosmetic = BASE | {"select": {"over": {"features.0.lags": [[1], [1, 2]], "model.l2": [0.01, 1]}, "by": "log_loss"}}
    assert load_config(cosmetic).run.results_sha256() == run.config.results_sha256()


def test_penalty_auto_is_a_choice_over_five_penalties() -> None:
    auto, penalties = FIXED | {"model": {"l2": "auto"}}, [0.001, 0.01, 0.1, 1, 10]
    explicit = FIXED | {"select": {"over": {"model.l2": penalties}}}
    run, expected = quantlr.run(auto), quantlr.run(explicit)
    assert [candidate["values"] for candidate in run.metrics["selection"]["candidates"]] == [
        {"model.l2": l2} for l2 in penalties
    ]
    np.testing.assert_array_equal(run.run_data.forecasts.log_odds, expected.run_data.forecasts.log_odds)
    both = auto | {"select": {"over": {"features.0.lags": [[1], [2]]}, "how": "best"}}
    assert len(load_config(both).run.candidates()) == 10


def test_selection_is_one_trial_until_a_candidate_is_run(tmp_path: Path) -> None:
    first = quantlr.run(BASE, output=tmp_path)
    assert counted(tmp_path) == (1, 5)
    assert quantlr.run(BASE, output=tmp_path).metrics["significance"]["trials"] == 1
    assert counted(tmp_path) == (1, 5)
    # Another policy is another trial, which shows four other candidates.
    other = quantlr.run(BASE | {"policy": {"long_above": 0.52}}, output=tmp_path)
    assert (other.metrics["significance"]["trials"], counted(tmp_path)) == (2, (2, 10))
    candidate = first.config.candidates()[2].config
    shown = quantlr.run(candidate, output=tmp_path)
    assert (shown.metrics["significance"]["trials"], counted(tmp_path)) == (10, (10, 10))
    assert quantlr.run(BASE, output=tmp_path).metrics["significance"]["trials"] == 10


def test_candidates_that_count_raise_the_family_wise_p_value_as_their_own_runs_would(tmp_path: Path) -> None:
    run = quantlr.run(BASE, output=tmp_path)
    shown = quantlr.run(run.config.candidates()[2].config, output=tmp_path)
    ledger = Ledger.from_output_folder(tmp_path)
    results = [entry.trial.result for entry in ledger.read_entries()]
    returns = [result.returns for result in results if result is not None and result.returns is not None]
    assert len(returns) == 5
    stored, expected = ledger.read_family(shown.trials).maxima, RunningMaxima.of_trials(returns)
    np.testing.assert_allclose(stored.statistic, expected.statistic, rtol=1e-6)
    of_two = RunningMaxima.of_trials([trial.result.returns for one in (run, shown) for trial in one.trials[:1]])  # type: ignore[union-attr, misc]
    p_value = shown.metrics["significance"]["alpha_test"]["p_value"]
    family_wise = shown.metrics["significance"]["family_wise_p"]
    assert family_wise == expected.family_wise_p_value(p_value)
    assert family_wise > (of_two.family_wise_p_value(p_value) or 0.0)


@pytest.mark.parametrize(
    "changed",
    [
        {"over": {"model.l2": [0.5, 3.0]}},
        {**BASE["select"], "how": "best"},
    ],
)
def test_a_changed_choice_counts_all_candidates_that_were_shown(changed: dict[str, Any], tmp_path: Path) -> None:
    quantlr.run(BASE, output=tmp_path)
    run = quantlr.run(BASE | {"select": changed}, output=tmp_path)
    assert run.metrics["significance"]["trials"] == 1 + 4 + 1
    assert counted(tmp_path)[0] == 6


def test_a_config_that_was_run_before_it_was_shown_stays_counted(tmp_path: Path) -> None:
    fixed = load_config(BASE).run.candidates()[0].config
    quantlr.run(fixed, output=tmp_path)
    run = quantlr.run(BASE, output=tmp_path)
    assert (run.metrics["significance"]["trials"], counted(tmp_path)) == (2, (2, 5))
    assert quantlr.run(fixed, output=tmp_path).metrics["significance"]["trials"] == 2


@pytest.mark.parametrize("how", ["mixture", "best"])
def test_prediction_is_that_of_the_newest_weights(how: str) -> None:
    config = BASE | {"select": {**BASE["select"], "how": how}}
    prediction = quantlr.predict(config, today=dt.date(2003, 7, 1)).tickers[0]
    weights = [candidate.weight for candidate in prediction.candidates]
    assert weights == sorted(weights, reverse=True)
    assert sum(weights) == pytest.approx(1.0)
    mean = sum(candidate.weight * candidate.probability for candidate in prediction.candidates)
    assert prediction.probability == pytest.approx(mean, rel=1e-12)
    if how == "mixture":
        assert (prediction.at_the_mean, prediction.contributions) == (None, ())
    else:
        assert prediction.at_the_mean is not None
        total = prediction.at_the_mean + sum(item.log_odds for item in prediction.contributions)
        assert prediction.log_odds == pytest.approx(total, abs=1e-10)
    forecasts = quantlr.run(config).run_data.forecasts
    assert prediction.log_odds == pytest.approx(float(forecasts.log_odds[-1]), rel=1e-12)


def test_plan_counts_the_forecasts_that_all_candidates_make() -> None:
    over = {"walk_forward.train": [250, 400], "model.l2": [0.01, 1.0]}
    config = BASE | {"select": {"over": over}}
    planned = quantlr.plan(config).walk_forward
    assert planned is not None
    assert planned.forecasts == len(quantlr.run(config).run_data.forecasts.up)
    assert planned.resources.seconds > quantlr.plan(FIXED).walk_forward.resources.seconds  # type: ignore[union-attr]


def test_sweep_varies_the_kind_of_model_and_leaves_out_keys_of_the_other_kind() -> None:
    model = {"kind": "logistic_regression", "solver": "newton", "estimator": "GaussianNB", "scope": "pooled"}
    grid = {"model.kind": ["logistic_regression", "sklearn"]}
    sweep = load_sweep({"name": "kinds", "base": FIXED | {"model": model}, "grid": grid})
    models = [config.run.model for _, config in sweep.iter_trial_configs()]
    assert [one.kind for one in models] == ["logistic_regression", "sklearn"]
    assert {one.scope for one in models} == {"pooled"}
    assert "estimator" not in models[0].model_dump()
    assert "solver" not in models[1].model_dump()


def test_sweep_varies_the_choice(tmp_path: Path) -> None:
    choices = [None, BASE["select"]]
    config = {"name": "choices", "base": FIXED, "grid": {"select": choices}, "holdout": 0.0}
    swept = quantlr.sweep(config, output=tmp_path, workers=1).trials
    expected = [quantlr.run(FIXED | {"select": choice}).metrics["forecast"]["log_loss"] for choice in choices]
    np.testing.assert_allclose(sorted(swept["log_loss"]), sorted(expected), rtol=1e-12)


def test_worth_of_features_and_a_race_need_one_model() -> None:
    with pytest.raises(ConfigError, match="worth needs one model, found a choice among candidates"):
        quantlr.worth(BASE)
    with pytest.raises(ConfigError, match="race needs one model, found a choice among candidates"):
        quantlr.race(BASE, against=["gaussian_nb"])
