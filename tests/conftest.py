from __future__ import annotations

from hypothesis import HealthCheck, settings

# Machines differ in speed, and a test that is slow is not wrong; the same examples on every run.
settings.register_profile(
    "house", deadline=None, derandomize=True, max_examples=60, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("house")
