"""README and documentation against the program: every code block, number and picture, and what must be documented."""

from __future__ import annotations

import datetime as dt
import html
import io
import itertools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np
import pandas as pd
import pytest
import quantlr
from click.testing import CliRunner
from matplotlib.image import imread
from quantlr.backtest.overlays import Overlay
from quantlr.backtest.policies import Policy
from quantlr.cli import main
from quantlr.config.loader import parse_setting
from quantlr.config.run_config import load_config
from quantlr.data.features import Feature
from quantlr.data.labels import Label
from quantlr.data.prices import DataSpec, load_prices
from quantlr.data.source import Source
from quantlr.data.sources import FileSource, SampleSource
from quantlr.model.base import Model

import yaml_core
from documentation.blocks import DOCS, all_panels, filled_pages
from documentation.exporters import EXAMPLES, EXPORTERS
from documentation.lesson_pictures import expected_return_table, lesson_pictures, page_context
from documentation.measurements import MEASURED, MEASUREMENTS, read_measurements
from documentation.timing_drawing import description, known_bars, timing_lanes
from documentation.verdict_rules import RULES
from reference_pages import EXAMPLE, EXAMPLE_FILES, PICTURES, reference_pages, selection_example
from yahoo_server import Yahoo, days, serving, share, throwaway_authority

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "docs" / "reference"
PAGES = {
    str(path.relative_to(ROOT)): path.read_text()
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))
    if path.name != "tutorial.md"  # see test_tutorial.py
}
"""The text of each page that is written by hand."""
VERBS_WITHOUT_REPORT = tuple(f"quantlr {verb}" for verb in ("predict", "schema", "init", "plan", "features"))


class Block(NamedTuple):
    """A code block of a page; its title is the name of the file that it is the text of."""

    page: str
    language: str
    title: str
    text: str


BLOCKS = [
    Block(page, *found)
    for page, text in PAGES.items()
    for found in re.findall(r'^```(\w*)(?: title="(.*?)")?\n(.*?)^```', text, flags=re.MULTILINE | re.DOTALL)
]


def blocks(language: str, page: str = "") -> list[Block]:
    return [block for block in BLOCKS if block.language == language and page in block.page]


def block_id(block: Block) -> str:
    return f"{block.page}: {block.text.splitlines()[0]}"


COMMANDS = list(
    {block.text: block for block in blocks("bash") if re.search(r"^quantlr ", block.text, re.MULTILINE)}.values()
)
"""The blocks with commands of quantlr, which are run one after another; a block on two pages once."""
PYTHON_BLOCKS = [block for block in blocks("python") if block.page != "docs/extending.md"]  # see test_extending.py


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Change to a folder with the configs, the files that the pages show, and prices of the user's own."""
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    prices = load_prices(DataSpec(source=SampleSource(), tickers=("MSFT",)))
    table = pd.DataFrame({"Date": prices.sessions.strftime("%Y-%m-%d"), "Close": prices.close[:, 0].round(4)})
    (tmp_path / "prices").mkdir()
    for path in ("prices.csv", "prices/ABC.csv", "prices/XYZ.csv"):
        table.to_csv(tmp_path / path, index=False)
    german = pd.DataFrame({"Tag": prices.sessions.strftime("%d.%m.%y"), "Kurs": table["Close"]})
    german.to_csv(tmp_path / "kurse.csv", index=False, sep=";", decimal=",")
    for block in BLOCKS:
        if block.title:
            (tmp_path / block.title).write_text(block.text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_block_is_of_a_kind_that_is_tested() -> None:
    assert {block.language for block in BLOCKS} <= {"bash", "bat", "python", "yaml", "toml", "csv", "text"}
    install = {block.text for block in blocks("bash", "README.md")}
    for block in blocks("bash"):
        for line in block.text.splitlines():
            is_known = re.match(r"quantlr |.*python tests/benchmarks/\w+\.py", line) or f"{line}\n" in install
            assert is_known, f"{block.page}: {line}"
    titles = {(block.title, block.text) for block in BLOCKS if block.title}
    assert len({title for title, _ in titles}) == len(titles), "two blocks of one title have other texts"


@pytest.mark.usefixtures("without_drawing")
def test_terminal_sample_equals_the_output(home: Path) -> None:
    (sample,) = (block.text for block in blocks("text") if block.text.startswith("$ quantlr"))
    command, *expected = sample.rstrip().splitlines()
    result = CliRunner().invoke(main, shlex.split(command.removeprefix("$ quantlr ")))
    assert [line.rstrip() for line in result.output.rstrip().splitlines() if line] == expected


@pytest.fixture
def yahoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Yahoo]:
    """Serve Yahoo's prices behind the proxy that the environment names; the program is not patched."""
    now = dt.datetime.now(dt.UTC)
    server = Yahoo()
    server.now, server.shares["SPY"] = now, share(1, days(1500, last=str(now.date())), exchange="PCX", kind="ETF")
    tls, authority = throwaway_authority(tmp_path)
    with serving(server, tls=tls) as address:
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        for name in ("HTTPS_PROXY", "https_proxy"):
            monkeypatch.setenv(name, address)
        for name in ("CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE"):
            monkeypatch.setenv(name, str(authority))
        monkeypatch.setenv("QUANTLR_HOME", str(tmp_path / "home"))
        yield server


