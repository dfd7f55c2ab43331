"""The family of errors: the tree that its module draws is the tree there is, and errors survive the trips they make."""

from __future__ import annotations

import builtins
import copy
import pickle
import re

import pytest
from datajoint import errors as dj_errors
from datajoint.errors import DataJointError

from datajoint_file import errors
from datajoint_file.errors import (
    DataJointFileError,
    HashMismatchError,
    ObjectNotFoundError,
    SourceNotFoundError,
    StorageError,
    brief,
    printable,
)
from tests.pickles import pickled_with_causes

_DRAWN = re.compile(r"^    (?P<indent>(?:[│ ]   )*)[├└]── (?P<name>\w+)(?: \((?P<builtin>\w+)\))?", re.MULTILINE)


def _family(of: type[DataJointFileError] = DataJointFileError) -> list[type[DataJointFileError]]:
    return [
        of,
        *(error for child in of.__subclasses__() if child.__module__ == errors.__name__ for error in _family(child)),
    ]


def _drawn() -> dict[str, tuple[str, str | None]]:
    """Read the module's docstring: the parent and the builtin of each error."""
    path, tree = ["DataJointFileError"], {}
    for match in _DRAWN.finditer(errors.__doc__ or ""):
        depth = len(match["indent"]) // 4 + 1
        path[depth:] = [match["name"]]
        tree[match["name"]] = (path[depth - 1], match["builtin"])
    return tree


every_error = pytest.mark.parametrize("kind", _family(), ids=lambda kind: kind.__name__)


def test_every_error_is_drawn_in_the_tree_and_nothing_else() -> None:
    assert set(_drawn()) == {kind.__name__ for kind in _family()} - {"DataJointFileError"}


@pytest.mark.parametrize("name", _drawn())
def test_error_has_the_parent_and_the_builtin_that_the_tree_promises(name: str) -> None:
    parent, builtin = _drawn()[name]
    kind = getattr(errors, name)
    assert getattr(errors, parent) in kind.__bases__
    if builtin is not None:
        assert (getattr(builtins, builtin, None) or getattr(dj_errors, builtin)) in kind.__bases__


@every_error
def test_error_is_one_of_datajoint(kind: type[DataJointFileError]) -> None:
    assert issubclass(kind, DataJointError)


@every_error
def test_every_leaf_is_a_builtin_error_too(kind: type[DataJointFileError]) -> None:
    ours = {DataJointFileError, DataJointError, Exception, BaseException, object, *_family()}
    if kind is not DataJointFileError:
        assert set(kind.__mro__) - ours


@every_error
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_error_survives_a_pickle_with_message_and_attributes(kind: type[DataJointFileError], protocol: int) -> None:
    error = kind("lab.Recording.raw_data: 'x' is wrong")
    error.__dict__["key"] = "lab/ephys/x"
    found = pickle.loads(pickle.dumps(error, protocol))
    assert (type(found), str(found), found.args, found.key) == (kind, str(error), error.args, "lab/ephys/x")


@every_error
def test_error_survives_the_way_that_dask_sends_it(kind: type[DataJointFileError]) -> None:
    error = kind("lab.Recording.raw_data: 'x' is wrong")
    error.__dict__["key"] = "lab/ephys/x"
    found = pickle.loads(pickled_with_causes(error))
    assert (type(found), str(found), found.args, found.key) == (kind, str(error), error.args, "lab/ephys/x")


@pytest.mark.parametrize("shown", [None, ValueError("shown")])
def test_error_takes_nothing_along_that_its_traceback_hides(shown: Exception | None) -> None:
    with pytest.raises(StorageError) as caught:
        try:
            raise OSError("hidden")
        except OSError:
            raise StorageError("no network") from shown
    assert b"hidden" not in pickled_with_causes(caught.value)
    assert caught.value.__cause__ is shown


def test_error_says_what_it_was_raised_in() -> None:
    inner = OSError("inner")
    with pytest.raises(StorageError) as caught:
        try:
            raise inner
        except OSError:
            raise StorageError("no network")  # noqa: B904 - so that it is only its context
    assert caught.value.__context__ is inner
    caught.value.__context__ = None
    assert caught.value.__context__ is None


@every_error
def test_error_survives_a_copy(kind: type[DataJointFileError]) -> None:
    assert str(copy.deepcopy(copy.copy(kind("what happened")))) == "what happened"


@every_error
def test_located_error_is_of_the_same_kind_and_says_where_first(kind: type[DataJointFileError]) -> None:
    located = kind("it is wrong").within("lab.Recording.raw_data, row 3")
    assert type(located) is kind
    assert str(located) == "lab.Recording.raw_data, row 3: it is wrong"


def test_located_error_keeps_the_object_key_through_a_pickle() -> None:
    error = ObjectNotFoundError("gone").of("lab/x").within("here")
    assert pickle.loads(pickle.dumps(error)).key == "lab/x"


def test_storage_error_about_no_object_has_an_empty_key() -> None:
    assert StorageError("no network").key == ""


def test_missing_source_is_what_open_would_raise() -> None:
    with pytest.raises(FileNotFoundError):
        raise SourceNotFoundError("/x does not exist")


def test_damaged_object_is_no_os_error() -> None:
    assert not issubclass(HashMismatchError, OSError)


@pytest.mark.parametrize(
    "value", [10**5000, "x" * 10**6, [[["x"] * 1000] * 10], {"a": "\n\x1b[31m\u202e"}, b"\0" * 1000], ids=type
)
def test_brief_shows_anything_on_one_short_line(value: object) -> None:
    shown = brief(value)
    assert len(shown) <= 80
    assert shown.isprintable()


def test_brief_shows_what_is_nested_too_deeply_by_its_type() -> None:
    nested: list[object] = []
    for _ in range(200_000):
        nested = [nested]
    assert brief(nested) == "a value of type list"


def test_printable_leaves_readable_text_as_it_is() -> None:
    assert printable("Köln 50%.dat") == "Köln 50%.dat"


@pytest.mark.parametrize("text", ["a\nb", "a\x1b[2J", "a\u202eb", "\ud800"])
def test_printable_escapes_what_breaks_a_line_or_hides(text: str) -> None:
    assert printable(text) == ascii(text)
