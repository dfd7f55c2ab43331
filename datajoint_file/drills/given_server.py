"""Database server for a drill that somebody has given: an empty one, for one drill at a time, and empty in the end.

One of a drill's own is the business of `servers`.
"""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

from datajoint import settings as dj_settings

from datajoint_file.drills.dumps import Product
from datajoint_file.drills.servers import Account
from datajoint_file.errors import DrillError, DrillRefusedError, driver_message, printable
from datajoint_file.journal.schema_registry import identity_of
from datajoint_file.journal.second_connection import second_connection_of

logger = logging.getLogger("datajoint_file")

_NAME = "datajoint_file_drill"

_LOCK = {
    "mysql": ["SET SESSION wait_timeout = 2147483", f"SELECT GET_LOCK('{_NAME}', 0)"],
    "postgresql": [f"SELECT pg_try_advisory_lock(hashtext('{_NAME}'))"],  # of the database that drills connect to
}

_SYSTEM_SCHEMAS = "'information_schema', 'performance_schema', 'mysql', 'sys'"


@contextmanager
def given_server(address: str, real: Any) -> Iterator[Account]:
    """Use a server that is there, with the user of the configuration; what was loaded is dropped when the block ends.

    *real* is the connection to the real server; None if that is not reached.

    Raises
    ------
    DrillRefusedError
        If it is the real server, by whatever name, has schemas already, or another drill is at it.
    DrillError
        If it cannot be used.
    """
    account = _given(address)
    with suppress(Exception):  # the real one may not be reached
        host, port = real.conn_info["host"], int(real.conn_info["port"])
        if (account.host.lower(), account.port) == (host.lower(), port):
            raise _is_real(address)
    with _alone(account, address):
        _require_empty(account, address, real)
        with (_new_database if account.backend == "postgresql" else _new_schemas)(account) as filled:
            yield filled


@contextmanager
def _alone(account: Account, address: str) -> Iterator[None]:
    """Keep other drills off a server by a lock that it has, and that goes with the connection, also if this is killed.

    What one had loaded would be the other's to drop. Should the connection get lost, the server is not empty, at least.
    """
    try:
        driver = account.driver()
    except Exception as error:
        raise DrillError(f"{account.user}@{account.host}:{account.port}: {driver_message(error)}") from error
    try:
        with driver.cursor() as cursor:
            for sql in _LOCK[account.backend]:
                cursor.execute(sql)
            (is_ours,) = cursor.fetchone()
        if not is_ours:
            raise DrillRefusedError(
                f"{address}: another drill is at work in that server, and each drops in the end what is there. Begin "
                "this one when that has ended, or give it a server of its own"
            )
        yield
    finally:
        driver.close()


def _require_empty(account: Account, address: str, real: Any) -> None:
    """Raise if a server is the real one, or somebody uses it."""
    connection = account.connect()
    try:
        query = second_connection_of(connection).query
        if real is not None and _same_server(connection, real):
            raise _is_real(address)
        if there := _schemas(query, account.backend):
            raise DrillRefusedError(
                f"{address} has schemas already: {', '.join(map(printable, there[:5]))}. A drill needs an empty "
                "server. If a drill was killed here, drop them by hand, once you have looked"
            )
    finally:
        connection.close()
        second_connection_of(connection).close()


def _is_real(address: str) -> DrillRefusedError:
    return DrillRefusedError(f"{address} is the real server: a dump is never loaded there. Give another, empty one")


def _given(address: str) -> Account:
    match = re.fullmatch(r"(\[[^\]]+\]|[^:\s]+)(?::(\d{1,5}))?", address)
    database = dj_settings.config.database
    if match is None:
        raise DrillError(f"server = {address!r}: give HOST:PORT")
    if database.user is None or database.password is None:
        raise DrillError("no database user or password is configured: export DJ_USER=… DJ_PASS=…")
    product: Product = "postgresql" if database.backend == "postgresql" else "mysql"
    port = int(match[2] or (5432 if product == "postgresql" else 3306))
    password = database.password.get_secret_value()
    return Account(product, match[1].strip("[]"), port, database.user, password, use_tls=database.use_tls)


def _same_server(one: Any, other: Any) -> bool:
    if one.adapter.backend != other.adapter.backend:
        return False
    mine, theirs = (replace(identity_of(second_connection_of(each)), database="") for each in (one, other))
    return mine == theirs


def _schemas(query: Callable[..., Any], backend: str) -> list[str]:
    """Return what is on a server but its own."""
    if backend == "mysql":
        sql = f"SELECT schema_name FROM information_schema.schemata WHERE schema_name NOT IN ({_SYSTEM_SCHEMAS})"
        return sorted(str(name) for (name,) in query(sql))
    databases = "SELECT datname FROM pg_database WHERE NOT datistemplate AND datname <> 'postgres'"
    schemas = (
        "SELECT nspname FROM pg_namespace WHERE nspname NOT IN ('public', 'information_schema') "
        "AND left(nspname, 3) <> 'pg_'"
    )
    return sorted(str(name) for sql in (databases, schemas) for (name,) in query(sql))


@contextmanager
def _new_database(account: Account) -> Iterator[Account]:
    name = f"{_NAME}_{secrets.token_hex(8)}"
    _execute(account, f"CREATE DATABASE {name}")
    try:
        yield replace(account, database=name)
    finally:
        _execute(account, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@contextmanager
def _new_schemas(account: Account) -> Iterator[Account]:
    with suppress(Exception):
        driver = account.driver()
        is_mariadb = "mariadb" in str(driver.get_server_info()).lower()
        account = replace(account, product="mariadb" if is_mariadb else "mysql")
        driver.close()
    try:
        yield account
    finally:
        with account.driver() as driver, driver.cursor() as cursor:

            def query(sql: str) -> Any:
                cursor.execute(sql)
                return cursor.fetchall()

            for name in _schemas(query, "mysql"):
                if name.lower() not in account.schemas:  # it was empty, but others may have begun to use it
                    logger.warning("%s is left in %s: no dump names it", printable(name), account.host)
                    continue
                quoted = name.replace("`", "``")
                cursor.execute(f"DROP DATABASE IF EXISTS `{quoted}`")


def _execute(account: Account, sql: str) -> None:
    driver = account.driver()
    try:
        with driver.cursor() as cursor:
            cursor.execute(sql)
    finally:
        driver.close()