@pytest.mark.usefixtures("without_drawing")
@pytest.mark.parametrize("block", COMMANDS, ids=block_id)
def test_every_command_runs(home: Path, block: Block, request: pytest.FixtureRequest) -> None:
    commands = re.findall(r"^quantlr .*", block.text, re.MULTILINE)
    fetching = any("yahoo" in command for command in commands)
    yahoo = request.getfixturevalue("yahoo") if fetching else Yahoo()
    for command in commands:
        result = CliRunner().invoke(main, shlex.split(command.removeprefix("quantlr ")))
        assert result.exit_code == 0, result.stderr
    assert bool(yahoo.histories()) == fetching
    assert (home / "reports").is_dir() != all(command.startswith(VERBS_WITHOUT_REPORT) for command in commands)


VARIATIONS = [
    shlex.split(command)
    for block in COMMANDS
    for command in re.findall(r"^quantlr run .*--set.*", block.text, re.MULTILINE)
    if "yahoo" not in command
]
"""The commands that run a config with other settings."""


def run_command(words: list[str], *, with_settings: bool = True) -> quantlr.Run:
    """Return the run of a command of a page, without its report."""
    settings = [parse_setting(value) for option, value in itertools.pairwise(words) if option == "--set"]
    return quantlr.run(words[2], overrides=dict(settings) if with_settings else {})


@pytest.mark.parametrize("words", VARIATIONS, ids=lambda words: words[words.index("--name") + 1])
def test_every_recipe_differs_from_its_base(home: Path, words: list[str]) -> None:
    base, variation = (run_command(words, with_settings=with_settings) for with_settings in (False, True))
    is_same = base.forecasts.equals(variation.forecasts) and base.positions.equals(variation.positions)
    assert not is_same, f"{shlex.join(words)} repeats {words[2]}"


def test_last_decade_is_backtested_on_2009_to_2018(home: Path) -> None:
    (words,) = (words for words in VARIATIONS if "last_decade" in words)
    run = run_command(words)
    years = run.backtest["date"].dt.year
    assert sorted(set(years)) == list(range(2009, 2019))


def test_verbs_and_options_exist() -> None:
    context = click.Context(main)
    commands = [main.get_command(context, verb) for verb in main.list_commands(context)]
    options = {name for command in commands if command for option in command.params for name in option.opts}
    text = "\n".join(PAGES.values())
    assert set(re.findall(r"`quantlr ([a-z]+)", text)) <= set(main.list_commands(context))
    named = set(re.findall(r"`(--[a-z]+)", text))
    assert named
    assert named <= options


