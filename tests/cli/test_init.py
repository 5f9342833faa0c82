"""`quantlr init`: a config that explains every key, and runs without a change."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from quantlr.cli.init import shipped_config_paths
from quantlr.cli.options import TEMPLATE_PATH
from quantlr.config.run_config import RunConfig, load_config
from quantlr.core.components import ConfigSection
from quantlr.experiment.plan import plan

Call = Callable[..., Result]
COMMENTED = {"data.tickers_file"}
"""Keys that exclude another one, and are in a comment."""


def comments_by_key(path: Path) -> dict[str, str]:
    """Return the comment behind each key that stands on a line of its own, by dotted key."""
    comments: dict[str, str] = {}
    above: list[tuple[int, str]] = []
    for line in path.read_text().splitlines():
        match = re.match(r"( *)(?:# )?(\w+):(?: .*?)?\s# (.+)$", line)
        if match:
            depth = len(match[1])
            above = [(indent, key) for indent, key in above if indent < depth]
            above.append((depth, match[2]))
            comments[".".join(key for _, key in above)] = match[3]
    return comments


def dotted_keys(section: ConfigSection, prefix: str = "") -> set[str]:
    """Return the dotted keys of a section and of those in it, but for the parts of a list."""
    result: set[str] = set()
    for name in type(section).model_fields:
        value = getattr(section, name)
        result |= dotted_keys(value, f"{prefix}{name}.") if isinstance(value, ConfigSection) else {f"{prefix}{name}"}
    return result


def test_template_explains_every_key(tmp_path: Path) -> None:
    config = load_config(TEMPLATE_PATH).run
    explained = comments_by_key(TEMPLATE_PATH)
    needed = {key for key in dotted_keys(config) if not key.endswith("kind")} - {"data.source"}
    assert needed <= {*explained}
    assert set(RunConfig.model_fields) <= {*explained}
    assert set(explained) <= needed | set(RunConfig.model_fields) | {
        "data.source", "data.quality", "label.kind", "policy.kind",
    }  # fmt: skip
    assert all(len(words) > 8 for words in explained.values())


def test_template_values_are_the_defaults() -> None:
    config = load_config(TEMPLATE_PATH).run
    bare: dict[str, Any] = {
        "name": "my_run",
        "data": {"source": {"kind": "sample"}, "tickers": ["^GSPC"]},
        "features": [{"kind": feature.kind} for feature in config.features],
    }
    assert load_config(bare).run == config


def test_choices_in_the_comments_are_valid() -> None:
    """Values that a comment names are accepted."""
    explained = comments_by_key(TEMPLATE_PATH)
    quality = {key: words for key, words in explained.items() if key.startswith("data.quality.")}
    others = {key: re.search(r"or ([a-z, ]+?)(, which.*)?$", words) for key, words in quality.items()}
    settings = [f"{key}={word.strip()}" for key, match in others.items() if match for word in match[1].split(",")]
    assert len(settings) == len(quality) + 4
    rounds: list[dict[str, str]] = []
    for setting in (
        *settings, "walk_forward.window=rolling", "walk_forward.refit_every=never", "model.solver=gradient_descent",
        "model.solver=nesterov", "model.scope=pooled", "model.class_weight=balanced",
        "model.class_weight={up: 1.0, down: 2.0}", "model.calibration=platt", "model.degenerate=base_rate",
        "label.ties=drop", "label={kind: dead_band, band: 0.01}", "label={kind: outperformance, benchmark: IBM}",
        "execution.fill=next_open", "execution.fill=close", "execution.spread=corwin_schultz",
        "overlays=[{kind: leverage_cap}, {kind: volatility_target}, {kind: name_cap}]",
        "overlays=[{kind: no_trade_band}, {kind: minimum_holding}]",
        "data.source={kind: yahoo, on_failure: drop, deadline: 60.0}", "data.source={kind: file, path: prices.csv}",
        *(f"policy={{kind: {kind}}}" for kind in ("proportional", "kelly", "top_k, k: 1", "expected_value")),
    ):  # fmt: skip
        key = setting.partition("=")[0]
        free = next((chosen for chosen in rounds if key not in chosen and not _nested(key, chosen)), None)
        if free is None:
            rounds.append(free := {})
        free[key] = setting
    for chosen in rounds:
        load_config(TEMPLATE_PATH, settings=list(chosen.values()))


def _nested(key: str, chosen: dict[str, str]) -> bool:
    """Whether one of the keys is a section that another lies in."""
    return any(other.startswith(f"{key}.") or key.startswith(f"{other}.") for other in chosen)


def test_written_config_runs_and_next_steps_are_printed(call: Call) -> None:
    result = call("init", "mine")
    assert (result.exit_code, result.stderr) == (0, "")
    first, *next_steps = result.stdout.splitlines()
    assert first == "config in mine.yaml"
    calls = ("quantlr run mine.yaml", "quantlr plan mine.yaml", "quantlr features")
    assert [line.split("  ")[1] for line in next_steps] == list(calls)
    ran = call("run", "mine.yaml", "--quiet", "--json")
    assert ran.exit_code == 0, ran.output
    assert Path("reports/mine/metrics.json").exists()
    assert json.loads(ran.stdout)["data"]["tickers"] == ["^GSPC"]


def test_existing_file_is_not_replaced(call: Call) -> None:
    Path("my_run.yaml").write_text("mine")
    result = call("init")
    assert result.exit_code == 2
    assert result.output == "my_run.yaml exists already and is not replaced; choose another NAME or --output\n"
    assert Path("my_run.yaml").read_text() == "mine"


def test_json_names_the_files_and_verbose_prints_the_config(call: Call) -> None:
    result = call("init", "a.yaml", "--output", "new/folder", "--json", "--quiet")
    assert result.stderr == ""
    assert json.loads(result.stdout) == {"name": "a", "config": "new/folder/a.yaml", "written": ["new/folder/a.yaml"]}
    assert load_config("new/folder/a.yaml").run.name == "a"
    assert "walk_forward:" in call("init", "b", "-v").output


@pytest.mark.parametrize("name", ["2024", "null", "true", "1e5", "007"])
def test_name_that_yaml_would_convert_is_quoted(call: Call, name: str) -> None:
    assert call("init", name).exit_code == 0
    assert load_config(f"{name}.yaml").run.name == name


@pytest.mark.parametrize("template", list(shipped_config_paths()))
def test_every_shipped_config_is_copied_unchanged(call: Call, template: str) -> None:
    assert call("init", "mine", "--from", template, "--quiet").exit_code == 0
    copied, shipped = (load_config(path).run for path in ("mine.yaml", shipped_config_paths()[template]))
    assert copied.name == "mine"
    assert copied.model_copy(update={"name": shipped.name}) == shipped


def test_extended_config_is_copied_unless_it_exists(call: Call) -> None:
    first = call("init", "one", "--from", "sp500_textbook")
    assert "it extends sp500_daily.yaml, written too" in first.output
    Path("sp500_daily.yaml").write_text(Path("sp500_daily.yaml").read_text().replace("train: 1000", "train: 500"))
    second = call("init", "two", "--from", "sp500_textbook.yaml", "--json")
    assert json.loads(second.stdout)["written"] == ["two.yaml"]
    assert plan("two.yaml").config["walk_forward"]["train"] == 500


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("a/b",), "name: needs 1 to 80 of A-Z a-z 0-9 . _ -, not beginning with a dot, found 'a/b'; name the folder"),
        (("../up",), "found '../up'"),
        ((".hidden",), "found '.hidden'"),
        (("x" * 81,), "needs 1 to 80"),
        (("",), "needs 1 to 80"),
        (("x", "--from", "sp500_dayly"), "no config 'sp500_dayly' ships with quantlr; did you mean sp500_daily?"),
        (("x", "--from", "???"), "known are expected_value, feature_zoo"),
        (("x", "--output", "exp.yaml"), "exp.yaml is a file; choose another --output"),
        (("x", "--output", "exp.yaml/below"), "exp.yaml/below is not a folder; choose another --output"),
    ],
)  # fmt: skip
def test_user_errors_exit_with_2(call: Call, arguments: tuple[str, ...], message: str) -> None:
    result = call("init", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.output
    assert [path.name for path in Path().iterdir()] == ["exp.yaml"]


def test_full_disk_exits_with_1(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    result = call("init", "x")
    assert result.exit_code == 1
    assert result.stderr == "x.yaml could not be written: No space left on device\n"
    assert [path.name for path in Path().iterdir()] == ["exp.yaml"]
