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


def example_weights(**fields: Any) -> SavedWeights:
    default = {"intercept": -0.1, "coefficients": (1 / 3, -2e-17, 5e300), "rows": 250, "l2": 0.01}
    return SavedWeights(**{**default, "features": ("lag_1", "lag_2", "größe"), "classes": ("down", "up"), **fields})


def forged(change: Callable[[Body], object]) -> str:
    """Return text with a change, and the checksum that goes with it."""
    body = json.loads(example_weights().to_json_text())
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
def test_json_round_trip_keeps_every_bit(
    coefficients: list[float],
    intercept: float,
    l2: float,
    rows: int,
    classes: tuple[Any, Any] | None,
    named: bool,
    data: st.DataObject,
) -> None:
    names = data.draw(st.lists(st.text(), min_size=len(coefficients), max_size=len(coefficients))) if named else None
    features = None if names is None else tuple(names)
    weights = SavedWeights(
        intercept=intercept, coefficients=tuple(coefficients), rows=rows, l2=l2, features=features, classes=classes,
        quantlr="1.2",
    )  # fmt: skip
    back = SavedWeights.from_json_text(weights.to_json_text())
    assert back == weights
    assert repr(back) == repr(weights)  # -0.0 equals 0.0, and True equals 1, but they are not spelt alike


def test_file_holds_the_canonical_json_with_its_checksum(tmp_path: Path) -> None:
    path = tmp_path / "weights.json"
    example_weights().save(path)
    body = json.loads(path.read_text())
    assert path.read_text() == example_weights().to_json_text()
    assert SavedWeights.load(str(path)) == example_weights()
    assert body.keys() == {
        "classes", "coefficients", "features", "format", "intercept", "l2", "quantlr", "rows", "sha256",
    }  # fmt: skip
    assert body["features"] == ["lag_1", "lag_2", "größe"]
    assert (body["format"], body["rows"], body["l2"]) == (1, 250, 0.01)
    sha256 = body.pop("sha256")
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"))
    assert sha256 == hashlib.sha256(canonical.encode()).hexdigest()


def test_order_and_layout_of_the_json_do_not_matter() -> None:
    body = json.loads(example_weights().to_json_text())
    assert SavedWeights.from_json_text(json.dumps(dict(reversed(body.items())), indent=4)) == example_weights()


def test_any_edited_digit_raises() -> None:
    text = example_weights(coefficients=(0.1 + 0.2, 5e-324, 123456.789)).to_json_text()
    body = text[: text.index('"sha256"')]
    digits = [at for at, letter in enumerate(body) if letter.isdigit()]
    assert len(digits) > 50
    for at in digits:
        edited = text[:at] + str((int(text[at]) + 1) % 10) + text[at + 1 :]
        with pytest.raises(DataError):
            SavedWeights.from_json_text(edited)


def test_noncanonical_float_raises() -> None:
    with pytest.raises(DataError, match=r"changed or damaged.*needed -0\.1, found -0\.10;.*save the weights again"):
        SavedWeights.from_json_text(example_weights().to_json_text().replace("-0.1,", "-0.10,"))


