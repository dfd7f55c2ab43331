"""Database diagnostics: DataJoint's own settings, the server, and what its user may do there.

Nothing is created: rights are read from the grants. The store is checked in `datajoint_file.doctor`, what rows name
in `datajoint_file.doctor.schemas`.
"""

from __future__ import annotations

import errno
import re
import socket
from collections.abc import Callable, Generator
from contextlib import closing
from functools import partial
from typing import Any

from datajoint import settings as dj_settings

from datajoint_file.config import Settings
from datajoint_file.config.rules import check_disjoint
from datajoint_file.doctor.check import Check, Status, censored
from datajoint_file.doctor.collector_rights import check_notes, check_sight
from datajoint_file.doctor.roots import check_links
from datajoint_file.doctor.schemas import asking, check_schemas
from datajoint_file.doctor.store import CONNECT_SECONDS
from datajoint_file.errors import ConfigurationError, driver_message, printable
from datajoint_file.hooks.targets import open_connection
from datajoint_file.model.wording import counted, pip_install
from datajoint_file.sql import DIALECTS, Dialect, dialect_of


def check_stores(settings: Settings) -> Check:
    """Look whether the project's root is apart from the stores of DataJoint itself."""
    try:
        check_disjoint(settings, dj_settings.config.stores or {})
    except ConfigurationError as error:
        return Check("other stores", "failed", str(error), "give the project a directory or bucket of its own")
    return Check("other stores", "ok", "apart from those of DataJoint")


def check_database(
    settings: Settings | None = None, *, read_only: bool = False, collector: bool = False
) -> Generator[Check, None, None]:
    """Look at the database that DataJoint is configured for, with a connection of its own, which is closed again.

    Its schemas are compared with *settings*, if there are valid ones; who only reads (*read_only*) needs no other
    right, and a *collector* others. The checks hold no secrets.
    """
    database = dj_settings.config.database
    return censored(
        _checks(database, settings, read_only, collector),
        [database.password.get_secret_value() if database.password else ""],
    )


def _checks(database: Any, settings: Settings | None, read_only: bool, collector: bool) -> Generator[Check, None, None]:
    yield _check_settings(f"{database.user}@{database.host}:{database.port}, {database.backend}")
    if database.user is None or database.password is None:
        missing = "user" if database.user is None else "password"
        fix = "export DJ_HOST=… DJ_USER=… DJ_PASS=…, or fill in what dj.config.save_template() writes"
        yield Check("credentials", "failed", f"no database {missing} is configured", fix)
        return
    if silent := check_answer(database.host, database.port, database.backend):
        yield silent
        return
    try:
        connection = open_connection()
    except Exception as error:  # noqa: BLE001 - each driver has exceptions of its own, and may not be installed
        yield Check("connection", "failed", driver_message(error), _advice_on_connection(error, database))
        return
    with closing(connection):
        yield Check("connection", "ok", f"{database.user}@{database.host}:{database.port}, {database.backend}")
        looks: dict[str, Callable[[Any], Check]] = {
            "server": check_server,
            "JSON": _check_json,
            "rights": partial(check_rights, read_only=read_only),
            "readable": _check_readable,
        }
        if collector:
            project = settings.project.name if settings is not None else ""
            looks |= {"rights": check_sight, "notes": partial(check_notes, project=project)}
        for name, look in looks.items():
            yield _taken(name, look, connection)
        if settings is not None:
            yield _taken("schemas", lambda found: check_schemas(settings, found), connection)
        if settings is not None and settings.roots:
            yield _taken("links", lambda found: check_links(settings, found), connection)


def _check_settings(address: str) -> Check:
    """Look where DataJoint's settings come from, and tell which server they name before it is waited for."""
    config = dj_settings.config
    if config._config_path is not None:
        return Check("settings", "ok", f"{config._config_path}: {address}")
    path = None if config.ignore_config_file else dj_settings.find_config_file()
    if path is not None:
        return Check("settings", "failed", f"{path} could not be loaded", "correct it; DataJoint's warning says why")
    return Check("settings", "ok", f"no datajoint.json: environment variables and defaults: {address}")


