"""Commits that are not answered: what the caller is told is what happened."""

from __future__ import annotations

import pickle
import socket
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import datajoint as dj
import pytest
from datajoint.errors import DataJointError, DuplicateError, LostConnectionError

import datajoint_file
from datajoint_file import Outcome, OutcomeUnknownError
from datajoint_file.journal import commit_outcome, transactions
from datajoint_file.journal.second_connection import second_connection_of
from tests.projects import Store, connect, over_local_and_s3, unique
from tests.tables import drop_schema, recording_of
from tests.torture.relay import Relay


@pytest.fixture
def relay(database: Any) -> Iterator[Relay]:
    made = Relay(database.host, database.port)
    yield made
    made.close()


@pytest.fixture
def instance(database: Any, relay: Relay) -> Iterator[dj.Instance]:
    """A connection that goes through the relay."""
    made = connect(replace(database, host="127.0.0.1", port=relay.port))
    yield made
    made.connection.close()


@pytest.fixture
def truth(database: Any) -> Iterator[Any]:
    """A connection that does not."""
    made = connect(database)
    yield made.connection
    made.connection.close()


@pytest.fixture
def schema(pipeline: dj.Instance, truth: Any) -> Iterator[dj.Schema]:
    name = unique("schema")
    made = pipeline.Schema(name)
    yield made
    drop_schema(truth, name)


@pytest.fixture
def table(schema: dj.Schema) -> Any:
    return recording_of(schema, "id : int32\n---\nraw : file")


def local_port(connection: Any) -> int:
    """The port of the driver's end, by which the relay knows the connection."""
    driver = connection._conn
    if connection.adapter.backend == "postgresql":
        with socket.socket(fileno=socket.dup(driver.fileno())) as duplicate:
            return int(duplicate.getsockname()[1])
    return int(driver._sock.getsockname()[1])


def before_statement(connection: Any, beginning: str, action: Any) -> None:
    """Do *action* before the next statement that begins so."""
    query = connection.query

    def watched(sql: str, *args: Any, **options: Any) -> Any:
        if sql.upper().startswith(beginning):
            connection.query = query
            action()
        return query(sql, *args, **options)

    connection.query = watched


def lose_commit_and_server(table: Any, relay: Relay, action: Any) -> None:
    """Do *action*, whose commit is not answered, and after which the server can be reached no more."""
    connection = table().connection
    second = second_connection_of(connection)

    def lose() -> None:
        relay.lose_reply(local_port(connection))
        second.close()
        relay.refuse(refuse=True)

    before_statement(connection, "COMMIT", lose)
    action()


def count(table: Any, truth: Any) -> int:
    return int(truth.query(f"SELECT COUNT(*) FROM {table().full_table_name}").fetchone()[0])


@over_local_and_s3
def test_a_commit_whose_reply_is_lost_is_success(table: Any, relay: Relay, truth: Any) -> None:
    connection = table().connection
    before_statement(connection, "COMMIT", lambda: relay.lose_reply(local_port(connection)))

    table.insert1({"id": 1, "raw": ("a.dat", b"recording")})

    assert count(table, truth) == 1
    assert table.fetch1("raw").read() == b"recording"


@over_local_and_s3
def test_a_commit_that_never_arrived_is_a_definite_failure(table: Any, relay: Relay, truth: Any, store: Store) -> None:
    connection = table().connection
    before_statement(connection, "COMMIT", lambda: cut(connection))

    with pytest.raises(LostConnectionError, match="none of the 1 files was inserted") as caught:
        table.insert1({"id": 1, "raw": ("a.dat", b"recording")})

    assert not isinstance(caught.value, OutcomeUnknownError)
    assert count(table, truth) == 0
    table.insert1({"id": 1, "raw": ("a.dat", b"recording")})
    assert len(store.object_keys()) == 1


def delete(table: Any) -> Any:
    return table.delete(prompt=False)


