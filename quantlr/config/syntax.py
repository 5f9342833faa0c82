"""What is wrong with text that is no YAML, in words that say what to change; the parser's own say what it expected."""

from __future__ import annotations

import re

from ruamel.yaml.error import MarkedYAMLError

_SYNTAX_ERROR_TEXTS = tuple(
    (re.compile(found), words)
    for found, words in (
        (r"'\\t'", "a tab can't indent YAML; use spaces"),
        ("single document", "a second document (---); a config is one document"),
        (
            r"expected ',' or '([]}])'",
            "the bracket that is opened at {opened} is not closed; {0} or a comma is missing here",
        ),
        (r"while scanning a quoted scalar", "the quote that is opened at {opened} is not closed"),
        (
            r"unknown escape character '(.)'",
            "a backslash begins an escape in double quotes, and \\{0} is none; use single quotes",
        ),
        (r"character '(.)' that cannot start", "a value can't begin with {0}; quote it"),
        (
            r"mapping values are not allowed",
            "a key can't stand here: quote text that holds ': ', or mend the line's indent",
        ),
        (r"could not find expected ':'", "a key needs a ': ' after it"),
        (r"expected the node content, but found '(.)'", "a value is missing before {0}"),
        (r"sequence entries are not allowed", "a list can't begin here; give each entry a line of its own"),
        (
            r"expected (<block end>|'<document start>')",
            "does not go on from what is above: mend the line's indent, or quote the whole text",
        ),
    )
)


def yaml_syntax_error_text(error: MarkedYAMLError) -> str:
    """Return what a parser's error says to someone who writes a config."""
    what = " ".join(str(part) for part in (error.problem, error.context) if part)
    opened = f"{error.context_mark.line + 1}:{error.context_mark.column + 1}" if error.context_mark else ""
    for pattern, words in _SYNTAX_ERROR_TEXTS:
        if found := pattern.search(what):
            return words.format(*found.groups(), opened=opened)
    return what