def check_answer(host: str, port: int, backend: str) -> Check | None:
    """Return what is wrong if nobody listens there, or says nothing where a server has to greet."""
    name, _, number = host.partition(":")
    greets = any(dialect.greets for dialect in DIALECTS if dialect.backend == backend)
    try:
        with socket.create_connection((name, int(number or port)), CONNECT_SECONDS) as connection:
            if greets and not connection.recv(1):
                raise ConnectionAbortedError(errno.ECONNABORTED, "the connection was closed at once")
    except OSError as error:
        detail = f"{name}:{number or port} does not answer: {error.strerror or error}"
        fix = f"start the server, or correct {_now(host, port, backend)}"
        if greets and isinstance(error, TimeoutError):
            silent = [dialect for dialect in DIALECTS if not dialect.greets]
            fix += "".join(f". {d.title} waits as this one does: for it, export DJ_BACKEND={d.backend}" for d in silent)
        return Check("connection", "failed", detail, fix)
    return None


def _now(host: str, port: int, backend: str) -> str:
    return f"DJ_HOST, DJ_PORT and DJ_BACKEND (now {host}, {port}, {backend}), or their like in datajoint.json"


def _taken(name: str, look: Callable[[Any], Check], connection: Any) -> Check:
    try:
        return look(connection)
    except Exception as error:  # noqa: BLE001 - whatever the driver raises: the other checks are still wanted
        fix = "run it again if the connection was lost; else show this message to whoever administers the server"
        return Check(name, "failed", driver_message(error), fix)


def _advice_on_connection(error: Exception, database: Any) -> str:
    text = driver_message(error)
    if isinstance(error, ImportError):
        return pip_install("postgres")
    if re.search(r"(?i)access denied|authentication failed|no password", text):
        return "correct DJ_USER and DJ_PASS, or database.user and database.password"
    if re.search(r"(?i)database .* does not exist", text):
        return "create that database, or correct DJ_DATABASE_NAME or database.name"
    return f"start the server, or correct {_now(database.host, database.port, database.backend)}"


def check_server(connection: Any) -> Check:
    """Look which server it is, and whether DataJoint supports it."""
    dialect = dialect_of(connection)
    return check_version(dialect, str(asking(connection)(dialect.version)[0][0]))


def check_version(dialect: Dialect, version: str) -> Check:
    """Return what is to be said of a server that gives its version as *version*.

    Examples
    --------
    >>> from datajoint_file.sql import MySQL
    >>> check_version(MySQL(), "5.7.44-log").fix
    'upgrade the server to MySQL 8.0.13 or later'
    """
    known = re.match(r"\d+(\.\d+)*", version)
    found = tuple(int(part) for part in known[0].split(".")) if known else ()
    detail = f"{dialect.title} {known[0] if known else version}"
    usable, supported = dialect.usable_from, dialect.supported_from
    if not _reaches(found, usable):
        fix = f"upgrade the server to {dialect.title} {_dotted(supported or usable)} or later"
        return Check("server", "failed", f"{detail} is older than {_dotted(usable)}", fix)
    if not supported:
        detail = f"{detail} works, but DataJoint does not support {dialect.title}"
        known_good = " or ".join(sorted(each.title for each in DIALECTS if each.supported_from))
        return Check("server", "warning", detail, f"for new projects take {known_good}")
    if not _reaches(found, supported):
        detail = f"{detail} works, but DataJoint supports {_dotted(supported)} and later"
        return Check("server", "warning", detail, "upgrade the server when you can")
    return Check("server", "ok", detail)


def _reaches(found: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Compare as many parts as the server tells."""
    return bool(found) and found >= wanted[: len(found)]


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def _check_json(connection: Any) -> Check:
    dialect = dialect_of(connection)
    found = asking(connection)(f"SELECT {dialect.path('file_json')} FROM ({dialect.json_row}) AS one")[0][0]
    if found != "12":
        return Check("JSON", "failed", f"a JSON function gave {found}, expected 12", "upgrade the server")
    return Check("JSON", "ok", "functions work")


def check_rights(connection: Any, *, read_only: bool = False) -> Check:
    """Look what the user may do, without doing it."""
    rights = dialect_of(connection).rights(asking(connection))
    if read_only and rights.extent == "some":
        return Check("rights", "ok", rights.detail)
    status: Status = "ok" if rights.extent == "all" else "warning" if rights.extent == "some" else "failed"
    return Check("rights", status, rights.detail, rights.fix)


def _check_readable(connection: Any) -> Check:
    """Name all schemas of which the user may read something."""
    found = dialect_of(connection).readable_schemas(asking(connection))
    if not found:
        return Check("readable", "ok", "no schema yet")
    return Check("readable", "ok", f"{counted(len(found), 'schema')}: {', '.join(map(printable, found))}")