@pytest.mark.parametrize("how", [delete, lambda table: table.delete_quick()], ids=["delete", "delete_quick"])
def test_a_deletion_whose_commit_is_not_answered_is_known_by_its_history(
    table: Any, relay: Relay, truth: Any, how: Any
) -> None:
    table.insert1({"id": 1, "raw": ("a.dat", b"recording")})
    connection = table().connection
    before_statement(connection, "COMMIT", lambda: relay.lose_reply(local_port(connection)))
    how(table)
    assert count(table, truth) == 0
    assert not connection.in_transaction


def test_a_deletion_whose_commit_never_arrived_is_not_called_done(
    table: Any, truth: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commit_outcome, "WAIT_SECONDS", 0.3)
    table.insert1({"id": 1, "raw": ("a.dat", b"recording")})
    connection = table().connection
    before_statement(connection, "COMMIT", lambda: cut(connection))
    with pytest.raises(OutcomeUnknownError, match="no history tells that it happened") as caught:
        table.delete(prompt=False)
    assert count(table, truth) == 1
    assert datajoint_file.resolve(caught.value, connection=truth) is Outcome.UNKNOWN


def test_a_deletion_that_nobody_could_be_asked_about_is_resolved_later(
    table: Any, relay: Relay, truth: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commit_outcome, "WAIT_SECONDS", 0.1)
    table.insert1({"id": 1, "raw": ("a.dat", b"1")})
    with pytest.raises(OutcomeUnknownError, match="the database cannot be asked") as caught:
        lose_commit_and_server(table, relay, lambda: table.delete(prompt=False))
    relay.refuse(refuse=False)

    error = pickle.loads(pickle.dumps(caught.value))
    assert datajoint_file.resolve(error, connection=truth) is Outcome.COMMITTED
    assert count(table, truth) == 0


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_a_drop_whose_commit_is_not_answered_is_known_by_its_history(table: Any, relay: Relay) -> None:
    table.insert1({"id": 1, "raw": ("a.dat", b"recording")})
    connection = table().connection
    before_statement(connection, "COMMIT", lambda: relay.lose_reply(local_port(connection)))
    table.drop(prompt=False)
    assert not table().is_declared


@pytest.mark.parametrize("database", ["mysql"], indirect=True)
def test_a_commit_of_which_nothing_was_noted_says_that_nobody_can_be_asked(table: Any, truth: Any) -> None:
    connection = table().connection
    before_statement(connection, "COMMIT", lambda: cut(connection))
    with pytest.raises(OutcomeUnknownError, match="nothing was noted of it that could be asked") as caught:
        with transactions.own_transaction(connection):
            pass
    assert datajoint_file.resolve(caught.value, connection=truth) is Outcome.UNKNOWN
    assert "nothing was noted" in caught.value.reason


def test_the_users_own_commit_of_rows_of_which_nothing_was_noted_is_unknown(
    schema: Any, table: Any, relay: Relay, truth: Any
) -> None:
    @schema
    class Copy(dj.Manual):
        definition = "id : int32\n---\nraw : file"

    table.insert1({"id": 1, "raw": ("a.dat", b"1")})
    connection = table().connection
    before_statement(connection, "COMMIT", lambda: relay.lose_reply(local_port(connection)))
    with pytest.raises(OutcomeUnknownError, match="Look whether the rows are there"), connection.transaction:
        Copy.insert(table)
    assert count(Copy, truth) == 1
    with connection.transaction:
        Copy.insert(table, skip_duplicates=True)
    assert not connection.in_transaction


def cut(connection: Any) -> None:
    """Break the connection at this end."""
    driver = connection._conn
    number = driver.fileno() if connection.adapter.backend == "postgresql" else driver._sock.fileno()
    with socket.socket(fileno=socket.dup(number)) as duplicate:
        duplicate.shutdown(socket.SHUT_RDWR)


def test_the_users_own_commit_is_answered_too(table: Any, relay: Relay, truth: Any) -> None:
    connection = table().connection
    before_statement(connection, "COMMIT", lambda: relay.lose_reply(local_port(connection)))
    with connection.transaction:
        table.insert1({"id": 1, "raw": ("a.dat", b"1")})
        table.insert1({"id": 2, "raw": ("a.dat", b"2")})
    assert count(table, truth) == 2
    assert not connection.in_transaction
    table.insert1({"id": 3, "raw": ("a.dat", b"3")})
    assert count(table, truth) == 3


