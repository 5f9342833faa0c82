from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

# Machines differ in speed, and a test that is slow is not wrong; the same examples on every run.
settings.register_profile(
    "house", deadline=None, derandomize=True, max_examples=60, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("house")


@pytest.fixture(autouse=True)
def _one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let runs inside tests start no process unless they are told how many: the suite keeps all cores busy itself."""
    monkeypatch.setattr("quantlr.processes.available", lambda: 1)


@pytest.fixture(autouse=True, scope="session")
def _a_home_that_is_not_the_users(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QUANTLR_HOME", str(tmp_path_factory.mktemp("home")))
        yield