def test_named_benchmarks_run(tmp_path: Path) -> None:
    """One of them runs its smallest job; the others print their help, if they take arguments."""
    found = set(re.findall(r"python (tests/benchmarks/\w+\.py)", "\n".join(PAGES.values())))
    named = sorted(script for script in found if "ArgumentParser" in (ROOT / script).read_text())
    quick = {"tests/benchmarks/descent.py": ["--quick", "--job", "one_fit", "--output", str(tmp_path)]}
    commands = [[script, *quick.get(script, ["--help"])] for script in named]
    code = (  # in one process, since the imports take longer than the rest
        "import json, runpy, sys\n"
        "for sys.argv in json.loads(sys.argv[1]):\n"
        "    try: runpy.run_path(f'{sys.argv[0]}', run_name='__main__')\n"
        "    except SystemExit as end: assert not end.code, sys.argv\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    command = [sys.executable, "-c", code, json.dumps(commands)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert set(re.findall(r"^usage: (\w+\.py)", done.stdout, re.MULTILINE)) == {
        Path(script).name for script in named if script not in quick
    }
    assert (tmp_path / "descent.json").exists()


def test_first_commands_are_those_that_ci_runs() -> None:
    first, second = (block.text.strip() for block in blocks("bash", "README.md") if block.text.startswith("python3"))
    assert first.endswith("quantlr run configs/sp500_daily.yaml")
    assert second.endswith('pip install -e ".[dev]" && pytest')


@pytest.mark.usefixtures("without_drawing", "home")
@pytest.mark.parametrize("block", PYTHON_BLOCKS, ids=block_id)
def test_python_blocks_run(block: Block) -> None:
    exec(compile(block.text, block.page, "exec"), {})  # noqa: S102 - the page's own example


@pytest.mark.parametrize("block", blocks("yaml"), ids=block_id)
def test_yaml_blocks_are_valid_configs(home: Path, block: Block) -> None:
    """A part of a config is added to one that is shipped; prices of files are read."""
    is_whole = {"data", "features"} <= set(yaml_core.read(block.text))
    base = "" if is_whole else "extends: configs/sp500_daily.yaml\n"
    (home / "block.yaml").write_text(base + block.text)
    config = load_config(home / "block.yaml").run
    if isinstance(config.data.source, FileSource):
        assert load_prices(config.data).n_bars.min() > 1000


def test_members_are_read_from_the_file_that_is_shown(home: Path) -> None:
    config = {"data": {"source": {"kind": "file", "path": "prices/"}, "tickers_file": "members.csv"}}
    data = load_config({"name": "members", "features": [{"kind": "lagged_returns"}], **config}).run.data
    mask = load_prices(data).member_mask
    assert mask is not None
    assert 0 < mask.mean() < 1


def test_entry_points_shown_are_of_catalogues() -> None:
    groups = {base.entry_point_group for base in (Feature, Label, Source, Model, Policy, Overlay)}
    (block,) = blocks("toml")
    assert set(tomllib.loads(block.text)["project"]["entry-points"]) <= groups


def test_config_block_has_every_key_with_its_default(home: Path) -> None:
    (yaml_text,) = (block.text for block in blocks("yaml") if block.text.startswith("name: my_run"))
    (home / "my_run.yaml").write_text(yaml_text)
    config = load_config(home / "my_run.yaml").run
    bare = {"data": config.data.model_dump(), "features": [{"kind": part.kind} for part in config.features]}
    assert load_config({"name": "my_run", **bare}).run == config
    sections = json.loads(json.dumps(config.model_dump(), default=str))
    for section, body in sections.items():
        assert re.search(rf"^{section}:", yaml_text, flags=re.MULTILINE)
        for key in body if isinstance(body, dict) else ():
            assert re.search(rf"\b{key}:", yaml_text), f"{section}.{key} is not in the config that is explained"


def test_error_sample_equals_the_output(home: Path) -> None:
    (sample,) = (block.text for block in blocks("text") if block.text.startswith("my_run.yaml:"))
    (home / "my_run.yaml").write_text(
        "name: my_run\ndata:\n  source: {kind: sample}\n  start: 2020-13-45\nfeatures:\n"
        "  - {kind: lagged_returns,    lag: [1]}\n"
    )
    result = CliRunner().invoke(main, ["run", "my_run.yaml"])
    assert set(sample.splitlines()) <= set(result.stderr.splitlines())


