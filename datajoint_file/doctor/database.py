"""Database diagnostics: DataJoint's own settings, the server, and what its user may do there.

Nothing is created: rights are read from the grants. The store is checked in `datajoint_file.doctor`.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Generator, Iterable
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any

from datajoint import settings as dj_settings
from datajoint.connection import Connection

from datajoint_file.config import Settings
from datajoint_file.config.rules import check_disjoint
from datajoint_file.doctor import Check, censor_of, censored
from datajoint_file.doctor.store import nothing_below
from datajoint_file.errors import ConfigurationError, DataJointFileError
from datajoint_file.hooks.partitions import primary_keys, unknown_placeholders
from datajoint_file.journal.schema_registry import TABLE
from datajoint_file.model.wording import counted, pip_install
from datajoint_file.storage import open_backend

NEEDED_RIGHTS = ("SELECT", "INSERT", "UPDATE", "DELETE", "CREATE", "REFERENCES")
"""What it takes to declare tables, with foreign keys, and to use them."""

_GRANT = re.compile(r"GRANT (?P<rights>.+?) ON (?P<database>`(?:[^`]|``)*`|\*)\.\* TO ")


def check_stores(settings: Settings) -> Check:
    """Look whether the project's root is apart from the stores of DataJoint itself."""
    try:
        check_disjoint(settings, dj_settings.config.stores or {})
    except ConfigurationError as error:
        return Check("other stores", "failed", str(error), "give the project a directory or bucket of its own")
    return Check("other stores", "ok", "apart from those of DataJoint")


def check_database(settings: Settings | None = None) -> Generator[Check, None, None]:
    """Look at the database that DataJoint is configured for, with a connection of its own, which is closed again.

    Parameters
    ----------
    settings : Settings or None
        The configuration that its schemas are to be compared with, if there is a valid one.

    Yields
    ------
    Check
        What was found, without secrets.
    """
    database = dj_settings.config.database
    password = database.password.get_secret_value() if database.password else ""
    censor = censor_of([password])
    with closing(_checks(database, password, settings)) as checks:
        for check in checks:
            yield censored(check, censor)


def _checks(database: Any, password: str, settings: Settings | None) -> Generator[Check, None, None]:
    yield _check_settings()
    if database.user is None or database.password is None:
        missing = "user" if database.user is None else "password"
        fix = "export DJ_HOST=… DJ_USER=… DJ_PASS=…, or fill in what dj.config.save_template() writes"
        yield Check("credentials", "failed", f"no database {missing} is configured", fix)
        return
    try:
        connection = _connect(database, password)
    except Exception as error:  # noqa: BLE001 - each driver has exceptions of its own, and may not be installed
        yield Check("connection", "failed", _text(error), _advice_on_connection(error, database))
        return
    with closing(connection):
        yield Check("connection", "ok", f"{database.user}@{database.host}:{database.port}, {database.backend}")
        for name, look in (("server", check_server), ("JSON", _check_json), ("rights", check_rights)):
            yield _taken(name, look, connection)
        if settings is not None:
            yield _taken("schemas", lambda found: check_schemas(settings, found), connection)


def check_schemas(settings: Settings, connection: Any) -> Check:
    """Look whether the schemas with ``file`` attributes suit the configuration: their objects, and their keys."""
    schemas = [row[0] for row in connection.query(_USERS).fetchall()]
    if not schemas:
        return Check("schemas", "ok", "none has `file` attributes yet")
    known = set().union(*(primary_keys(connection, schema) for schema in schemas))
    if fault := unknown_placeholders(settings.object_storage.partition_pattern, known):
        return Check("schemas", "warning", fault, "correct partition_pattern; objects are stored without that part now")
    using = [schema for schema in schemas if _uses(connection, schema, settings.project.name)]
    if using and _is_empty(settings):
        fix = "after a move, correct backend, bucket, prefix or path in [storage], or copy the objects there"
        return Check("schemas", "failed", f"{', '.join(using)}: {nothing_below(settings)}", fix)
    return Check("schemas", "ok", f"{counted(len(schemas), 'schema')} with `file` attributes")


_USERS = f"SELECT DISTINCT table_schema FROM information_schema.tables WHERE table_name = '{TABLE}' ORDER BY 1"


def _uses(connection: Any, schema: str, project: str) -> bool:
    table = connection.adapter.make_full_table_name(schema, TABLE)
    with suppress(Exception):  # not for this user to read, or dropped meanwhile
        return bool(connection.query(f"SELECT 1 FROM {table} WHERE project = %s LIMIT 1", (project,)).fetchone())
    return False


