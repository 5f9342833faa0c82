"""What the program writes of the documentation: ``python tests/reference_pages.py`` writes it anew.

The reference pages, the parts of other pages between two comments, and the drawing of the timing rule; with --example
also the report of the example and the pictures of the lesson, which takes half a minute.
"""

from __future__ import annotations

import argparse
import inspect
import json
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import quantlr
from click.testing import CliRunner
from quantlr.backtest.metric_types import SECTION_PATHS, Metric
from quantlr.backtest.metrics import METRICS
from quantlr.cli import COMMAND_HELP, main
from quantlr.cli.catalog import COMPONENT_MODULES
from quantlr.config.schema import config_schema
from quantlr.core.components import Component, component_kind, to_inline_yaml
from quantlr.data.catalog import component_catalog_entries, feature_catalog_entries
from quantlr.data.features import FEATURES
from quantlr.sweeps.grid import SweepSpec

from benchmarks.measured import markdown_table as table
from documentation.blocks import filled_pages
from documentation.lesson_pictures import lesson_pictures
from documentation.measurements import MEASUREMENTS
from documentation.timing_drawing import timing_drawing

DOCS = Path(__file__).parents[1] / "docs"
EXAMPLE, PICTURES = DOCS / "example", DOCS / "pictures"
EXAMPLE_FILES = ("tearsheet.png", "forecast.png", "model.png", "positions.png", "metrics.json")
CATALOG_INTRODUCTIONS = {
    "features": "A feature turns prices into columns that a model learns from. Row t uses bars up to the close of "
    "session t only. `quantlr features` prints this list, with the features of installed packages.",
    "labels": "A label says what is forecast: whether a row counts as up. `quantlr labels` prints this list.",
    "models": "A model turns features into the probability of up. `quantlr models` prints this list.",
    "policies": "A policy turns probabilities into positions, from -1 to 1 of a ticker's part of the capital. "
    "`quantlr policies` prints this list.",
    "overlays": "An overlay changes positions after the policy; overlays are applied in the order of the config. "
    "`quantlr overlays` prints this list.",
    "sources": "A source has the prices. `quantlr sources` prints this list.",
}
CATALOG_PAGES = {
    "source": "sources",
    "features": "features",
    "label": "labels",
    "model": "models",
    "policy": "policies",
    "overlays": "overlays",
}
"""By key of the config, the catalogue whose page has the kinds of its values."""
METRIC_SECTIONS = {
    "forecast": "Of the forecasts whose outcome is known.",
    "backtest": "Of the strategy, and under `backtest.benchmark` of the benchmark, after costs.",
    "strategy_only": "Of the strategy alone.",
    "by_ticker": "Of each ticker with forecasts: lists in the order of `backtest.by_ticker.tickers`.",
    "against_benchmark": "Of the strategy against its benchmark.",
    "significance": "Of the forecasts and the strategy, with the trials in the ledger.",
    "model": "Of the fits.",
}
JsonSchema = Mapping[str, Any]


def reference_pages() -> dict[str, str]:
    """Return the text of each generated page by its file name below ``docs/reference``."""
    schema = config_schema(include_installed=False)
    pages = {f"{name}.md": catalog_page(name, schema) for name in CATALOG_INTRODUCTIONS}
    return pages | {"config.md": config_page(schema), "metrics.md": metrics_page(), "command-line.md": command_page()}


def page_text(title: str, introduction: str, paragraphs: Iterator[str]) -> str:
    """Return a page; a comment in it names the command that wrote it."""
    written_by = "<!-- Written by python tests/reference_pages.py -->"
    return "\n\n".join([f"# {title}", written_by, introduction, *paragraphs]) + "\n"


def first_paragraph(documented: Any) -> str:
    """Return the first paragraph of a docstring in one line."""
    return " ".join(inspect.cleandoc(documented.__doc__ or "").split("\n\n")[0].split())


def code(value: Any) -> str:
    """Return a value in inline code as a config states it."""
    return f"`{to_inline_yaml(value)}`"


def values_text(body: JsonSchema, schema: JsonSchema) -> str:
    """Return the values that a key takes: words with their meaning, or a type with its bounds."""
    options = body.get("anyOf") or body.get("allOf")
    if options:
        return "; or ".join(values_text(option, schema) for option in options)
    if "$ref" in body:
        name = body["$ref"].rpartition("/")[2]
        if name in CATALOG_PAGES:
            return f"a mapping with a `kind` of [{CATALOG_PAGES[name]}]({CATALOG_PAGES[name]}.md)"
        title = schema["definitions"][name]["title"]
        return f"a mapping: [{title}](config.md#{title.replace('.', '')})"
    if "const" in body:
        return code(body["const"])
    if "enum" in body:
        meanings = body.get("enumDescriptions", [""] * len(body["enum"]))
        described = zip(body["enum"], meanings, strict=True)
        return "; ".join(
            f"{code(word)}: {text}" if text and text != "see the description" else code(word)
            for word, text in described
        )
    return type_text(body, schema)