@pytest.mark.usefixtures("without_drawing")
def test_cagr_of_the_textbook_conventions(home: Path) -> None:
    match = re.search(r"CAGR\s+of ([0-9.]+%) against ([0-9.]+%)", PAGES["docs/index.md"])
    assert match
    runs = CliRunner().invoke(
        main, ["run", "configs/sp500_textbook.yaml", "configs/sp500_daily.yaml", "--json", "--quiet"]
    )
    cagr = [json.loads(line)["backtest"]["strategy"]["cagr"] for line in runs.stdout.splitlines()]
    assert [f"{rate:.1%}" for rate in cagr] == list(match.groups())


def test_pictures_and_metrics_are_of_the_current_program(home: Path) -> None:
    """`python tests/reference_pages.py --example` writes them anew."""
    CliRunner().invoke(main, ["run", "configs/sp500_daily.yaml", "--name", "example", "--quiet"])
    for name in EXAMPLE_FILES:
        if name.endswith(".png"):
            made, shipped = (imread(folder / name) for folder in (home / "reports" / "example", EXAMPLE))
            assert made.shape == shipped.shape
            # Another version of matplotlib may place a letter a fraction of a pixel elsewhere; a changed page
            # differs more.
            assert np.abs(made - shipped).mean() < 0.004, name
    actual, expected = (
        json.loads((folder / "metrics.json").read_text()) for folder in (home / "reports/example", EXAMPLE)
    )
    assert actual["verdict"] == expected["verdict"]
    falls = [metrics["backtest"]["strategy"].pop("deepest_drawdowns") for metrics in (actual, expected)]
    peaks = [[fall["peak"] for fall in listed] for listed in falls]
    assert peaks[0] == peaks[1]
    for key, value in expected["backtest"]["strategy"].items():
        assert actual["backtest"]["strategy"][key] == (None if value is None else pytest.approx(value, rel=1e-6))


@pytest.fixture(scope="module")
def generated() -> dict[str, str]:
    return reference_pages()


@pytest.mark.parametrize("name", sorted(path.name for path in REFERENCE.glob("*.md")))
def test_reference_page_is_of_the_current_program(generated: dict[str, str], name: str) -> None:
    """Keys, verbs, metrics and catalogues; `python tests/reference_pages.py` writes the pages anew."""
    assert (REFERENCE / name).read_text() == generated[name]


def test_every_reference_page_is_there(generated: dict[str, str]) -> None:
    assert {path.name for path in REFERENCE.glob("*.md")} == set(generated)


def test_readme_is_short_and_its_links_lead_to_files() -> None:
    assert len(PAGES["README.md"].splitlines()) <= 120
    for page in ("README.md", "CONTRIBUTING.md"):  # zensical checks those between the pages of docs/
        for target in re.findall(r"\]\(([^):]+)\)", PAGES[page]):
            assert (ROOT / target).exists(), f"{page}: {target}"


