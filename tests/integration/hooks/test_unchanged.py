"""DataJoint's own behaviour for tables without ``file`` attributes: the same SQL, with the hooks and without.

But for a deletion, which asks the catalog once what it is going to reach.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import datajoint as dj
import numpy as np
import pytest

from datajoint_file.hooks import installation
from tests.projects import connect, unique


@contextmanager
def hooks_removed() -> Iterator[None]:
    installation.uninstall()
    try:
        yield
    finally:
        installation.install()


def statements_of_a_session(database: Any, name: str) -> list[Any]:
    """Do what people do with tables that have no files; return every statement sent and every answer fetched."""
    instance = connect(database)
    log: list[Any] = []
    query = instance.connection.query

    def recorded(statement: str, args: Any = (), **options: Any) -> Any:
        log.append((statement, tuple(args)))
        return query(statement, args, **options)

    instance.connection.query = recorded
    schema = instance.Schema(name)

    @schema
    class Subject(dj.Manual):
        definition = """
        # people and animals : file
        subject_id : int32
        ---
        label = "a : file" : varchar(20)   # not a : file
        profile = null : json
        trace = null : <blob>
        """

    @schema
    class Session(dj.Manual):
        definition = """
        -> Subject
        session : int32
        ---
        file : varchar(10)
        """

    @schema
    class Summary(dj.Computed):
        definition = """
        -> Session
        ---
        n : int32
        """

        def make(self, key: dict[str, Any]) -> None:
            self.insert1({**key, "n": 1})

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        Subject.insert([(1, "one", {"a": 1}, np.arange(3)), (2, "two", None, None)])
    Subject.insert([{"subject_id": 2, "label": "again"}], skip_duplicates=True)
    Subject.insert(({"subject_id": i} for i in (3, 4, 5)), chunk_size=2)
    Subject.update1({"subject_id": 2, "label": "second"})
    log.append(Subject.validate([{"subject_id": "x"}, {"nothing": 1}]).errors)
    Session.insert(Subject.proj(session="subject_id * 1", file="'f'"))
    Summary.populate()
    failing: tuple[Callable[[], Any], ...] = (
        lambda: Subject.insert1({"subject_id": 1}),
        lambda: Subject.insert1({"colour": 1}),
        lambda: Subject().alter(prompt=False),  # on PostgreSQL a default with a colon confuses DataJoint itself
    )
    for action in failing:
        try:
            action()
        except Exception as error:
            log.append((type(error), str(error)))
    log.append(Subject.describe())
    log.append(str(Subject.to_dicts(order_by="subject_id")))
    (Subject & "subject_id=1").delete()
    schema.drop(prompt=False)
    instance.connection.close()
    return [entry for entry in log if "_job" not in str(entry)]


def test_the_same_statements_are_sent_with_the_hooks_and_without(database: Any) -> None:
    name = unique("schema")
    with_hooks = statements_of_a_session(database, name)
    with hooks_removed():
        without = statements_of_a_session(database, name)
    assert len(with_hooks) > 40
    asked = [entry for entry in with_hooks if _asks_for_files(entry)]
    assert 1 <= len(asked) <= 2  # a deletion, and an ALTER, ask once whether any table that they reach has files
    assert [entry for entry in with_hooks if entry not in asked] == without


def _asks_for_files(entry: Any) -> bool:
    return "generation_expression" in str(entry) or "attgenerated" in str(entry)


def test_installing_twice_hooks_once() -> None:
    before = [getattr(hook.owner, hook.name) for hook in installation.HOOKS]
    installation.install()
    assert [getattr(hook.owner, hook.name) for hook in installation.HOOKS] == before
    with hooks_removed():
        assert not any(
            hasattr(getattr(hook.owner, hook.name), "_datajoint_file_original") for hook in installation.HOOKS
        )


def test_importing_does_nothing_but_hook(capsys: pytest.CaptureFixture[str]) -> None:
    import datajoint_file

    assert set(datajoint_file.__all__) >= {"FileRef", "File", "configure"}
    assert capsys.readouterr() == ("", "")