@pytest.mark.parametrize("database", ["mysql"], indirect=True)
def test_what_was_staged_and_given_back_proves_nothing_of_the_transaction(table: Any, relay: Relay, truth: Any) -> None:
    connection = table().connection
    staged = datajoint_file.stage(table, {"id": 1}, "raw", ("a.dat", b"new"))
    table.insert1({"id": 1, "raw": ("a.dat", b"old")})

    def try_staged() -> None:
        with pytest.raises(DuplicateError):
            table.insert1({"id": 1, "raw": staged})
        before_statement(connection, "COMMIT", lambda: relay.lose_reply(local_port(connection)))

    with connection.transaction:
        table.insert1({"id": 2, "raw": ("a.dat", b"2")})
        try_staged()
    with pytest.raises(LostConnectionError) as caught, connection.transaction:
        try_staged()
    assert "rolled back" not in str(caught.value)
    assert count(table, truth) == 2
    table.update1({"id": 1, "raw": staged})


def test_when_nobody_can_be_asked_the_outcome_is_unknown_and_resolved_later(
    table: Any, relay: Relay, truth: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(commit_outcome, "WAIT_SECONDS", 0.1)
    table.insert1({"id": 0, "raw": ("a.dat", b"0")})
    with pytest.raises(OutcomeUnknownError, match=r"datajoint_file.resolve\(error\) tells it later") as caught:
        lose_commit_and_server(table, relay, lambda: table.insert1({"id": 1, "raw": ("a.dat", b"1")}))
    relay.refuse(refuse=False)

    error = pickle.loads(pickle.dumps(caught.value))
    assert isinstance(error, LostConnectionError)
    (write_id,) = error.write_ids
    assert len(write_id) == 26
    assert write_id in str(error)
    assert datajoint_file.resolve(error, connection=truth) is Outcome.COMMITTED
    assert count(table, truth) == 2


def test_an_open_transaction_resolves_as_unknown_and_then_as_what_it_became(table: Any, truth: Any) -> None:
    connection = table().connection
    for end, outcome in (("ROLLBACK", Outcome.ROLLED_BACK), ("COMMIT", Outcome.COMMITTED)):
        connection.query("BEGIN")
        table.insert1({"id": 1, "raw": ("a.dat", b"1")})
        error = OutcomeUnknownError("as if")
        error.writes = transactions.claims_of(connection).writes[-1:]
        assert datajoint_file.resolve(error, connection=truth) is Outcome.UNKNOWN
        assert error.reason == "its transaction is still open"
        connection.query(end)
        assert datajoint_file.resolve(error, connection=truth) is outcome
        assert error.reason == ""


@pytest.mark.parametrize("statement", ["DELETE", "INSERT INTO"])
def test_a_reply_lost_before_the_commit_is_a_definite_failure(
    table: Any, relay: Relay, truth: Any, statement: str
) -> None:
    connection = table().connection
    before_statement(connection, statement, lambda: relay.lose_reply(local_port(connection)))
    with pytest.raises(LostConnectionError):
        table.insert1({"id": 1, "raw": ("a.dat", b"1")})
    assert count(table, truth) == 0
    table.insert1({"id": 1, "raw": ("a.dat", b"1")})
    assert count(table, truth) == 1


def test_populate_goes_on_after_a_commit_whose_reply_was_lost(schema: Any, relay: Relay, truth: Any) -> None:
    @schema
    class Subject(dj.Manual):
        definition = "id : int32"

    @schema
    class Movie(dj.Computed):
        definition = "-> Subject\n---\nraw : file"

        def make(self, key: dict[str, Any]) -> None:
            self.insert1({**key, "raw": ("a.dat", b"movie")})

    Subject.insert([{"id": 1}, {"id": 2}])
    connection = Movie().connection
    before_statement(connection, "COMMIT", lambda: relay.lose_reply(local_port(connection)))
    Movie.populate()
    assert count(Movie, truth) == 2


def test_a_job_whose_connection_is_lost_is_marked_as_an_error(schema: Any, relay: Relay, truth: Any) -> None:
    @schema
    class Subject(dj.Manual):
        definition = "id : int32"

    @schema
    class Movie(dj.Computed):
        definition = "-> Subject\n---\nraw : file"

        def make(self, key: dict[str, Any]) -> None:
            self.insert1({**key, "raw": ("a.dat", b"movie")})
            cut(self.connection)
            self.insert1({**key, "raw": ("a.dat", b"movie")})

    Subject.insert([{"id": 1}])
    Movie.populate(reserve_jobs=True, suppress_errors=True)
    assert count(Movie, truth) == 0
    assert Movie.jobs.errors.to_arrays("status").tolist() == ["error"]


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_a_commit_that_postgresql_turns_into_a_rollback_is_an_error(table: Any, truth: Any) -> None:
    connection = table().connection
    with pytest.raises(DataJointError, match="none of its 1 files was inserted"), connection.transaction:
        table.insert1({"id": 1, "raw": ("a.dat", b"1")})
        with pytest.raises(Exception, match="division by zero"):
            connection.query("SELECT 1/0")
    assert count(table, truth) == 0
    assert not connection.in_transaction


def journal(table: Any, name: str = "~file_intent") -> str:
    return str(table().connection.adapter.make_full_table_name(table().database, name))


def test_intents_that_are_gone_without_their_rows_prove_no_commit(
    table: Any, relay: Relay, truth: Any, monkeypatch: Any
) -> None:
    """As after a crash of a server that had answered before the disk had it all, or a failover."""
    monkeypatch.setattr(commit_outcome, "WAIT_SECONDS", 0.1)
    connection = table().connection
    table.insert1({"id": 0, "raw": ("a.dat", b"0")})

    def lose() -> None:
        cut(connection)
        truth.query(f"DELETE FROM {journal(table)}")  # waits until the server has rolled back

    before_statement(connection, "COMMIT", lose)
    with pytest.raises(OutcomeUnknownError, match="the server may have lost its last moments") as caught:
        table.insert1({"id": 1, "raw": ("a.dat", b"1")})
    assert count(table, truth) == 1
    assert datajoint_file.resolve(caught.value, connection=truth) is Outcome.UNKNOWN


@pytest.mark.parametrize("by", ["DataJoint", "SQL"])
def test_what_was_committed_and_deleted_since_is_known_by_its_history(table: Any, truth: Any, by: str) -> None:
    connection = table().connection
    with connection.transaction:
        table.insert1({"id": 1, "raw": ("a.dat", b"1")})
        error = OutcomeUnknownError("as if")
        error.writes = transactions.claims_of(connection).writes
    assert datajoint_file.resolve(error, connection=truth) is Outcome.COMMITTED
    if by == "SQL":
        truth.query(f"DELETE FROM {table().full_table_name}")
    else:
        table.delete_quick()
    expected = Outcome.UNKNOWN if by == "SQL" else Outcome.COMMITTED
    assert datajoint_file.resolve(error, connection=truth) is expected


def test_a_savepoint_that_was_gone_back_to_does_not_hide_the_commit(table: Any, relay: Relay, truth: Any) -> None:
    connection = table().connection
    with connection.transaction:
        table.insert1({"id": 1, "raw": ("a.dat", b"1")})
        connection.query("SAVEPOINT here")
        table.insert1({"id": 2, "raw": ("a.dat", b"2")})
        connection.query("ROLLBACK TO SAVEPOINT here")
        before_statement(connection, "COMMIT", lambda: relay.lose_reply(local_port(connection)))
    assert count(table, truth) == 1


def test_an_interrupt_in_the_users_transaction_ends_it(table: Any, truth: Any) -> None:
    connection = table().connection
    query = connection.query

    def interrupted(sql: str, *args: Any, **options: Any) -> Any:
        if sql.startswith("INSERT INTO"):
            del connection.query
            query(sql, *args, **options)
            raise KeyboardInterrupt
        return query(sql, *args, **options)

    with pytest.raises(KeyboardInterrupt), connection.transaction:
        connection.query = interrupted
        table.insert1({"id": 1, "raw": ("a.dat", b"1")})
    assert not connection.in_transaction
    assert count(table, truth) == 0
    table.insert1({"id": 1, "raw": ("a.dat", b"1")})
    assert count(table, truth) == 1