def type_text(body: JsonSchema, schema: JsonSchema) -> str:
    """Return a type of the JSON schema in words, with its bounds."""
    names = {"string": "text", "integer": "whole number", "number": "number", "boolean": "`true` or `false`",
             "object": "mapping", "array": "list", "null": "`null`"}  # fmt: skip
    types = body.get("type", [])
    words = [names[word] for word in ([types] if isinstance(types, str) else types)]
    if body.get("format") in ("date", "path"):
        words[0] = body["format"]
    text = " or ".join(words)
    if "items" in body:
        items = values_text(body["items"], schema).replace("a mapping", "mappings").replace("number", "numbers", 1)
        text = text.replace("list", f"list of {items}", 1)
    bounds = [
        f"{sign} {body[keyword]:g}"
        for keyword, sign in (
            ("minimum", ">="),
            ("exclusiveMinimum", ">"),
            ("maximum", "<="),
            ("exclusiveMaximum", "<"),
        )
        if keyword in body and abs(body[keyword]) < 1e6
    ]
    return f"{text} {' and '.join(bounds)}".strip()


def key_table(section: JsonSchema, schema: JsonSchema, *, prefix: str = "") -> str:
    """Return the table of a section's keys, without `kind`."""
    rows = []
    for key, body in section["properties"].items():
        if key == "kind":
            continue
        default = code(body["default"]) if "default" in body else ""
        stated = re.search(r" Default: (.*)\.$", body["description"])
        default = f"`{stated[1]}`" if stated else default
        meaning = body["description"][: stated.start()] if stated else body["description"]
        examples = ", ".join(code(example) for example in body.get("examples", ()))
        meaning += f" For example {examples}." if examples else ""
        rows.append((f"`{prefix}{key}`", values_text(body, schema), default, meaning))
    return table(("key", "values", "default", "meaning"), rows) if rows else "It has no keys besides `kind`."


def config_page(schema: JsonSchema) -> str:
    """Return the page with every key of a config and of a sweep."""

    def paragraphs() -> Iterator[str]:
        definitions = schema["definitions"]
        yield "## The sections"
        yield key_table(schema, schema)
        sections = [body for body in definitions.values() if "kind" not in body["properties"]]
        order = list(schema["properties"])
        order += [body["title"].split(".")[0] for body in sections]
        for body in sorted(sections, key=lambda body: (order.index(body["title"].split(".")[0]), body["title"])):
            yield f"## {body['title']}"
            yield " ".join(body["description"].split("\n\n")[0].split())
            yield key_table(body, schema, prefix=f"{body['title']}.")
        yield "## A sweep"
        yield "The file of `quantlr sweep` has these keys instead."
        fields = SweepSpec.model_fields.items()
        rows = [
            (f"`{key}`", "" if field.is_required() else code(field.default), field.description or "")
            for key, field in fields
        ]
        yield table(("key", "default", "meaning"), rows)

    introduction = (
        "Every key of a config, with the values that it takes, its default and its meaning. A section without a "
        "default has the defaults of its own keys; `data.source`, the tickers and `features` have to be stated. [The "
        "config](../config.md) explains the keys in context, and `quantlr schema` prints the schema behind this page."
    )
    return page_text("Config keys", introduction, paragraphs())


def catalog_classes(name: str) -> Sequence[type[Component]]:
    """Return the classes of a catalogue."""
    if name == "features":
        return FEATURES
    classes: Sequence[type[Component]] = getattr(import_module(COMPONENT_MODULES[name]), name.upper())
    return classes


def catalog_page(name: str, schema: JsonSchema) -> str:
    """Return the page of a catalogue: each kind with its keys, an example, and what it makes."""
    classes = {component_kind(component): component for component in catalog_classes(name)}
    method = "compute_labels" if name == "labels" else ""
    entries = (
        feature_catalog_entries()
        if name == "features"
        else component_catalog_entries(tuple(classes.values()), method=method)
    )

    def paragraphs() -> Iterator[str]:
        for entry in entries:
            if entry.kind not in classes:
                continue  # of an installed package
            yield f"## {entry.kind}"
            yield entry.summary
            yield key_table(schema["definitions"][classes[entry.kind].__name__], schema)
            if entry.values_description:
                yield entry.values_description
            example = f"Example: {code(entry.example)}"
            if entry.warm_up is not None:
                columns = ", ".join(f"`{column}`" for column in entry.columns)
                yield f"{example} makes {columns}; warm-up {entry.warm_up} bar{'s'[: entry.warm_up != 1]}."
            else:
                yield f"{example}."

    return page_text(name.capitalize(), CATALOG_INTRODUCTIONS[name], paragraphs())


