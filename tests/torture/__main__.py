"""Run the harness from a command line."""

from __future__ import annotations

import os

from tests.servers.environment import ambient_variables, isolated_environment

for _variable in ambient_variables():
    del os.environ[_variable]
os.environ.update(isolated_environment())

from tests.torture.command import main  # noqa: E402 - the environment first: client libraries read it at import

if __name__ == "__main__":
    raise SystemExit(main())
