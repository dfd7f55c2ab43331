"""What is compared, with what, and what came out: plain values that travel as JSON between processes.

Nothing is run or judged here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

ROOT = Path(__file__).parents[1]
"""The project's directory."""

KIBI, MEBI, GIBI = 2**10, 2**20, 2**30
MEMORY_TARGET = 64 * MEBI
"""What a process of ours may use over what it used when it was idle."""

Place = Literal["local", "s3"]


@dataclass(frozen=True, slots=True)
class Workload:
    """What every contender of a comparison works on.

    Parameters
    ----------
    place : str
        Where the objects are: ``local`` or ``s3``.
    number : int
        How many files or rows.
    size : int
        Bytes of each file; 0 if there are rows only.
    round_trip_ms : int
        How far away the store is; 0 for next door.
    """

    place: Place
    number: int
    size: int = 0
    round_trip_ms: int = 0


@dataclass(frozen=True, slots=True)
class Contender:
    """One way to do the work.

    Parameters
    ----------
    name : str
        How tables call it.
    function : str
        ``module:function`` in `benchmarks.contenders`: a context manager that is given the task, and yields what is
        timed.
    options : mapping
        What it needs to know beyond the workload.
    needs : tuple of str
        ``module NAME``, ``program NAME`` or ``setting NAME``: it is left out where one is missing.
    is_ours : bool
        Whether it is this package; then the target for memory is for it.
    checkout : str
        The directory of another state of this package, which is to be measured instead; nothing for this one.
    """

    name: str
    function: str
    options: Mapping[str, Any] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    is_ours: bool = False
    checkout: str = ""


@dataclass(frozen=True, slots=True)
class Target:
    """How the median time of one contender is to compare with that of another.

    Parameters
    ----------
    subject : str
        The name of the one that is judged.
    against : tuple of str
        The others; the fastest of them counts.
    at_most : float or None
        The time may be this many times theirs.
    at_least : float or None
        It is to be this many times faster. With neither, the ratio is shown and not judged.
    memory : int or None
        What it may use, in place of `MEMORY_TARGET`.
    """

    subject: str
    against: tuple[str, ...] = ()
    at_most: float | None = None
    at_least: float | None = None
    memory: int | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Contenders that do the same work in turn.

    Parameters
    ----------
    name : str
        For ``--only``.
    title : str
        For people.
    workload : Workload
        What they work on.
    contenders : tuple of Contender
        In the order of their turns.
    targets : tuple of Target
        What is to come out.
    prepare : str
        ``module:function`` that stores, once, what all of them then read; nothing if each stores for itself.
    """

    name: str
    title: str
    workload: Workload
    contenders: tuple[Contender, ...]
    targets: tuple[Target, ...]
    prepare: str = ""


@dataclass(frozen=True, slots=True)
class Task:
    """What one process does.

    Parameters
    ----------
    function : str
        ``module:function`` in `benchmarks.contenders`.
    options : dict
        Those of the contender.
    number : int
        How many files or rows.
    files : str
        The directory of the source files, if the work has any.
    small_file : str
        A file to do the work with once before it is timed, so that connections are open.
    storage : dict
        The table ``[storage]`` of an empty store, or of what was prepared.
    scratch : str
        An empty directory on the disk of the local stores.
    database : dict
        ``host``, ``port``, ``user`` and ``password`` of the server.
    schema : str
        The database schema to work in.
    keys : list of str
        The object keys that were prepared.
    checkout : str
        As in `Contender`.
    """

    function: str
    options: dict[str, Any]
    number: int
    files: str
    small_file: str
    storage: dict[str, Any]
    scratch: str
    database: dict[str, Any]
    schema: str
    keys: list[str] = field(default_factory=list)
    checkout: str = ""


@dataclass(frozen=True, slots=True)
class Figures:
    """What one process measured around the timed body.

    Parameters
    ----------
    wall_seconds : float
        Time that passed.
    cpu_seconds : float
        Time of processors, of the process and its children, in user and in system mode.
    memory : int
        Bytes by which the peak of resident memory lay over what it was before, and the largest peak of a child.
    """

    wall_seconds: float
    cpu_seconds: float
    memory: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one contender: a `Figures` for each round, or why there are none.

    Parameters
    ----------
    contender : str
        Its name.
    is_ours : bool
        Whether it is this package.
    rounds : list of Figures
        In order.
    left_out : str
        What is missing here, if it was not run.
    error : str
        The end of what it said when it failed.
    """

    contender: str
    is_ours: bool
    rounds: list[Figures] = field(default_factory=list)
    left_out: str = ""
    error: str = ""
