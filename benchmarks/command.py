"""The command ``python -m benchmarks``: what to run, where, how often; tables, a JSON document and plots come of it.

0: everything ran, whether targets are met or not; 1: something failed; 2: usage.
"""

from __future__ import annotations

import argparse
import fnmatch
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from types import FrameType

from rich.console import Console

from benchmarks.comparisons import SCALES, all_comparisons, with_another
from benchmarks.documents import Document, Result
from benchmarks.growth import SERIES, all_series
from benchmarks.judging import in_words
from benchmarks.machine import describe_machine
from benchmarks.places import Places
from benchmarks.plots import write_plots
from benchmarks.running import Runner
from benchmarks.terminal import make_console, show_result, show_series, show_verdicts
from benchmarks.values import Comparison, Outcome

OUTPUT = Path("bench-results")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what *arguments* say."""
    options = _parser().parse_args(arguments)
    if options.against and options.kind == "growth":
        _parser().error("--against is for comparisons")
    names = _names(options)
    console = make_console()
    signal.signal(signal.SIGTERM, _exit)
    with _directory(options.directory) as directory:
        document = _run(console, options, names, directory)
    show_verdicts(console, document)
    _write(console, document, options.output)
    return 0 if document.succeeded else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("kind", nargs="?", default="comparisons", choices=("comparisons", "growth"))
    parser.add_argument("--only", help="names of comparisons or series, separated by commas; * stands for anything")
    parser.add_argument("--against", type=_checkout, help="directory of another datajoint_file, to be measured in turn")
    parser.add_argument("--rounds", type=_positive, default=5, help="turns of each contender (5)")
    parser.add_argument("--scale", default="full", choices=SCALES, help="small: only to see that everything runs")
    parser.add_argument(
        "--directory", type=_directory_to_write, help="on the disk to measure (the temporary directory)"
    )
    parser.add_argument(
        "--output", type=_directory_to_make, default=OUTPUT, help=f"directory for JSON and plots ({OUTPUT})"
    )
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected 1 or more")
    return number


def _checkout(text: str) -> str:
    directory = Path(text).absolute()
    if not (directory / "datajoint_file" / "__init__.py").is_file():
        raise argparse.ArgumentTypeError(f"{text}: there is no package datajoint_file in it")
    return str(directory)


def _directory_to_write(text: str) -> Path:
    if not Path(text).is_dir() or not os.access(text, os.W_OK):
        raise argparse.ArgumentTypeError(f"{text}: expected a directory that is there and may be written in")
    return Path(text)


def _directory_to_make(text: str) -> Path:
    nearest = next(path for path in (Path(text).absolute(), *Path(text).absolute().parents) if os.path.lexists(path))
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise argparse.ArgumentTypeError(f"{text}: {nearest} is no directory that may be written in")
    return Path(text)


def _names(options: argparse.Namespace) -> list[str]:
    """Return what ``--only`` leaves, in the order of the tables."""
    comparisons = [comparison.name for comparison in all_comparisons(options.scale)]
    try:
        return choose(options.only or "*", SERIES if options.kind == "growth" else comparisons)
    except ValueError as error:
        _parser().error(f"--only: {error}")


def choose(only: str, known: Sequence[str]) -> list[str]:
    """Return those of the *known* names that *only* means: names or patterns, separated by commas.

    Raises
    ------
    ValueError
        If one of them means none.
    """
    patterns = only.split(",")
    if unknown := sorted(pattern for pattern in patterns if not fnmatch.filter(known, pattern)):
        raise ValueError(f"there is no {', '.join(unknown)}; there are {', '.join(known)}")
    return [name for name in known if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)]


@contextmanager
def _directory(parent: Path | None) -> Iterator[Path]:
    """Yield a directory of our own, removed at the end."""
    directory = Path(tempfile.mkdtemp(prefix="datajoint-file-bench-", dir=parent)).absolute()
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _run(console: Console, options: argparse.Namespace, names: list[str], directory: Path) -> Document:
    started = datetime.now(timezone.utc).isoformat(timespec="seconds")
    places = Places(directory)
    try:
        runner = Runner(directory, places, waits=options.scale == "full")
        database = places.database
        machine = describe_machine(directory) | {database.product: database.version}
        measure = _grow if options.kind == "growth" else _compare
        results = list(measure(console, runner, options, names))
    finally:
        places.close()
    return Document(options.kind, options.scale, options.rounds, started, machine, results)


def _compare(console: Console, runner: Runner, options: argparse.Namespace, names: list[str]) -> Iterator[Result]:
    for comparison in all_comparisons(options.scale):
        if comparison.name in names:
            if options.against:
                comparison = with_another(comparison, options.against)
            with console.status(comparison.name):
                result = _result(comparison, runner.run(comparison, options.rounds))
            show_result(console, result)
            yield result


def _grow(console: Console, runner: Runner, options: argparse.Namespace, names: list[str]) -> Iterator[Result]:
    for name, series in all_series(options.scale).items():
        if name in names:
            with console.status(name):
                outcomes = runner.run_series(series, options.rounds)
            results = [_result(comparison, each) for comparison, each in zip(series, outcomes, strict=True)]
            show_series(console, results)
            yield from results


def _result(comparison: Comparison, outcomes: list[Outcome]) -> Result:
    workload = comparison.workload
    title = comparison.title.format(work=in_words(workload.number, workload.size))
    targets = list(comparison.targets)
    return Result(comparison.name, title, workload.place, workload.number, workload.size, targets, outcomes)


def _write(console: Console, document: Document, directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{document.kind}.json"
    document.write(path)
    written = [path, *write_plots(document, directory)]
    console.print(f"Written: {', '.join(str(path) for path in written)}", markup=False, soft_wrap=True)


def _exit(number: int, _frame: FrameType | None) -> None:
    """End as an exception does, so that the servers are stopped and the disk is freed."""
    sys.exit(128 + number)
