"""Loader of a dump into the server of a drill, by the client program of its kind.

The programs get secrets by files of this user alone. What a dump says is run as SQL only: neither client takes
commands of its own from it.
"""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from datajoint_file.concurrency.progress import Advance
from datajoint_file.drills.dumps import Course, DumpFile, archive_moment, text_of
from datajoint_file.drills.processes import environment
from datajoint_file.drills.programs import PostgreSQLPrograms, mysql_client, postgresql
from datajoint_file.drills.servers import Account
from datajoint_file.errors import DrillError, printable

_KEPT_ERRORS = 10
_LINE = 500

_RIGHTS_OF_MYSQL = re.compile(r"^ERROR (?:1044|1142|1227|1290|1396|1410|1449|4006|4032) \(\w+\) at line ")
"""Errors over accounts, definers and rights, which a drill has no use for."""

_RIGHTS_OF_POSTGRESQL = re.compile(
    r"ERROR:\s+(?:role \"|must be (?:owner|superuser|member|able to SET ROLE)|permission denied (?:to|for)"
    r"|schema \"public\" already)"
)
_ERROR_OF_MYSQL = re.compile(r"^ERROR\b|^[\w/.-]+: (?:Error|unknown)", re.IGNORECASE)
_ERROR_OF_POSTGRESQL = re.compile(r"\b(?:ERROR|FATAL|PANIC):|\berror:|^(?:backslash|invalid) command", re.ASCII)
_ONE_DATABASE = "backslash commands are restricted"


@dataclass(slots=True)
class Loaded:
    """What became of one dump."""

    course: Course = field(default_factory=Course)
    errors: list[str] = field(default_factory=list)  # the first of them
    error_count: int = 0
    left_out: int = 0  # statements on accounts and rights that were refused
    code: int = 0  # that the client ended with

    @property
    def problem(self) -> str:
        """Why the dump cannot be relied upon; empty if it can."""
        course = self.course
        if course.fault:
            return course.fault
        if self.errors:
            more = f" (and {self.error_count - 1} more errors)" if self.error_count > 1 else ""
            return f"it cannot be loaded: {self.errors[0]}{more}"
        if course.begun > course.ended:
            return (
                "it lacks its last line, by which a dump says that it is complete: it was cut short, or made with "
                "--skip-comments, which leaves nobody able to tell"
            )
        if self.code and not self.left_out:
            return f"the client program ended with {self.code} and gave no reason"
        return ""


def load(dump: DumpFile, account: Account, directory: Path, advance: Advance) -> Loaded:
    """Load a dump, and return what became of it.

    *advance* is told of the bytes of the file that have been read.

    Raises
    ------
    DrillError
        If there is no client program, or it cannot be used safely.
    """
    if account.backend == "mysql":
        return _load_mysql(dump, account, directory, advance)
    programs = account.programs or postgresql()
    with _password_file(account, directory) as variables:
        if dump.is_archive:
            return _load_archive(dump, account, programs, variables)
        return _load_plain(dump, account, programs, variables, advance)


def _load_mysql(dump: DumpFile, account: Account, directory: Path, advance: Advance) -> Loaded:
    options = directory / "client.cnf"
    quoted = account.password.replace("\\", "\\\\").replace('"', '\\"')
    text = f'[client]\nhost={account.host}\nport={account.port}\nuser="{account.user}"\npassword="{quoted}"\n'
    text += "loose-ssl\nloose-ssl-mode=REQUIRED\n" if account.use_tls else ""  # as either product calls it
    with _secret_file(options, f"{text}protocol=tcp\n"):
        program = mysql_client(account.product)
        command = [program, f"--defaults-file={options}", "--batch", "--binary-mode", "--force"]
        command += ["--local-infile=0", "--max-allowed-packet=1G", "--default-character-set=utf8mb4"]
        loaded = Loaded(Course(schemas=account.schemas))
        beginning: list[bytes] = []
        if dump.database:
            account.schemas.add(dump.database.lower())
            name = dump.database.replace("`", "``")
            beginning = [f"CREATE DATABASE IF NOT EXISTS `{name}`;\nUSE `{name}`;\n".encode()]
        sent = _chained(beginning, text_of(dump, loaded.course, advance))
        _feed(command, sent, loaded, environment(directory), _ERROR_OF_MYSQL, _RIGHTS_OF_MYSQL)
    return loaded