def _is_empty(settings: Settings) -> bool:
    """Tell whether nothing of the project can be found. A store that does not answer is not empty."""
    try:
        backend = open_backend(settings.storage, settings.project.name, settings.directory, read_only=True)
        return next(backend.list(settings.project.name), None) is None
    except DataJointFileError:
        return False


def _check_settings() -> Check:
    config = dj_settings.config
    if config._config_path is not None:
        return Check("settings", "ok", str(config._config_path))
    path = None if config.ignore_config_file else dj_settings.find_config_file()
    if path is not None:
        return Check("settings", "failed", f"{path} could not be loaded", "correct it; DataJoint's warning says why")
    return Check("settings", "ok", "no datajoint.json: environment variables and defaults")


def _connect(database: Any, password: str) -> Any:
    """Return a connection like the one of ``dj.conn()``, which belongs to the user's code."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of MariaDB, which has a check of its own
        return Connection(database.host, database.user, password, database.port, database.use_tls)


def _taken(name: str, look: Callable[[Any], Check], connection: Any) -> Check:
    try:
        return look(connection)
    except Exception as error:  # noqa: BLE001 - whatever the driver raises: the other checks are still wanted
        return Check(name, "failed", _text(error), "the message is the server's own")


def _text(error: Exception) -> str:
    """Return an error's message on one line; drivers put a number before it."""
    return " ".join(str(error.args[-1] if error.args else error).split()) or type(error).__name__


def _advice_on_connection(error: Exception, database: Any) -> str:
    text = _text(error)
    if isinstance(error, ImportError):
        return pip_install("postgres")
    if re.search(r"(?i)access denied|authentication failed|no password", text):
        return "correct DJ_USER and DJ_PASS, or database.user and database.password"
    if re.search(r"(?i)database .* does not exist", text):
        return "create that database, or correct DJ_DATABASE_NAME or database.name"
    return (
        f"start the server, or correct DJ_HOST, DJ_PORT and DJ_BACKEND (now {database.host}, {database.port}, "
        f"{database.backend}), or their like in datajoint.json"
    )


@dataclass(frozen=True, slots=True)
class Support:
    """From which version on a database server can be used, and from which on DataJoint supports it.

    Parameters
    ----------
    product : str
        The server's name.
    usable : tuple of int
        The first version that can be used.
    supported : tuple of int
        The first version that is supported; empty if none is.
    """

    product: str
    usable: tuple[int, ...]
    supported: tuple[int, ...]

    def judge(self, version: str) -> Check:
        """Return what is to be said of a server that gives its version as *version*.

        Examples
        --------
        >>> MYSQL.judge("5.7.44-log").fix
        'upgrade the server to MySQL 8.0.13 or later'
        """
        known = re.match(r"\d+(\.\d+)*", version)
        found = tuple(int(part) for part in known[0].split(".")) if known else ()
        detail = f"{self.product} {known[0] if known else version}"
        if not _reaches(found, self.usable):
            fix = f"upgrade the server to {self.product} {_dotted(self.supported or self.usable)} or later"
            return Check("server", "failed", f"{detail} is older than {_dotted(self.usable)}", fix)
        if not self.supported:
            detail = f"{detail} works, but DataJoint does not support {self.product}"
            return Check("server", "warning", detail, "for new projects take MySQL or PostgreSQL")
        if not _reaches(found, self.supported):
            detail = f"{detail} works, but DataJoint supports {_dotted(self.supported)} and later"
            return Check("server", "warning", detail, "upgrade the server when you can")
        return Check("server", "ok", detail)


