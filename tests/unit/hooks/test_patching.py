"""Hooks: put in place once, all or none, and taken out again without a trace."""

from __future__ import annotations

import functools
import inspect
from typing import Any

import pytest

from datajoint_file.errors import HostVersionError
from datajoint_file.hooks.patching import Hook


def wrapper(original: Any, self: Any, *args: Any, **kwargs: Any) -> Any:
    return ("wrapped", original(self, *args, **kwargs))


@pytest.fixture
def host() -> type[Any]:
    class Host:
        """Stands for a class of DataJoint."""

        def insert(self, rows: list[int], replace: bool = False) -> Any:
            """Insert rows."""
            return rows, replace

        not_callable = 5

    return Host


def hook_of(host: type[Any], name: str = "insert", parameters: tuple[str, ...] = ("self", "rows", "replace")) -> Hook:
    return Hook(host, name, parameters, f"{__name__}:wrapper")


def test_wrapper_receives_the_original_and_its_arguments(host: type[Any]) -> None:
    hook_of(host).apply()
    assert host().insert([1], replace=True) == ("wrapped", ([1], True))


def test_wrapper_is_loaded_when_the_function_is_called_first(host: type[Any]) -> None:
    Hook(host, "insert", ("self", "rows", "replace"), "no_such_module:insert").apply()
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        host().insert([1])


def test_hooked_function_looks_as_it_did(host: type[Any]) -> None:
    before = inspect.signature(host.insert)
    hook_of(host).apply()
    assert inspect.signature(host.insert) == before
    assert (host.insert.__name__, host.insert.__doc__) == ("insert", "Insert rows.")


def test_hook_is_applied_once_however_often_it_is_asked(host: type[Any]) -> None:
    for _ in range(3):
        hook_of(host).apply()
    assert host().insert([]) == ("wrapped", ([], False))


def test_revert_gives_the_very_function_back(host: type[Any]) -> None:
    before = host.insert
    hook = hook_of(host)
    hook.apply()
    assert host.insert is not before
    hook.revert()
    assert host.insert is before


def test_revert_without_apply_does_nothing(host: type[Any]) -> None:
    before = host.insert
    hook_of(host).revert()
    assert host.insert is before


def test_hook_can_be_applied_again_after_a_revert(host: type[Any]) -> None:
    hook = hook_of(host)
    hook.apply()
    hook.revert()
    hook.apply()
    assert host().insert([])[0] == "wrapped"


def test_hook_is_not_applied_twice_below_the_wrapper_of_somebody_else(host: type[Any]) -> None:
    hook_of(host).apply()
    hooked = host.insert

    @functools.wraps(hooked)
    def theirs(*args: Any, **kwargs: Any) -> Any:
        return hooked(*args, **kwargs)

    host.insert = theirs
    hook_of(host).apply()
    assert host().insert([1]) == ("wrapped", ([1], False))


def test_known_function_passes_the_check_before_and_after(host: type[Any]) -> None:
    hook = hook_of(host)
    hook.check("2.3.5")
    hook.apply()
    hook.check("2.3.5")


@pytest.mark.parametrize(
    ("name", "parameters", "found"),
    [
        ("update", ("self", "rows"), "is missing"),
        ("not_callable", ("self",), "is missing"),
        ("insert", ("self", "rows"), r"has the parameters \('self', 'rows', 'replace'\), expected \('self', 'rows'\)"),
        ("insert", ("self", "replace", "rows"), "has the parameters"),
        ("insert", ("self", "rows", "replace", "new"), "has the parameters"),
    ],
)
def test_unknown_function_is_named_with_what_was_expected_and_what_to_do(
    host: type[Any], name: str, parameters: tuple[str, ...], found: str
) -> None:
    with pytest.raises(HostVersionError, match=rf"cannot extend DataJoint 9\.9: Host\.{name} {found}") as caught:
        hook_of(host, name, parameters).check("9.9")
    assert "Upgrade datajoint-file" in str(caught.value)
