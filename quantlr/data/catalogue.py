"""The sources that a config may name."""

from __future__ import annotations

from quantlr.data.files import File
from quantlr.data.sources import Sample, Source

SOURCES: tuple[type[Source], ...] = (Sample, File)
