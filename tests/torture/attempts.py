"""Running one operation with one fault, and telling how it ended for its caller.

What must hold then is checked in `checks`.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import psycopg2
import pymysql
from datajoint.errors import (
    AccessError,
    DataJointError,
    LostConnectionError,
    MissingTableError,
    QuerySyntaxError,
    UnknownAttributeError,
)

from datajoint_file.sql import dialect_of
from tests.torture.operations import Actor, Operation
from tests.torture.values import CRASHES, DROPS, Fault, Outcome
from tests.torture.world import World

HANG_SECONDS = 30
_COMPLETED, _REFUSED = 0, 3
_TOLD = "! "


class Hang(BaseException):
    """The operation did not end in time."""


def attempt(world: World, operation: Operation, fault: Fault | None, actor: Callable[[], object]) -> Outcome:
    """Run *operation* as the user under test; *fault* happens to it. Only what `World.settle` mends is left behind."""
    if fault is not None and fault.kind in CRASHES:
        return in_child(world, operation, fault)
    world.reconnect(relayed=fault is not None and fault.kind in DROPS)
    world.steps.start(fault, actor)
    try:
        outcome = perform(world.user, operation)
    finally:
        world.steps.stop()
        world.be_honest()
    return Outcome(outcome.ending, outcome.error, world.steps.fired, tuple(world.steps.trace), outcome.result)


def perform(actor: Actor, operation: Operation) -> Outcome:
    """Run *operation* and return how it ended."""
    try:
        with _limited():
            return Outcome("success", result=operation.run(actor))
    except Exception as error:
        ending = actor.subject.ending(error, writes_files=operation.writes_files)
        return Outcome(ending, error)
    except Hang as error:
        return Outcome("hang", error)
    except KeyboardInterrupt as error:
        return Outcome("interrupted", error)


def is_refusal(actor: Actor, error: BaseException | None) -> bool:
    """Tell whether an error is one by which an actor to whom no fault happens may be kept from what he wants.

    By the package's word or DataJoint's, or by a lock that others have. Anything else is a fault of the package, or
    of this harness, whose actor would be none.
    """
    if isinstance(error, LostConnectionError | AccessError | MissingTableError | QuerySyntaxError):
        return False
    dialect = dialect_of(actor.connection)
    is_kept_out = isinstance(error, Exception) and (dialect.is_timeout(error) or dialect.is_deadlock(error))
    return (isinstance(error, DataJointError) and not isinstance(error, UnknownAttributeError)) or is_kept_out


def is_defect(error: BaseException | None) -> bool:
    """Tell whether an error is one that no fault explains: neither a word of the package's nor a driver's."""
    explained = (DataJointError, psycopg2.Error, pymysql.MySQLError, ConnectionError, KeyboardInterrupt, Hang)
    return error is not None and not isinstance(error, explained)


@contextmanager
def _limited() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # another actor, at a step of an upload
        yield
        return

    def give_up(*_: Any) -> NoReturn:
        raise Hang(f"not over after {HANG_SECONDS} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, HANG_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def in_child(world: World, operation: Operation, fault: Fault | None) -> Outcome:
    """Run *operation* in a forked process, which the fault kills."""
    source, target = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(source)
        _be_killed(world, operation, fault, target)
    os.close(target)
    with os.fdopen(source, "r", errors="replace") as told:
        lines = told.read().splitlines()
    trace = tuple(line for line in lines if not line.startswith(_TOLD))
    errors = [RuntimeError(line.removeprefix(_TOLD)) for line in lines if line.startswith(_TOLD)]
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return Outcome("killed", fired=True, trace=trace)
    if os.WIFSIGNALED(status) or os.WEXITSTATUS(status) not in (_COMPLETED, _REFUSED):
        return Outcome("hang", RuntimeError(f"the child ended with status {status}"), trace=trace)
    if os.WEXITSTATUS(status) == _COMPLETED:
        return Outcome("success", trace=trace)
    return Outcome("refused", errors[0] if errors else None, trace=trace)


def _be_killed(world: World, operation: Operation, fault: Fault | None, told: int) -> NoReturn:
    status = 9
    try:
        signal.alarm(HANG_SECONDS)  # without a handler: the end
        with world.steps.unwatched():
            world.be_child(world.user)
        world.steps.start(fault, told=told)
        operation.run(world.user)
        status = _COMPLETED
    except Exception as error:
        status = _REFUSED
        if not is_refusal(world.user, error):
            os.write(told, f"{_TOLD}{type(error).__name__}: {' '.join(str(error).split())}\n".encode())
    finally:
        os._exit(status)
