"""Paths of a configuration: where they start, and what is not there without being an error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from datajoint_file.config.paths import anchored, expanded, is_readable, is_taken, working_directory
from datajoint_file.errors import ConfigurationError


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("x", "/conf/x"),
        (".", "/conf"),
        ("../x/", "/x"),
        ("/data//x/../y", "/data/y"),
        ("~", "/home/ada"),
        ("~/x", "/home/ada/x"),
    ],
)
def test_path_starts_at_its_configuration(monkeypatch: pytest.MonkeyPatch, text: str, path: str) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    assert anchored(text, Path("/conf")) == Path(path)


def test_path_without_a_configuration_starts_at_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert anchored("x", None) == tmp_path / "x"


@pytest.mark.parametrize("given", ["relative", "/absolute", "~/at-home"])
def test_reference_in_a_path_is_resolved_before_the_path_is(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.setenv("LAB_DATA", given)
    expected = {"relative": "/conf/relative/x", "/absolute": "/absolute/x", "~/at-home": "/home/ada/at-home/x"}
    assert anchored("${env:LAB_DATA}/x", Path("/conf")) == Path(expected[given])


def test_reference_that_cannot_be_resolved_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match="LAB_NO_DATA is not set"):
        anchored("${env:LAB_NO_DATA}/x", Path("/conf"))


def test_home_of_a_user_nobody_knows_stays_as_it_is() -> None:
    assert expanded("~nobody-of-this-name/x") == "~nobody-of-this-name/x"


@pytest.mark.parametrize("path", ["/nowhere", "/" + "x" * 5000, "/etc/hostname/x", "/a\0b"])
def test_name_that_nothing_bears_is_free(path: str) -> None:
    assert not is_taken(Path(path))


def test_name_is_taken_whatever_bears_it(tmp_path: Path) -> None:
    (tmp_path / "dangling").symlink_to("nowhere")
    assert all(map(is_taken, (tmp_path, tmp_path / "dangling", Path("/dev/null"))))


def test_name_that_may_not_be_looked_at_may_be_taken(public_directory: Path, as_nobody: Callable[..., Any]) -> None:
    (public_directory / "closed").mkdir(0o700)
    assert as_nobody(is_taken, public_directory / "closed/x")
    assert not as_nobody(is_readable, public_directory / "closed/x")


def test_working_directory_that_was_removed_is_one_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    assert working_directory() == tmp_path / "gone"
    (tmp_path / "gone").rmdir()
    assert working_directory().is_absolute()
    assert not working_directory().exists()
