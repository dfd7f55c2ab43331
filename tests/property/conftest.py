"""How many examples: few in every run, many with ``HYPOTHESIS_PROFILE=thorough``."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

_CHECKS = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]

settings.register_profile(
    "quick", max_examples=100, deadline=None, database=None, derandomize=True, suppress_health_check=_CHECKS
)
settings.register_profile("thorough", max_examples=10_000, deadline=None, suppress_health_check=_CHECKS)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))
