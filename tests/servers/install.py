"""Install what does not come as Python packages: MariaDB, its client programs and Chromium by apt, Azurite by npm.

``python -m tests.servers.install`` is quick when all are there. The other servers are wheels, which the tests'
requirements name.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from . import azurite, chromium, mysql
from .errors import MissingServerError


def main() -> int:
    """Install what is missing; return 1, after saying what the user must run himself, if something could not be."""
    steps = (install_mysql, install_mysql_clients, install_chromium, install_azurite)
    problems = [problem for step in steps if (problem := step())]
    print("\n".join(problems), file=sys.stderr, end="\n" if problems else "")
    return 1 if problems else 0


def install_mysql() -> str | None:
    """Install MariaDB unless a MySQL or MariaDB server is given or found; return the problem, if there is one."""
    try:
        if os.environ.get(mysql.GIVEN) or mysql.find_program():
            return None
    except MissingServerError as error:
        if not (os.geteuid() == 0 and shutil.which("apt-get")):
            return str(error)
    return _apt(mysql.INSTALL)


def install_chromium() -> str | None:
    """Install Chromium and its driver unless they, or Chrome's, are found; return the problem, if there is one."""
    try:
        chromium.find_programs()
    except MissingServerError as error:
        if not (os.geteuid() == 0 and shutil.which("apt-get")):
            return str(error)
        return _apt(chromium.INSTALL)
    return None


def install_mysql_clients() -> str | None:
    """Install the programs that make dumps and load them, unless they are here; return the problem, if there is one."""
    pairs = (("mariadb-dump", "mysqldump"), ("mariadb", "mysql"))
    if all(any(map(shutil.which, names)) for names in pairs):
        return None
    if not (os.geteuid() == 0 and shutil.which("apt-get")):
        return str(MissingServerError("the clients of MySQL or MariaDB", mysql.INSTALL_CLIENTS))
    return _apt(mysql.INSTALL_CLIENTS)


def install_azurite() -> str | None:
    """Install Azurite into the user's cache unless that version is there; return the problem, if there is one."""
    if not (shutil.which("node") and shutil.which("npm")):
        return str(MissingServerError("Node.js with npm", "apt-get install npm"))
    if azurite.is_installed():
        return None
    azurite.prefix().mkdir(parents=True, exist_ok=True)
    package = f"azurite@{azurite.VERSION}"
    return _try(["npm", "install", "--no-audit", "--no-fund", "--prefix", str(azurite.prefix()), package])


def _apt(advice: str) -> str | None:
    """Install the packages that users are advised to install by apt."""
    packages = advice.partition(" install ")[2].split()
    apt = ["apt-get", "install", "--yes", "--quiet", "--no-install-recommends", *packages]
    return _try(["apt-get", "update", "--quiet"]) or _try(apt, {"DEBIAN_FRONTEND": "noninteractive"})


def _try(command: list[str], environment: dict[str, str] | None = None) -> str | None:
    print("+", *command, flush=True)
    code = subprocess.run(command, env={**os.environ, **(environment or {})}, check=False).returncode
    return f"exit code {code}: {' '.join(command)}" if code else None


if __name__ == "__main__":
    sys.exit(main())
