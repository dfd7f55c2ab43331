"""Run the benchmarks from a command line."""

from __future__ import annotations

import os
import warnings

from tests.servers.environment import ambient_variables, isolated_environment

for _variable in ambient_variables():
    del os.environ[_variable]
os.environ.update(isolated_environment())
warnings.filterwarnings("ignore", "No datajoint.json found")

from benchmarks.command import main  # noqa: E402 - the environment first: client libraries read it at import

if __name__ == "__main__":
    raise SystemExit(main())