def test_every_page_is_in_the_navigation() -> None:
    in_navigation = set(re.findall(r": ([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE))
    assert in_navigation == {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}


def test_every_public_name_is_documented() -> None:
    documented = set(re.findall(r"^::: quantlr\.(\w+)$", PAGES["docs/python.md"], re.MULTILINE))
    assert documented == {*quantlr.__all__, "GradientDescentClassifier"} - {"__version__"}


def test_every_panel_is_documented() -> None:
    keys = {panel.key for panel in all_panels()} | {"best_trial_rows"}  # the last has as many rows as there is room for
    assert set(re.findall(r"^\| `(\w+)` \| ", PAGES["docs/pages.md"], re.MULTILINE)) == keys


def test_parts_of_pages_are_of_the_current_program() -> None:
    """Rules of the verdict, panels, heads of files; `python tests/reference_pages.py` writes them anew."""
    for path, text in filled_pages().items():
        assert path.read_text(encoding="utf-8") == text, path.relative_to(ROOT)


def test_every_rule_of_the_verdict_is_documented() -> None:
    source = (ROOT / "quantlr" / "stats" / "verdict.py").read_text()
    assert {rule.key for rule in RULES} == set(re.findall(r'Verdict\("(\w+)"', source))


def test_the_head_of_every_exporters_text_file_is_shown() -> None:
    """The others are packed, binary, or in an encoding that the page cannot show."""
    files = {path.relative_to(EXAMPLES).as_posix() for path in EXAMPLES.rglob("*") if path.suffix in (".csv", ".txt")}
    files -= {"utf16.csv", "kaggle/ETFs/spy.us.txt", "kaggle/Stocks/MSFT.csv"}
    assert {name for names in EXPORTERS.values() for name in names} == files


def test_every_verb_is_named_in_a_page_that_explains_it() -> None:
    text = "\n".join(text for page, text in PAGES.items() if page.startswith("docs/"))
    named = set(re.findall(r"quantlr (\w+)", text)) | set(re.findall(r"`(\w+)`", text))
    assert set(main.list_commands(click.Context(main))) <= named


def test_timing_drawing_has_the_positions_of_the_timing_rule() -> None:
    drawn = [(lane.label, lane.start, lane.end, lane.instant) for lane in timing_lanes()]
    assert drawn[1:] == [
        ("trains", drawn[0][1], -1, -1),
        ("decided", None, None, 0),
        ("filled", None, None, 1),
        ("earned", 1, 2, 2),
        ("label", 0, 1, 1),
        ("label", 1, 2, 2),
    ]
    assert known_bars("New York", date_index=1) == {"Tokyo": 1, "London": 1, "New York": 1}
    assert known_bars("Tokyo", date_index=1) == {"Tokyo": 1, "London": 0, "New York": 0}
    svg = (PICTURES / "timing.svg").read_text()
    assert description() in html.unescape(svg), "python tests/reference_pages.py draws it anew"


def test_lesson_pictures_are_of_the_current_program() -> None:
    """`python tests/reference_pages.py --example` draws them anew."""
    for name, content in lesson_pictures().items():
        drawn, shipped = imread(io.BytesIO(content)), imread(PICTURES / name)
        assert np.abs(np.subtract(drawn.shape, shipped.shape)).max() <= 2, name
        height, width = np.minimum(drawn.shape, shipped.shape)[:2]
        assert np.abs(drawn[:height, :width] - shipped[:height, :width]).mean() < 0.02, name


def test_glossary_is_in_alphabetical_order() -> None:
    words = re.findall(r"^\| (?!word |---)(.+?) \|", PAGES["docs/glossary.md"], re.MULTILINE)
    assert words == sorted(set(words), key=str.lower)
    assert len(words) > 60


def test_every_file_of_measurements_is_shown() -> None:
    named = set(re.findall(r"^<!-- (\w+): written by", "\n".join(PAGES.values()), re.MULTILINE))
    assert set(MEASURED) <= named
    assert {path.stem for path in MEASUREMENTS.iterdir()} == {*MEASURED, "descent", "size_and_power"}


def test_selection_example_is_of_the_current_program() -> None:
    """`python tests/reference_pages.py --example` writes it anew."""
    assert read_measurements("selection_example.json") == selection_example()


def test_every_picture_is_on_a_page() -> None:
    shown = set(re.findall(r"\]\(pictures/([\w.]+)\)", "\n".join(PAGES.values())))
    assert shown == {path.name for path in PICTURES.iterdir()}
    assert all(path.parent == DOCS for path in filled_pages())


def test_expected_return_drawn_is_zero_where_gain_and_loss_offset_each_other() -> None:
    table = expected_return_table(page_context(ROOT / "configs" / "expected_value.yaml"))
    crossing = float(np.interp(0.0, table["expected_return"], table["probability"]))
    assert crossing == pytest.approx(-table["mean_loss"] / (table["mean_gain"] - table["mean_loss"]), abs=1e-9)
    assert table["cost"] == pytest.approx(6e-4)
