"""`drill`: a backup is restored beside the real thing, verified, and compared with it.

It puts the parts together; what is wrong is worded in `judgement`.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from datajoint import settings as dj_settings

from datajoint_file.concurrency.progress import progress_bar
from datajoint_file.concurrency.threads import check_workers, is_count
from datajoint_file.config import Settings
from datajoint_file.drills.comparison import compare
from datajoint_file.drills.dumps import DumpFile, Product, dump_files
from datajoint_file.drills.given_server import given_server
from datajoint_file.drills.judgement import Evidence, judge
from datajoint_file.drills.ledger import Ledger
from datajoint_file.drills.loading import Loaded, archive_version, load
from datajoint_file.drills.report import DrillReport
from datajoint_file.drills.rows import Database
from datajoint_file.drills.sample import DrawnRow, Sample
from datajoint_file.drills.scratch import scratch_directory
from datajoint_file.drills.servers import Account, private_server
from datajoint_file.drills.store_copy import StoreCopy, open_copy
from datajoint_file.drills.tally import Tally
from datajoint_file.errors import (
    ConfigurationNotFoundError,
    DataJointError,
    DrillError,
    brief,
    brief_traceback,
    driver_message,
    printable,
)
from datajoint_file.hooks.connections import connection_of, pipeline_for
from datajoint_file.hooks.targets import connect
from datajoint_file.journal.second_connection import second_connection_of
from datajoint_file.model.wording import timespan
from datajoint_file.verification.budget import Budget
from datajoint_file.verification.verification import Verification

_REMOTE_READERS = 8
_RETENTION = timedelta(days=30)


@brief_traceback
def drill(
    dump: str | os.PathLike[str],
    store: str | os.PathLike[str] | Mapping[str, Any],
    *,
    connection: Any = None,
    server: str | None = None,
    sample: int | None = 100,
    seed: int | None = None,
    max_age: timedelta | float | str | None = None,
    workers: int | None = None,
    progress: bool | None = None,
) -> DrillReport:
    """Try a backup: restore a dump beside the real database, and verify what its rows name in a copy of the store.

    The dump is loaded into a server of the same kind, which is started for this on the loopback interface, in a
    directory below that for temporary files (``TMPDIR``: it needs as much room as the database), and is gone with it in
    the end, whatever ends the drill. All objects that rows and unexpired history name are looked for in a listing of
    the copy, and compared by size; of a sample the bytes are read and compared with their hash. Then the live database
    is asked what it has by now. Neither it, nor its store, nor the backup is changed.

    Parameters
    ----------
    dump : path
        A dump by ``mysqldump`` or ``mariadb-dump`` (``.sql``, ``.sql.gz``), or by ``pg_dump`` in any of its formats
        but tar; or a directory with several.
    store : path or mapping
        The directory with the copy of the project's objects; or a ``datajoint.toml``, or its tables, that says where
        the copy is, such as in another bucket. It is only read.
    connection : datajoint.Connection, or what has one, optional
        To the live database; DataJoint's own settings if not given. If it is not reached, nothing is compared, and the
        report says so.
    server : str, optional
        ``HOST:PORT`` of an empty server to load the dump into, with the user and password of DataJoint's settings. What
        was loaded is dropped in the end.
    sample : int or None
        How many files and directories to read, about: of each ``file`` attribute the newest, the oldest, the largest,
        and others at random, at least. None is all.
    seed : int, optional
        Of the random numbers: the report names the one that was used, to draw the same sample again.
    max_age : timedelta, float or str, optional
        A dump that is older (``"36h"``, seconds, a `timedelta`) is a problem.
    workers : int, optional
        Objects to read at a time.
    progress : bool, optional
        Show progress bars: always, never, or (``None``) on a terminal or in a notebook after a second.

    Returns
    -------
    DrillReport
        True if the backup is fine. A dump that is broken, cut short or too old is a problem of the report.

    Raises
    ------
    DrillRefusedError
        If the server or the store that was given is the real one, or the server is not empty.
    DrillError
        If a program is missing that the dump needs, the dump is not there, or no server can be started.
    ConfigurationError
        If the pipeline's configuration is missing or wrong.
    StorageError
        If the copy cannot be listed.
    TypeError, ValueError
        If another argument is none of the above.

    Notes
    -----
    The dump is run as SQL by an account that may do nothing but fill schemas. With *server* that is the account of the
    configuration, so do not give a dump of unknown origin to a server that has more than it.

    Examples
    --------
    >>> report = datajoint_file.drill("lab.sql.gz", "/backup/store", max_age="36h")  # doctest: +SKIP
    >>> if not report:  # doctest: +SKIP
    ...     print(report)
    """
    if os.name != "posix":
        raise DrillError("backups are tried on Linux and macOS only: signals and permissions are others elsewhere")
    if sample is not None and not is_count(sample, 1):
        raise ValueError(f"sample = {brief(sample)}: give a number of files, at least 1, or None for all")
    limit = None if max_age is None else timespan(max_age, "max_age")
    check_workers(workers)
    files = dump_files(dump)
    drawn_by = 0 if sample is None else seed if seed is not None else secrets.randbelow(10**9) + 1
    started = time.monotonic()
    with ExitStack() as stack:
        live = _Live.of(connection)
        stack.callback(live.close)
        copy = open_copy(store, live.settings)
        run = _Run(files, copy, live, sample, drawn_by, workers, progress)
        evidence = Evidence(str(Path(dump).absolute()), copy.place, datetime.now(timezone.utc), limit)
        directory = stack.enter_context(scratch_directory())
        account = stack.enter_context(run.server(directory, server))
        if run.load(account, directory, evidence):
            run.look(account, directory, evidence)
        elif fault := account.fault():  # which is no fault of the dump
            raise DrillError(fault)
    evidence.seconds = time.monotonic() - started
    return judge(evidence)


@dataclass(frozen=True, slots=True)
class _Live:
    """The real database, if it is reached, and the configuration of its pipeline, if there is one."""

    connection: Any
    settings: Settings | None
    why_not: str = ""  # it is not reached
    is_ours: bool = False  # the connection, to be closed

    @classmethod
    def of(cls, given: Any) -> _Live:
        config = dj_settings.config if given is None else connection_of(given)._config
        try:
            settings = pipeline_for(config).settings
        except ConfigurationNotFoundError:
            settings = None
        if given is not None:
            return cls(connection_of(given), settings)
        try:
            return cls(connect(), settings, is_ours=True)
        except DataJointError as error:
            return cls(None, settings, driver_message(error))

    def close(self) -> None:
        """Close the connection, if it was opened for this."""
        if self.is_ours:
            self.connection.close()
            second_connection_of(self.connection).close()


@dataclass(slots=True)
class _Run:
    files: list[DumpFile]
    copy: StoreCopy
    live: _Live
    sample: int | None
    seed: int
    workers: int | None
    progress: bool | None
    loaded: list[Loaded] = field(default_factory=list)

    @contextmanager
    def server(self, directory: Path, given: str | None) -> Iterator[Account]:
        """Give the server to load the dumps into: all of them are of one product."""
        products = {file.product for file in self.files if file.product}
        if len(products) > 1:
            raise DrillError(f"these dumps are of different products: {', '.join(sorted(products))}")
        product: Product = products.pop() if products else self._own_product()
        if given is not None:
            with given_server(given, self.live.connection) as account:
                if (account.backend == "postgresql") != (product == "postgresql"):
                    raise DrillError(f"the dump is of {product}, and {given} is a server of another kind")
                yield account
            return
        version = max(file.version or (archive_version(file) if file.is_archive else 0) for file in self.files)
        with private_server(product, directory, version) as account:
            yield account

    def _own_product(self) -> Product:
        """Return the product of the real server, for dumps that do not tell."""
        connection = self.live.connection
        backend = dj_settings.config.database.backend if connection is None else connection.adapter.backend
        if backend == "postgresql":
            return "postgresql"
        if connection is not None:
            version = str(connection.query("SELECT VERSION()").fetchone()[0])
            return "mariadb" if "mariadb" in version.lower() else "mysql"
        return "mariadb"

    def load(self, account: Account, directory: Path, evidence: Evidence) -> bool:
        """Load the dumps; tell whether all are sound, as far as that shows."""
        moments = []
        with progress_bar(
            "loading the dump", sum(file.size for file in self.files if not file.is_archive) or None, self.progress
        ) as advance:
            for file in self.files:
                loaded = load(file, account, directory, advance)
                evidence.left_out += loaded.left_out
                if loaded.problem:
                    evidence.broken[printable(file.path.name)] = loaded.problem
                evidence.is_dated &= loaded.course.moment is not None
                dated = file.path / "toc.dat" if file.path.is_dir() else file.path
                date = datetime.fromtimestamp(dated.stat().st_mtime, timezone.utc)
                moments.append(loaded.course.moment or date)
        evidence.taken = min(moments)
        return not evidence.broken

    def look(self, account: Account, directory: Path, evidence: Evidence) -> None:
        """Compare the rows of the dump with the copy, and with the live database."""
        with ExitStack() as stack:
            connection = account.connect()
            stack.callback(connection.close)
            stack.callback(second_connection_of(connection).close)
            ledger = Ledger(directory / "ledger.sqlite")
            stack.callback(ledger.close)
            tally = Tally(self.copy.project, ledger)
            restored = Database(connection, self.copy.pipeline)
            with progress_bar("listing the copy of the store", None, self.progress, unit=" objects") as advance:
                ledger.add_objects(self.copy.backend.list(self.copy.project), advance)
            evidence.marked = self.copy.marked_schemas()
            evidence.tables = {(schema, table): rows for schema, table, rows in restored.counts(restored.schemas)}
            evidence.schemas = restored.schemas
            evidence.tally = tally
            evidence.seed = self.seed
            self._verify(restored, tally, evidence)
            evidence.unread = restored.unread
            self._compare(ledger, evidence)

    def _verify(self, restored: Database, tally: Tally, evidence: Evidence) -> None:
        subjects = list(restored.subjects())
        evidence.attributes = sum(len(subject.listing.names) for subject in subjects)
        retention = self.live.settings.object_storage.retention if self.live.settings else _RETENTION

        def sound() -> Iterator[DrawnRow]:
            for subject in subjects:
                for row in restored.rows(subject):
                    yield from tally.sound(row)
            for entry in restored.history(evidence.at - retention):
                tally.history += 1
                yield from tally.sound(entry)

        drawn: Iterator[DrawnRow] = sound()
        if self.sample is not None:
            sample = Sample(self.sample, evidence.attributes, self.seed)
            with progress_bar("looking for what rows name", None, self.progress, unit=" files") as advance:
                for row in drawn:
                    sample.offer(row, row.values[0])
                    advance(1)
            drawn = sample.rows()
        is_disk = self.copy.backend.capabilities.protocol == "file"
        count = self.workers or ((os.cpu_count() or 1) if is_disk else _REMOTE_READERS)
        with progress_bar("verifying", None, self.progress) as advance:
            verification = Verification("content", count, Budget(), advance=advance)
            verification.run(drawn)
        for finding in verification.findings:
            tally.add(finding)
        evidence.checked, evidence.size = verification.checked, verification.bytes
        evidence.interruption = verification.interruption

    def _compare(self, ledger: Ledger, evidence: Evidence) -> None:
        if self.live.connection is None:
            evidence.why_not = self.live.why_not
            return
        try:
            with progress_bar("asking the live database", None, self.progress, unit=" rows") as advance:
                live = Database(self.live.connection, self.copy.pipeline)
                known = {*evidence.schemas, *evidence.marked}
                evidence.since = compare(live, ledger, self.copy.project, known, advance)
        except DataJointError as error:
            evidence.why_not = driver_message(error)