def test_wrong_checksum_raises_with_both_checksums() -> None:
    text = example_weights().to_json_text().replace('"rows":250', '"rows":251')
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
        ('{"format": 1}', "found intercept=.*required; save the weights"),
        (forged(without("l2")), "found l2=.*required"),
        (forged(without("format")), "found format None"),
        (forged(with_(alpha=1.0)), r"found alpha=1\.0: .*not permitted"),
        (
            forged(with_(format=2)),
            r"needed weights of format 1, found format 2; use the version.*\(0\.\d+.*\), or save",
        ),
        (forged(with_(coefficients=[1.0, 2.0])), "needed a coefficient for each of 3 features, found 2; name as many"),
        (forged(with_(coefficients=[1.0, float("nan"), 2.0])), "needed finite weights, found nan for lag_2"),
        (forged(with_(intercept=float("-inf"))), "needed finite weights, found -inf for the intercept"),
        (forged(with_(l2=0.25)).replace("0.25", "1e999"), "needed inf, found 1e999"),
        (forged(with_(coefficients="123")), "found coefficients='123': .*tuple"),
        (forged(with_(coefficients=[1.0, True, 2.0])), r"found coefficients\.1=True: .*number"),
        (forged(with_(intercept=1)), "changed or damaged"),
        (forged(with_(l2=None)), "found l2=None: .*number"),
        (forged(with_(l2=-1.0)), r"found l2=-1\.0: .*greater than or equal to 0"),
        (forged(with_(rows=2.5)), r"found rows=2\.5: .*integer"),
        (forged(with_(rows=-1)), "found rows=-1: .*greater than or equal to 0"),
        (forged(with_(quantlr=1)), "found quantlr=1: .*string"),
        (forged(with_(features="abc")), "found features='abc': .*tuple"),
        (forged(with_(features=["a", "b", 3])), r"found features\.2=3: .*string"),
        (forged(with_(classes=7)), "found classes=7: .*tuple"),
        (forged(with_(classes=["up"])), "found classes.*required"),
        (
            forged(with_(classes=["up", "up"])),
            "needed two classes that differ.*found .'up', 'up'.; give both class labels",
        ),
        (forged(with_(classes=[["up"], None])), "found classes"),
        (forged(with_(classes=[0.5, float("inf")])), "needed two classes that differ, each text, a finite number"),
    ],
    ids=range(28),
)
def test_invalid_weights_raise_with_a_remedy(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        SavedWeights.from_json_text(text)
    path = tmp_path / "weights.json"
    path.write_text(text)
    with pytest.raises(DataError, match=rf"weights\.json: .*{message}"):
        SavedWeights.load(path)


def test_weights_that_are_not_finite_raise() -> None:
    with pytest.raises(DataError, match="needed finite weights, found inf for lag_2; fit again, with l2 above 0"):
        example_weights(coefficients=(0.0, float("inf"), 1.0))
    with pytest.raises(DataError, match="found nan for feature 0"):
        example_weights(coefficients=(float("nan"),), features=None)
    with pytest.raises(DataError, match="found nan for the intercept"):
        example_weights(intercept=float("nan"))


def test_missing_file_raises(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"none\.json can't be read: No such file.*; name the file that they were saved"
    ):
        SavedWeights.load(tmp_path / "none.json")
    with pytest.raises(DataError, match="can't be read"):
        SavedWeights.load(tmp_path)


def test_bytes_that_are_not_utf_8_raise(tmp_path: Path) -> None:
    path = tmp_path / "weights.json"
    path.write_bytes(b"\x80\x04\x95pickle")
    with pytest.raises(DataError, match=r"needed JSON in UTF-8, found other bytes; save the weights again"):
        SavedWeights.load(path)


def test_failed_write_keeps_the_previous_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "weights.json"
    example_weights(rows=1).save(path)

    def fsync_without_space(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync_without_space)
    with pytest.raises(
        OutputError, match=r"can't be written to .*weights\.json: No space left.*; name a file in a folder"
    ):
        example_weights(rows=2).save(path)
    assert SavedWeights.load(path).rows == 1
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.name != "posix", reason="elsewhere a file that is being read can't be replaced")
def test_open_reader_keeps_the_previous_file_during_a_write(tmp_path: Path) -> None:
    path = tmp_path / "weights.json"
    example_weights(rows=1).save(path)
    with path.open("rb", buffering=0) as reader:
        first_bytes = reader.read(10)
        example_weights(rows=2).save(path)
        assert SavedWeights.from_json_text((first_bytes + reader.read()).decode()).rows == 1
    assert SavedWeights.load(path).rows == 2


def test_missing_folder_raises(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="No such file or directory; name a file in a folder that exists"):
        example_weights().save(tmp_path / "none" / "weights.json")
