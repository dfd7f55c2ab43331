"""The command ``python -m tests.torture``: which tiers over which cells, in how many processes, and a table at the end.

What a tier does is in its own module.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, fields
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.projects import DATABASES
from tests.torture import baseline, planted, units
from tests.torture.scenes import SCENES
from tests.torture.units import (
    CUTS_A_UNIT,
    DAMAGES_A_UNIT,
    KILLS_A_UNIT,
    MIGRATIONS_A_UNIT,
    SCHEDULES_A_UNIT,
    Report,
    Unit,
)
from tests.torture.values import Case, Cell

console = Console()
SHOWN = 25
TIERS = ("1", "2", "3", "4", "5", "6")
STORES = ("local", "s3", "local+both", "local+later")
"""Where projects are: in one place, or in two, of which the second has a file with its row or later."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what *arguments* say. 0: as it must be; 1: violations; 2: the harness itself failed."""
    options = _parser().parse_args(arguments)
    directory = Path(tempfile.mkdtemp(prefix="torture-servers-"))
    try:
        if options.case:
            return _replay(directory, Case.parse(options.case, options.seed))
        reports = list(_reports(directory, options, list(_units(options))))
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return _conclude(reports, options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument(
        "--tier", type=_some_of(*TIERS), default=",".join(TIERS), help="which tiers, separated by commas"
    )
    parser.add_argument(
        "--number", type=_at_least(1), default=500, help="schedules of tier 2 in all; tiers 3 to 6 follow it"
    )
    parser.add_argument(
        "--sample", type=_at_least(0), default=0, help="cases of tier 1 an operation and cell; 0: all of them"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--databases", type=_some_of(*DATABASES), default=",".join(DATABASES))
    parser.add_argument("--stores", type=_some_of(*STORES), default=",".join(STORES))
    parser.add_argument("--subject", default="file", choices=("file", "object"))
    parser.add_argument(
        "--scenes",
        type=_some_of(*SCENES),
        default="",
        help="operations of tier 1, separated by commas; all of them if empty",
    )
    parser.add_argument("--processes", type=_at_least(1), default=2)
    parser.add_argument("--case", type=_case, default="", help="run this one again, as a violation names it")
    parser.add_argument("--planted", action="store_true", help="plant bugs, and find each of them")
    parser.add_argument("--baseline", action="store_true", help="find the faults of DataJoint's own <object@store>")
    parser.add_argument("--json", type=_file_to_write, default="", help="write figures and violations to this file")
    return parser


def _some_of(*known: str) -> Callable[[str], str]:
    def check(text: str) -> str:
        if unknown := sorted({*filter(None, text.split(","))} - {*known}):
            raise argparse.ArgumentTypeError(f"there is no {', '.join(unknown)}; there are {', '.join(known)}")
        return text

    return check


def _at_least(least: int) -> Callable[[str], int]:
    def check(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text}: expected a number, {least} or more")
        return int(text)

    return check


def _case(text: str) -> str:
    if text and text.count("/") < len(fields(Cell)):
        raise argparse.ArgumentTypeError(f"{text}: expected tier/subject/database/store/…, as a violation names it")
    return text


def _file_to_write(text: str) -> str:
    if text and (Path(text).is_dir() or not os.access(Path(text).absolute().parent, os.W_OK)):
        raise argparse.ArgumentTypeError(f"{text}: expected a file in a directory that may be written in")
    return text


def _cells(options: argparse.Namespace, subject: str = "") -> list[Cell]:
    return [
        Cell(subject or options.subject, database, store)
        for database in options.databases.split(",")
        for store in options.stores.split(",")
        if (subject or options.subject) == "file" or "+" not in store
    ]


def _is_played(tier: str, cell: Cell) -> bool:
    """Tell whether a tier has a meaning in a cell: a mirror would mend what tier 5 damages, and paths become files."""
    return (tier not in ("5", "6") or "+" not in cell.store) and (tier != "6" or cell.subject == "file")


def _units(options: argparse.Namespace) -> Iterator[Unit]:
    if options.baseline:
        yield from (Unit("baseline", cell) for cell in _cells(options, "object"))
    if options.planted:
        cell = Cell("file", "any", "any")
        yield from (Unit("planted", cell, name) for name in planted.BUGS)
    if options.baseline or options.planted:
        return
    tiers, cells = options.tier.split(","), _cells(options)
    if "1" in tiers:
        scenes = options.scenes.split(",") if options.scenes else list(SCENES)
        yield from (Unit("1", cell, scene, sample=options.sample) for scene in scenes for cell in cells)
    share = -(-options.number // len(cells))
    sizes = {
        "2": (share, SCHEDULES_A_UNIT),
        "3": (share // 5, KILLS_A_UNIT),
        "5": (share, DAMAGES_A_UNIT),
        "6": (share // 5, MIGRATIONS_A_UNIT),
    }
    for tier, (count, size) in sizes.items():
        if tier in tiers:
            played = (cell for cell in cells if _is_played(tier, cell))
            yield from (Unit(tier, cell, numbers=part) for cell in played for part in _parts(count, size))
    if "4" in tiers:
        cell = Cell(options.subject, "none", "local")
        yield from (Unit("4", cell, numbers=part) for part in _parts(max(1, options.number // 10), CUTS_A_UNIT))


def _parts(count: int, size: int) -> Iterator[tuple[int, int]]:
    yield from ((start, min(start + size, count)) for start in range(0, count, size))


def _reports(directory: Path, options: argparse.Namespace, todo: list[Unit]) -> Iterator[Report]:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.processes, context, units.begin, (directory, options.seed)) as pool:
        waiting = {pool.submit(units.run, unit): unit for unit in todo}
        for number, future in enumerate(as_completed(waiting), start=1):
            try:
                report = future.result()
            except BrokenProcessPool:
                report = Report(waiting[future], 0, (), 0.0, "a worker was stuck, or died; its threads are shown above")
            _tell(report, number, len(todo))
            yield report


def _tell(report: Report, number: int, total: int) -> None:
    unit = report.unit
    where = f"T{unit.tier} {unit.cell} {unit.part or '-'.join(map(str, unit.numbers))}"
    result = f"{report.cases} cases, {len(report.violations)} violations, {report.seconds:.0f} s"
    print(f"[{number}/{total}] {where}: {result}", file=sys.stderr, flush=True)
    for violation in {violation.kind: violation for violation in reversed(report.violations)}.values():
        print(violation, file=sys.stderr, flush=True)
    if report.error:
        print(report.error, file=sys.stderr, flush=True)


def _replay(directory: Path, case: Case) -> int:
    units.begin(directory, case.seed)
    violations = units.worker().replay(case)
    for violation in violations:
        console.print(str(violation), markup=False, highlight=False)
    console.print(f"{case.name}: {len(violations)} violations")
    units.worker().close()
    return 1 if violations else 0


def _conclude(reports: list[Report], options: argparse.Namespace) -> int:
    if options.json:
        _write(Path(options.json), reports, options)
    for report in (report for report in reports if report.error):
        console.print(f"[red]failed[/red]: {report.unit}")
    if options.planted or options.baseline:
        is_right = _judge_validity(reports, options)
    else:
        _show(reports)
        is_right = not any(report.violations for report in reports)
    if any(report.error for report in reports):
        return 2
    return 0 if is_right else 1


def _show(reports: list[Report]) -> None:
    table = Table("tier", "cell", "cases", "violations", "classes", "seconds", "95 % bound")
    for tier, cell in sorted({(report.unit.tier, str(report.unit.cell)) for report in reports}):
        mine = [report for report in reports if (report.unit.tier, str(report.unit.cell)) == (tier, cell)]
        cases = sum(report.cases for report in mine)
        kinds = Counter(violation.kind for report in mine for violation in report.violations)
        shown = ", ".join(f"{kind} ({count})" for kind, count in kinds.most_common())
        bound = f"{3 / cases:.1e}" if cases and not kinds else ""
        seconds = f"{sum(report.seconds for report in mine):.0f}"
        table.add_row(f"T{tier}", cell, str(cases), str(kinds.total()), shown, seconds, bound)
    console.print(table)
    violations = [violation for report in reports for violation in report.violations]
    for violation in violations[:SHOWN]:
        console.print(str(violation), markup=False, highlight=False)
    cases = sum(report.cases for report in reports)
    console.print(f"{cases} cases, {len(violations)} violations")


def _judge_validity(reports: list[Report], options: argparse.Namespace) -> bool:
    """Show which bugs and known faults were found; tell whether all that must be were."""
    table = Table("what", "found", "classes", "seconds")
    is_right = True
    for report in sorted(reports, key=lambda report: (report.unit.tier, report.unit.part, str(report.unit.cell))):
        kinds = sorted({violation.kind for violation in report.violations})
        what, found = report.unit.part or str(report.unit.cell), "yes" if kinds else "no"
        table.add_row(what, found, ", ".join(kinds), f"{report.seconds:.0f}")
        is_right &= bool(kinds) or report.unit.tier != "planted"
    console.print(table)
    if options.baseline:
        classes = {violation.kind for report in reports for violation in report.violations}
        missed = sorted(set(baseline.REQUIRED) - classes)
        console.print(f"{len(classes)} classes found in <object@store>" + (f"; not found: {missed}" if missed else ""))
        is_right &= not missed
    if options.planted:
        caught = sum(bool(report.violations) for report in reports if report.unit.tier == "planted")
        console.print(f"{caught} of {len(planted.BUGS)} planted bugs found; not plantable yet: {planted.LATER}")
    return is_right


def _write(path: Path, reports: list[Report], options: argparse.Namespace) -> None:
    document = {
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "seed": options.seed,
        "cases": sum(report.cases for report in reports),
        "violations": sum(len(report.violations) for report in reports),
        "reports": [asdict(report) for report in reports],
    }
    path.write_text(json.dumps(document, indent=1))
