"""Configs that are damaged at random: each is read, or refused with its places; there is never a traceback."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Never

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from quantlr import pipeline
from quantlr.cli import main
from quantlr.config.run_config import LoadedConfig
from quantlr.core.errors import Fault
from quantlr.data.prices import load_prices

from mutations import damaged_texts, mistaken_trees

READ = "this one can be run"
PLACED = re.compile(r"(?P<file>[^:]+\.yaml):[1-9][0-9]*:[1-9][0-9]*: .")


def _read_only(config: LoadedConfig, **_: object) -> Never:
    """Take a config that was read as far as its prices, which need no network, and no further."""
    with config.add_location_to_errors():
        load_prices(config.run.data, offline=True)
    raise Fault(READ)


@settings(max_examples=200)
@given(config=damaged_texts() | mistaken_trees().map(lambda tree: json.dumps(tree, ensure_ascii=False)))
def test_a_damaged_config_runs_or_is_refused_with_every_place(folder: Path, config: str) -> None:
    path = folder / "exp.yaml"
    path.write_text(config, encoding="utf-8", newline="")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("QUANTLR_HOME", str(folder))
        patch.setattr(pipeline, "run_config", _read_only)
        result = CliRunner().invoke(main, ["run", "exp.yaml"])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    said = result.stderr.splitlines()
    if result.exit_code == 1:
        assert said == [READ]
        return
    assert result.exit_code == 2
    assert said
    for line in said:
        assert PLACED.match(line), line
