"""Progress bars: for people who look, after a second, and never in a script."""

from __future__ import annotations

import io
import sys
from typing import Any

import pytest

from datajoint_file.concurrency.progress import is_interactive, progress_bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(monkeypatch: pytest.MonkeyPatch, stderr: Any, show: bool | None, total: int | None = 4) -> str:
    monkeypatch.setattr(sys, "stderr", stderr)
    with progress_bar("storing x", total, show) as advance:
        for _ in range(4):
            advance(1)
    return str(stderr.getvalue())


@pytest.mark.parametrize("show", [None, False])
def test_script_sees_nothing(monkeypatch: pytest.MonkeyPatch, show: bool | None) -> None:
    assert shown(monkeypatch, io.StringIO(), show) == ""


def test_terminal_sees_nothing_of_what_takes_less_than_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "storing x" not in shown(monkeypatch, Terminal(), None)


@pytest.mark.parametrize("stderr", [io.StringIO, Terminal])
@pytest.mark.parametrize("total", [4, None])
def test_bar_that_is_asked_for_is_shown_at_once(
    monkeypatch: pytest.MonkeyPatch, stderr: Any, total: int | None
) -> None:
    found = shown(monkeypatch, stderr(), True, total)
    assert "storing x" in found
    assert "4.00" in found


def test_terminal_that_is_not_to_see_a_bar_sees_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(monkeypatch, Terminal(), False) == ""


class Stream:
    """What programs put in the place of standard error to catch it."""

    def write(self, text: str) -> None: ...


@pytest.mark.parametrize("stderr", [None, Stream(), io.StringIO()], ids=["none", "stand-in", "closed"])
def test_missing_standard_error_fails_nothing(monkeypatch: pytest.MonkeyPatch, stderr: Any) -> None:
    if isinstance(stderr, io.StringIO):
        stderr.close()
    monkeypatch.setattr(sys, "stderr", stderr)
    assert not is_interactive()
    with progress_bar("storing x", 4) as advance:
        advance(4)


def test_terminal_is_interactive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert is_interactive()


def test_notebook_is_interactive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    from ipykernel.kernelapp import IPKernelApp

    assert not is_interactive()  # which has loaded it, as what runs notebooks does
    monkeypatch.setattr(IPKernelApp, "initialized", lambda: True)
    assert is_interactive()


@pytest.mark.parametrize("show", [True, False])
def test_error_in_the_work_comes_through(monkeypatch: pytest.MonkeyPatch, show: bool) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with pytest.raises(ValueError, match="in the work"):
        with progress_bar("storing x", 4, show):
            raise ValueError("in the work")
