"""Settings shared by all tests: no display; hypothesis has no deadlines and is repeatable in CI."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

os.environ.setdefault("MPLBACKEND", "Agg")

# A shared machine stalls now and then: how long one example takes says nothing.
settings.register_profile("local", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("lossim-ci", settings.get_profile("local"), derandomize=True, print_blob=True)
settings.load_profile("lossim-ci" if os.environ.get("CI") else "local")