def _load_plain(
    dump: DumpFile,
    account: Account,
    programs: PostgreSQLPrograms,
    variables: dict[str, str],
    advance: Advance,
) -> Loaded:
    command = [programs["psql"], "--no-psqlrc", "--quiet", "--no-password", "--dbname", account.database]
    _require_restricted(command, variables)
    loaded, key = Loaded(), secrets.token_hex(32)
    sent = _chained([f"\\restrict {key}\n".encode()], text_of(dump, loaded.course, advance))
    _feed(command, sent, loaded, variables, _ERROR_OF_POSTGRESQL, _RIGHTS_OF_POSTGRESQL)
    if loaded.errors and _ONE_DATABASE in loaded.errors[0]:
        loaded.errors[0] += "; dump one database with `pg_dump`, without --create"
    return loaded


def _require_restricted(command: list[str], variables: dict[str, str]) -> None:
    """Raise unless this psql can be told to take no commands of its own from what it reads."""
    asked = subprocess.run(  # noqa: S603 - a program of this machine
        [*command, "--command", "\\restrict x"], env=variables, capture_output=True, text=True, check=False
    )
    if "invalid command" in asked.stderr:
        raise DrillError(
            f"{command[0]} is too old to read a dump safely: text in it could run programs here. Update it (releases "
            "since August 2025 know \\restrict), or make dumps with `pg_dump --format=custom`"
        )


def _load_archive(dump: DumpFile, account: Account, programs: PostgreSQLPrograms, variables: dict[str, str]) -> Loaded:
    loaded, program = Loaded(), programs["pg_restore"]
    loaded.course.moment = archive_moment(_listing(program, dump, variables))[0]
    command = [program, "--no-owner", "--no-privileges", "--no-password", "--dbname", account.database]
    _feed([*command, str(dump.path)], (), loaded, variables, _ERROR_OF_POSTGRESQL, _RIGHTS_OF_POSTGRESQL)
    return loaded


def _listing(program: str, dump: DumpFile, variables: dict[str, str] | None = None) -> str:
    command = [program, "--list", str(dump.path)]
    asked = subprocess.run(  # noqa: S603
        command, env=variables, capture_output=True, text=True, check=False, errors="replace"
    )
    return asked.stdout


def archive_version(dump: DumpFile) -> int:
    """Return of which major version of PostgreSQL an archive is; 0 if it does not tell."""
    return archive_moment(_listing(postgresql()["pg_restore"], dump))[1]


def _feed(
    command: list[str],
    text: Iterable[bytes],
    loaded: Loaded,
    variables: dict[str, str],
    is_error: re.Pattern[str],
    is_of_rights: re.Pattern[str],
) -> None:
    """Run a client, give it *text*, and take note of its errors, the first of them in full."""
    client = subprocess.Popen(  # noqa: S603
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=variables,
        start_new_session=True,
    )
    assert client.stdin is not None  # noqa: S101 - for mypy: both are pipes
    assert client.stderr is not None  # noqa: S101
    listener = threading.Thread(target=_listen, args=(client.stderr, loaded, is_error, is_of_rights), daemon=True)
    listener.start()
    try:
        with suppress(BrokenPipeError):
            for piece in text:
                client.stdin.write(piece)
        with suppress(BrokenPipeError):
            client.stdin.close()
        loaded.code = client.wait()
    except BaseException:
        client.kill()
        client.wait()
        raise
    finally:
        listener.join()
        client.stderr.close()


def _listen(errors: IO[bytes], loaded: Loaded, is_error: re.Pattern[str], is_of_rights: re.Pattern[str]) -> None:
    while line := errors.readline(2**16):
        text = line.decode("utf-8", "replace").strip()
        if not is_error.search(text):
            continue
        if is_of_rights.search(text):
            loaded.left_out += 1
            continue
        loaded.error_count += 1
        if len(loaded.errors) < _KEPT_ERRORS:
            loaded.errors.append(printable(text[:_LINE]))


def _chained(beginning: Iterable[bytes], rest: Iterable[bytes]) -> Iterator[bytes]:
    yield from beginning
    yield from rest


@contextmanager
def _password_file(account: Account, directory: Path) -> Iterator[dict[str, str]]:
    """Give the variables by which PostgreSQL's clients find the server and, in a file of this user, the password."""
    escaped = [str(one).replace("\\", "\\\\").replace(":", "\\:") for one in (account.user, account.password)]
    path = directory / "pgpass"
    sslmode = {True: "require", False: "disable"}.get(account.use_tls, "prefer")
    with _secret_file(path, f"*:*:*:{':'.join(escaped)}\n"):
        yield environment(
            directory,
            PGHOST=account.host,
            PGPORT=str(account.port),
            PGUSER=account.user,
            PGPASSFILE=str(path),
            PGSSLMODE=sslmode,
            PGCONNECT_TIMEOUT="30",
        )


@contextmanager
def _secret_file(path: Path, text: str) -> Iterator[None]:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink()