def metrics_page() -> str:
    """Return the page with every metric of the registry."""

    def row(metric: Metric) -> tuple[str, ...]:
        path = ".".join((*SECTION_PATHS[metric.section], metric.key))
        extras = [f"`{metric.interval_key}`: its 95% interval."] if metric.interval else []
        extras += [f"`{metric.baseline_key}`: of the {metric.baseline_name or 'baseline'}."] if metric.baseline else []
        better = "" if metric.better == "neither" else metric.better
        return f"`{path}`", metric.label, better, " ".join([first_paragraph(metric.compute), *extras])

    def paragraphs() -> Iterator[str]:
        for section, sentence in METRIC_SECTIONS.items():
            yield f"## {section.replace('_', ' ').capitalize()}"
            yield sentence
            rows = [row(metric) for metric in METRICS if metric.section == section]
            yield table(("key in metrics.json", "name", "better", "meaning"), rows)

    introduction = (
        "Every metric, under its key in `metrics.json`; a value is `null` where it is undefined. Rates are fractions "
        "(0.01 is one percent)."
    )
    return page_text("Metrics", introduction, paragraphs())


def command_page() -> str:
    """Return the page with the help of every verb."""

    def help_of(command: click.Command, names: Sequence[str]) -> Iterator[str]:
        context = click.Context(command)
        yield f"{'#' * (1 + len(names))} {' '.join(names)}"
        pieces = " ".join(command.collect_usage_pieces(context))
        yield f"`quantlr {' '.join(names)} {pieces}`"
        for paragraph in inspect.cleandoc(command.help or "").replace("\b\n", "").split("\n\n"):
            yield f"```text\n{inspect.cleandoc(paragraph)}\n```" if paragraph.startswith("  ") else paragraph
        if isinstance(command, click.Group):
            for name in command.list_commands(context):
                inner = command.get_command(context, name)
                if inner:
                    yield from help_of(inner, [*names, name])
        records = [record for option in command.params if (record := option.get_help_record(context))]
        if records and not isinstance(command, click.Group):
            yield table(("option", "meaning"), [(f"`{names}`", text) for names, text in records if text])

    def paragraphs() -> Iterator[str]:
        context = click.Context(main)
        yield table(("verb", "what it does"), [(f"[{verb}](#{verb})", text) for verb, text in COMMAND_HELP.items()])
        for verb in COMMAND_HELP:
            command = main.get_command(context, verb)
            if command:
                yield from help_of(command, [verb])

    introduction = (
        "Results are printed on stdout; progress, notes and warnings on stderr. `--json` prints the results as JSON on "
        "stdout. Exit status: 0 done; 2 something that you can change, such as a config or a file; 1 anything else; 3 "
        "a look-ahead; 4 some trials of a sweep failed; 130 interrupted."
    )
    return page_text("Command line", introduction, paragraphs())


def write_example() -> None:
    """Run the config of the example, and copy its pages and metrics."""
    EXAMPLE.mkdir(parents=True, exist_ok=True)
    config = str(Path(__file__).parents[1] / "configs" / "sp500_daily.yaml")
    with tempfile.TemporaryDirectory() as folder:
        arguments = ["run", config, "--name", "example", "--quiet", "--output", folder]
        result = CliRunner().invoke(main, arguments, catch_exceptions=False)
        if result.exit_code:
            raise SystemExit(result.stderr)
        for name in EXAMPLE_FILES:
            shutil.copyfile(Path(folder) / "example" / name, EXAMPLE / name)


def selection_example() -> dict[str, Any]:
    """Return the log losses of `configs/sp500_select.yaml`, as a file of measurements has them."""
    metrics = quantlr.run(DOCS.parent / "configs" / "sp500_select.yaml").metrics
    selection, losses = metrics["selection"], [row["log_loss"] for row in metrics["selection"]["candidates"]]
    chosen = metrics["forecast"]["log_loss"]
    found = {
        "the mixture": chosen,
        "the best candidate, known in hindsight": min(losses),
        "the worst candidate": max(losses),
        "the base rate": metrics["forecast"]["log_loss_base_rate"],
    }
    note = (
        f"The mixture has a lower log loss than {sum(loss > chosen for loss in losses)} of the {len(losses)} "
        f"candidates. It lost {selection['regret']:.1f} nats in total against the best, of at most "
        f"{selection['regret_bound']:.1f}."
    )
    return {"note": note, "rows": [{"forecasts of": text, "log loss": f"{loss:.5f}"} for text, loss in found.items()]}


def write_pictures(pictures: Mapping[str, bytes]) -> None:
    """Write pictures by their file names."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    for name, content in pictures.items():
        (PICTURES / name).write_bytes(content)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--example", action="store_true", help="also run the example, and draw the lesson's pictures")
    if parser.parse_args().example:
        write_example()
        write_pictures(lesson_pictures())
        (MEASUREMENTS / "selection_example.json").write_text(json.dumps(selection_example(), indent=1) + "\n")
    write_pictures({"timing.svg": timing_drawing()})
    for path, text in filled_pages().items():
        path.write_text(text, encoding="utf-8")
    for file_name, text in reference_pages().items():
        path = DOCS / "reference" / file_name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
