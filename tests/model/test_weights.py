from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from quantlr.core.errors import DataError, OutputError
from quantlr.model.saved_weights import SavedWeights

FINITE = st.floats(allow_nan=False, allow_infinity=False)
LABEL = st.booleans() | st.integers(-(2**70), 2**70) | FINITE | st.text()

Body = dict[str, Any]


def some(**fields: Any) -> SavedWeights:
    learnt = {"intercept": -0.1, "coefficients": (1 / 3, -2e-17, 5e300), "rows": 250, "l2": 0.01}
    return SavedWeights(**{**learnt, "features": ("lag_1", "lag_2", "größe"), "classes": ("down", "up"), **fields})


def forged(change: Callable[[Body], object]) -> str:
    """Return text with a change, and the checksum that goes with it."""
    body = json.loads(some().to_json_text())
    change(body)
    body.pop("sha256", None)
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return json.dumps({**body, "sha256": hashlib.sha256(canonical.encode()).hexdigest()})


@given(
    coefficients=st.lists(FINITE, max_size=6),
    intercept=FINITE,
    l2=st.floats(0, 1e300),
    rows=st.integers(0, 10**12),
    classes=st.none() | st.tuples(LABEL, LABEL).filter(lambda two: two[0] != two[1]),
    named=st.booleans(),
    data=st.data(),
)
def test_text_gives_the_same_bits_back(
    coefficients: list[float],
    intercept: float,
    l2: float,
    rows: int,
    classes: tuple[Any, Any] | None,
    named: bool,
    data: st.DataObject,
) -> None:
    names = data.draw(st.lists(st.text(), min_size=len(coefficients), max_size=len(coefficients))) if named else None
    there = SavedWeights(
        intercept, tuple(coefficients), rows, l2, None if names is None else tuple(names), classes, "1.2"
    )
    back = SavedWeights.from_json_text(there.to_json_text())
    assert back == there
    assert repr(back) == repr(there)  # -0.0 equals 0.0, and True equals 1, but they are not spelt alike


def test_a_file_holds_the_text_and_names_what_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "weights.json"
    some().save(path)
    body = json.loads(path.read_text())
    assert path.read_text() == some().to_json_text()
    assert SavedWeights.load(str(path)) == some()
    assert body.keys() == {
        "classes", "coefficients", "features", "format", "intercept", "l2", "quantlr", "rows", "sha256",
    }  # fmt: skip
    assert body["features"] == ["lag_1", "lag_2", "größe"]
    assert (body["format"], body["rows"], body["l2"]) == (1, 250, 0.01)
    sha256 = body.pop("sha256")
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"))
    assert sha256 == hashlib.sha256(canonical.encode()).hexdigest()


def test_a_layout_of_another_hand_does_no_harm() -> None:
    body = json.loads(some().to_json_text())
    assert SavedWeights.from_json_text(json.dumps(dict(reversed(body.items())), indent=4)) == some()


def test_any_digit_that_is_edited_is_noticed() -> None:
    text = some(coefficients=(0.1 + 0.2, 5e-324, 123456.789)).to_json_text()
    body = text[: text.index('"sha256"')]
    digits = [at for at, letter in enumerate(body) if letter.isdigit()]
    assert len(digits) > 50
    for at in digits:
        edited = text[:at] + str((int(text[at]) + 1) % 10) + text[at + 1 :]
        with pytest.raises(DataError):
            SavedWeights.from_json_text(edited)


def test_a_digit_too_many_is_noticed_though_the_number_is_the_same() -> None:
    with pytest.raises(DataError, match=r"changed or damaged.*needed -0\.1, found -0\.10;.*save the weights again"):
        SavedWeights.from_json_text(some().to_json_text().replace("-0.1,", "-0.10,"))


def test_a_checksum_that_does_not_fit_is_refused_with_both() -> None:
    text = some().to_json_text().replace('"rows":250', '"rows":251')
    with pytest.raises(
        DataError, match=r"changed or damaged.*needed SHA-256 \w{64}, found SHA-256 \w{64}; save the weights again"
    ):
        SavedWeights.from_json_text(text)


def without(name: str) -> Callable[[Body], object]:
    return lambda body: body.pop(name)


