from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from refusals import CONFIGS


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the shipped configs, which configs written into it may extend."""
    configs = tmp_path_factory.mktemp("configs")
    for path in CONFIGS:
        shutil.copy(path, configs)
    return configs
