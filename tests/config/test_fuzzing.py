"""Randomly damaged configs: each is accepted, or refused with locations; there is never a traceback."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Never

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from quantlr.cli import main
from quantlr.config.run_config import LoadedConfig
from quantlr.core.errors import Fault
from quantlr.data.prices import load_prices
from quantlr.experiment import run as experiment_run

from mutations import damaged_texts, mistaken_trees

ACCEPTED = "the config is valid"
LOCATION = re.compile(r"(?P<file>[^:]+\.yaml):[1-9][0-9]*:[1-9][0-9]*: .")


def load_prices_only(config: LoadedConfig, **_: object) -> Never:
    """Load the prices of a valid config without network, and stop."""
    with config.add_location_to_errors():
        load_prices(config.run.data, offline=True)
    raise Fault(ACCEPTED)


@settings(max_examples=100)
@given(config=damaged_texts() | mistaken_trees().map(lambda tree: json.dumps(tree, ensure_ascii=False)))
def test_a_damaged_config_is_accepted_or_refused_with_locations(folder: Path, config: str) -> None:
    path = folder / "exp.yaml"
    path.write_text(config, encoding="utf-8", newline="")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("QUANTLR_HOME", str(folder))
        patch.setattr(experiment_run, "run_config", load_prices_only)
        result = CliRunner().invoke(main, ["run", "exp.yaml"])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    lines = result.stderr.splitlines()
    if result.exit_code == 1:
        assert lines == [ACCEPTED]
        return
    assert result.exit_code == 2
    assert lines
    for line in lines:
        assert LOCATION.match(line), line
