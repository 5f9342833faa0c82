"""Components as a user would write them, right and wrong ones, each in a file of its own; for tests."""

from __future__ import annotations

import sys
from importlib.util import cache_from_source
from pathlib import Path
from types import ModuleType
from typing import Any

SMALL: dict[str, Any] = {
    "name": "small",
    "data": {"source": {"kind": "sample"}, "tickers": ["MSFT"], "end": "2002-12-31"},
    "features": [{"kind": "lagged_returns", "lags": [1, 2]}],
    "walk_forward": {"train": 250, "refit_every": 50},
}

CODE = '''
"""Components of a user."""
from typing import Literal

import numpy as np
import quantlr
from pydantic import Field, field_validator
from quantlr.backtest.overlays import Overlay
from quantlr.data.labels import Label, Direction
from quantlr.data.source import Source
from quantlr.data.sources import SampleSource


class Change(quantlr.Feature):
    """Return over some bars."""

    kind: Literal["change"] = "change"
    bars: int = Field(1, description="Number of bars.")

    def compute(self, prices):
        """One column, as a fraction."""
        values = np.full(prices.close.shape, np.nan)
        values[self.bars :] = prices.close[self.bars :] / prices.close[: -self.bars] - 1
        return {f"change_{self.bars}": values}

    def warm_up(self):
        """The bars."""
        return self.bars


class Failing(Change):
    """A feature with a slip in a function that it calls."""

    kind: Literal["failing"] = "failing"

    def compute(self, prices):
        """Fail."""
        return {"failing": ratio_of(prices)}


def ratio_of(prices):
    return prices.close / prices.opening  # LINE failing


class FailingValidator(Change):
    """A feature whose validator fails."""

    kind: Literal["failing_validator"] = "failing_validator"

    @field_validator("bars")
    @classmethod
    def _check(cls, bars):
        return bars / 0  # LINE failing_validator


class FailingLabel(Label):
    """A label that fails."""

    kind: Literal["failing_label"] = "failing_label"

    def compute_labels(self, prices):
        """Fail."""
        raise RuntimeError  # LINE failing_label


class FailingPolicy(quantlr.Policy):
    """A policy that fails."""

    kind: Literal["failing_policy"] = "failing_policy"

    def decide(self, forecasts, context):
        """Fail."""
        return forecasts.probability[:, 0]  # LINE failing_policy


class FailingDivisor(quantlr.Policy):
    """A policy whose second method fails."""

    kind: Literal["failing_divisor"] = "failing_divisor"

    def decide(self, forecasts, context):
        """Flat."""
        return 0 * forecasts.probability

    def capital_divisor(self, forecasts):
        """Fail."""
        return {}["n"]  # LINE failing_divisor


class FailingOverlay(Overlay):
    """An overlay that fails."""

    kind: Literal["failing_overlay"] = "failing_overlay"

    def apply(self, weight, forecasts, context):
        """Fail."""
        assert weight is None, "weights\\nfound"  # LINE failing_overlay


class FailingSource(Source):
    """A source that fails."""

    kind: Literal["failing_source"] = "failing_source"

    def fetch(self, request):
        """Fail."""
        with open("/no/such/file") as file:  # LINE failing_source
            return file.read()


class Half(quantlr.Policy):
    """Half long where up is more probable than not."""

    kind: Literal["half"] = "half"

    def decide(self, forecasts, context):
        """0.5 or 0."""
        return np.where(forecasts.probability > 0.5, 0.5, 0.0)


class TwoDays(Direction):
    """The direction over two days."""

    kind: Literal["two_days"] = "two_days"
    horizon: int = 2


class Halved(Overlay):
    """Half of each weight."""

    kind: Literal["halved"] = "halved"

    def apply(self, weight, forecasts, context):
        """Half."""
        return weight / 2


class Sample(SampleSource):
    """The sample under another name."""

    kind: Literal["own_sample"] = "own_sample"


class Wrong(quantlr.Policy):
    """A policy that returns what it is given."""

    kind: Literal["wrong"] = "wrong"
    value: str = Field("", description="What to return.")

    def decide(self, forecasts, context):
        """Return something wrong."""
        rows = len(forecasts.probability)
        return {"none": None, "short": np.zeros(rows - 1), "nan": np.full(rows, np.nan), "large": np.full(rows, 2.0)}[
            self.value
        ]


class Wrapping(Change):
    """A feature that computes another one."""

    kind: Literal["wrapping"] = "wrapping"

    def compute(self, prices):
        """The columns of the other."""
        return Failing().compute(prices)


class NoKind(quantlr.Feature):
    """A feature without a kind."""

    def compute(self, prices):
        """One column."""
        return {"no_kind": prices.close * 0}

    def warm_up(self):
        """None."""
        return 0
'''


def line_of(mark: str) -> int:
    """Return the line of the user's file that is marked as the one that fails."""
    return next(number for number, line in enumerate(CODE.splitlines(), 1) if line.endswith(f"# LINE {mark}"))


def import_user_module(folder: Path, name: str = "my_parts") -> ModuleType:
    """Write the user's file into a folder that is on the path, and import it as it is now.

    Python would take the compiled former code for that of a file of the same length, written within the same second.
    """
    path = folder / f"{name}.py"
    path.write_text(CODE)
    Path(cache_from_source(path)).unlink(missing_ok=True)
    sys.modules.pop(name, None)
    return __import__(name)


def install_user_module(folder: Path, kinds_by_group: dict[str, dict[str, str]], name: str = "my_parts") -> None:
    """Install the user's file as pip does: metadata with entry points by group, kind and class."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    points = "\n".join(
        f"[quantlr.{group}]\n" + "".join(f"{kind} = {name}:{cls}\n" for kind, cls in kinds.items())
        for group, kinds in kinds_by_group.items()
    )
    (info / "entry_points.txt").write_text(points)