def with_(**fields: Any) -> Callable[[Body], object]:
    return lambda body: body.update(fields)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "needed the JSON that quantlr saves, found something else.*; save the weights again"),
        ("weights", "needed the JSON that quantlr saves"),
        ("[" * 100_000, "needed the JSON that quantlr saves"),
        ("[1, 2]", "needed a JSON object with the weights, found list"),
        (
            '{"format": 1}',
            "needed the fields classes, coeff.*without classes, coefficients, features.*save the weights",
        ),
        (forged(without("l2")), "found weights without l2;"),
        (forged(with_(alpha=1.0)), "found weights with alpha;"),
        (
            forged(with_(format=2)),
            r"needed weights of format 1, found format 2; use the version.*\(0\.\d+.*\), or save",
        ),
        (forged(with_(coefficients=[1.0, 2.0])), "needed a coefficient for each of 3 features, found 2; name as many"),
        (forged(with_(coefficients=[1.0, float("nan"), 2.0])), "needed finite numbers, found NaN; save"),
        (forged(with_(intercept=float("-inf"))), "needed finite numbers, found -Infinity; save"),
        (forged(with_(l2=0.25)).replace("0.25", "1e999"), "needed inf, found 1e999"),
        (forged(with_(coefficients="123")), "needed floats for coefficients, found '123';"),
        (forged(with_(coefficients=[1.0, True, 2.0])), "needed floats for coefficients"),
        (forged(with_(intercept=1)), "needed a float for intercept, found 1;"),
        (forged(with_(l2=None)), "needed a float for l2"),
        (forged(with_(l2=-1.0)), r"needed rows and l2 of at least 0, found 250 and -1\.0; correct them"),
        (forged(with_(rows=2.5)), r"needed a whole number for rows, found 2\.5"),
        (forged(with_(rows=-1)), "needed rows and l2 of at least 0, found -1"),
        (forged(with_(quantlr=1)), "needed text for quantlr"),
        (forged(with_(features="abc")), "needed a list or null for features"),
        (forged(with_(features=["a", "b", 3])), "needed features named by text, found .*; rename them"),
        (forged(with_(classes=7)), "needed a list or null for classes"),
        (forged(with_(classes=["up"])), "needed two classes that differ.*found .'up'.; name both"),
        (forged(with_(classes=["up", "up"])), "needed two classes that differ"),
        (forged(with_(classes=[["up"], None])), "needed two classes that differ, each text, a finite number"),
    ],
    ids=range(26),
)
def test_what_is_no_weights_is_refused_with_a_remedy(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        SavedWeights.from_json_text(text)
    path = tmp_path / "weights.json"
    path.write_text(text)
    with pytest.raises(DataError, match=rf"weights\.json: .*{message}"):
        SavedWeights.load(path)


def test_weights_without_end_are_refused_where_they_are_made() -> None:
    with pytest.raises(DataError, match="needed finite weights, found inf for lag_2; fit again, with l2 above 0"):
        some(coefficients=(0.0, float("inf"), 1.0))
    with pytest.raises(DataError, match="found nan for feature 0"):
        some(coefficients=(float("nan"),), features=None)
    with pytest.raises(DataError, match="found nan for the intercept"):
        some(intercept=float("nan"))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"none\.json can't be read: No such file.*; name the file that they were saved"
    ):
        SavedWeights.load(tmp_path / "none.json")
    with pytest.raises(DataError, match="can't be read"):
        SavedWeights.load(tmp_path)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.json"
    path.write_bytes(b"\x80\x04\x95pickle")
    with pytest.raises(DataError, match=r"needed JSON in UTF-8, found other bytes; save the weights again"):
        SavedWeights.load(path)


def test_a_failed_write_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "weights.json"
    some(rows=1).save(path)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        OutputError, match=r"can't be written to .*weights\.json: No space left.*; name a file in a folder"
    ):
        some(rows=2).save(path)
    assert SavedWeights.load(path).rows == 1
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.name != "posix", reason="elsewhere a file that is being read can't be replaced")
def test_whoever_reads_meanwhile_reads_the_former_file_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "weights.json"
    some(rows=1).save(path)
    with path.open("rb", buffering=0) as reader:
        begun = reader.read(10)
        some(rows=2).save(path)
        assert SavedWeights.from_json_text((begun + reader.read()).decode()).rows == 1
    assert SavedWeights.load(path).rows == 2


def test_a_folder_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="No such file or directory; name a file in a folder that exists"):
        some().save(tmp_path / "none" / "weights.json")