def _reaches(found: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Compare as many parts as the server tells."""
    return bool(found) and found >= wanted[: len(found)]


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


# https://docs.datajoint.com/reference/specs/database-backends names MySQL 8.0.13 and PostgreSQL 15. MariaDB was named
# there before, from 10.6 on; now DataJoint warns of it when it connects.
MYSQL = Support("MySQL", (8, 0, 13), (8, 0, 13))
MARIADB = Support("MariaDB", (10, 6), ())
POSTGRESQL = Support("PostgreSQL", (12,), (15,))


def check_server(connection: Any) -> Check:
    """Look which server it is, and whether DataJoint supports it."""
    if connection.adapter.backend == "postgresql":
        return POSTGRESQL.judge(_value(connection, "SHOW server_version"))
    version = _value(connection, "SELECT VERSION()")
    return (MARIADB if "mariadb" in version.lower() else MYSQL).judge(version)


def _check_json(connection: Any) -> Check:
    queries = {
        "mysql": """SELECT JSON_EXTRACT('{"size": 12}', '$.size')""",
        "postgresql": """SELECT '{"size": 12}'::jsonb ->> 'size'""",
    }
    found = _value(connection, queries[connection.adapter.backend])
    if found != "12":
        return Check("JSON", "failed", f"a JSON function gave {found}, expected 12", "upgrade the server")
    return Check("JSON", "ok", "functions work")


def check_rights(connection: Any) -> Check:
    """Look what the user may do, without doing it."""
    look = _postgresql_rights if connection.adapter.backend == "postgresql" else _mysql_rights
    return look(connection)


def _mysql_rights(connection: Any) -> Check:
    rights = rights_in(row[0] for row in connection.query("SHOW GRANTS").fetchall())
    complete = [database for database, granted in rights.items() if granted.issuperset(NEEDED_RIGHTS)]
    if complete:
        where = "any name" if "*" in complete else f"the names {', '.join(complete)}"
        return Check("rights", "ok", f"may create and use schemas of {where}")
    user, _, host = _value(connection, "SELECT CURRENT_USER()").rpartition("@")
    fix = f"an administrator can GRANT ALL PRIVILEGES ON `PREFIX\\_%`.* TO '{user}'@'{host}'"
    database, granted = max(rights.items(), key=lambda item: len(item[1]), default=("*", frozenset[str]()))
    lacking = ", ".join(right for right in NEEDED_RIGHTS if right not in granted)
    if "SELECT" in granted:
        return Check("rights", "warning", f"may read schemas {database}, but lacks {lacking}", fix)
    return Check("rights", "failed", f"lacks {lacking} on schemas", fix)


def rights_in(grants: Iterable[str]) -> dict[str, frozenset[str]]:
    r"""Return what MySQL's ``SHOW GRANTS`` gives on whole schemas, by their names: ``lab_*``, or ``*`` for all.

    Examples
    --------
    >>> rights = rights_in([r"GRANT SELECT ON *.* TO `a`@`%`", r"GRANT CREATE, DROP ON `lab\_%`.* TO `a`@`%`"])
    >>> sorted(rights["lab_*"]), sorted(rights["*"])
    (['CREATE', 'DROP', 'SELECT'], ['SELECT'])
    """
    rights: dict[str, frozenset[str]] = {}
    for match in filter(None, map(_GRANT.match, grants)):
        database = match["database"].strip("`").replace("\\_", "_").replace("%", "*")
        granted = match["rights"].replace("ALL PRIVILEGES", ", ".join(NEEDED_RIGHTS)).split(", ")
        rights[database] = rights.get(database, frozenset()) | frozenset(granted)
    everywhere = rights.get("*", frozenset())
    return {database: granted | everywhere for database, granted in rights.items()}


def _postgresql_rights(connection: Any) -> Check:
    if _value(connection, "SELECT has_database_privilege(current_database(), 'CREATE')") == "True":
        return Check("rights", "ok", "may create and use schemas")
    query = "SELECT quote_ident(current_database()), quote_ident(current_user)"
    database, user = connection.query(query).fetchone()
    fix = f"an administrator can GRANT CREATE ON DATABASE {database} TO {user}"
    writable = [row[0] for row in connection.query(_SCHEMAS_TO_CREATE_IN).fetchall()]
    if writable:
        return Check("rights", "warning", f"may create tables in {', '.join(writable)}, but no schemas", fix)
    if _value(connection, _READABLE_TABLES) != "0":
        return Check("rights", "warning", "may read tables, but create neither tables nor schemas", fix)
    return Check("rights", "failed", "may neither create schemas nor read tables", fix)


_SCHEMAS_TO_CREATE_IN = """
    SELECT nspname FROM pg_namespace
    WHERE has_schema_privilege(oid, 'CREATE') AND nspname NOT IN ('public', 'information_schema')
    AND left(nspname, 3) <> 'pg_' ORDER BY nspname
"""
_READABLE_TABLES = """
    SELECT count(*) FROM information_schema.table_privileges WHERE privilege_type = 'SELECT'
    AND table_schema NOT IN ('pg_catalog', 'information_schema')
"""


def _value(connection: Any, query: str) -> str:
    """Return the only value that a query gives, as text."""
    return str(connection.query(query).fetchone()[0])
