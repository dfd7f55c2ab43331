"""Command ``doctor``: whether configuration, store and database are as they have to be.

The looking is done by `datajoint_file.doctor` and `datajoint_file.doctor.database`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console

from datajoint_file.cli.exit_codes import FINE, PROBLEMS
from datajoint_file.cli.output import console, print_check, print_json
from datajoint_file.doctor import SEVERITY, Check, Status, check_configuration, check_store
from datajoint_file.doctor.database import check_database, check_stores
from datajoint_file.doctor.roots import check_roots
from datajoint_file.model.wording import counted

Part = tuple[str, Generator[Check, None, None]]


@click.command(short_help="Check configuration, store and database.")
@click.option(
    "--skip",
    type=click.Choice(["store", "database"]),
    multiple=True,
    help="Leave out the checks of the store, or of the database. May be given twice.",
)
@click.option(
    "--read-only", is_flag=True, help="Only what a reader needs: no probe is written, no right to write asked."
)
@click.option("--collector", is_flag=True, help="What the user who runs `gc` needs, in place of what a writer does.")
@click.option("--json", "as_json", is_flag=True, help="Print the checks as JSON.")
@click.pass_context
def doctor(ctx: click.Context, skip: tuple[str, ...], read_only: bool, collector: bool, as_json: bool) -> None:
    """Check configuration, store and database, and say how to mend what is wrong.

    The store is tried with one object of 1 MiB, which is removed again, unless its place is another project's. In the
    database nothing is created. With --read-only nothing is written at all.

    Exit code 0 if all is fine (warnings included), 1 if a check failed.
    """
    if read_only and collector:
        raise click.UsageError("--read-only and --collector are for different users: give one of them")
    parts = _parts(Path.cwd(), skip, read_only=read_only, collector=collector)
    statuses = _as_json(parts) if as_json else _as_lines(parts, console())
    ctx.exit(PROBLEMS if statuses["failed"] else FINE)


def _parts(start: Path, skip: tuple[str, ...], *, read_only: bool, collector: bool) -> Iterator[Part]:
    """Give the parts of the examination, each with its checks, which are made as they are asked for."""
    found, settings = check_configuration(start)
    if settings is not None:
        found.append(check_stores(settings))
    yield "configuration", (check for check in found)
    if "store" not in skip:
        nothing = (check for check in list[Check]())
        yield "store", check_store(settings, read_only=read_only, collector=collector) if settings else nothing
    if settings and settings.storage.mirror and "store" not in skip:
        mirror = settings.at(settings.storage.mirror)
        yield "mirror", check_store(mirror, read_only=read_only, collector=collector)
    if settings and settings.roots and "store" not in skip:
        yield "roots", check_roots(settings)
    if "database" not in skip:
        yield "database", check_database(settings, read_only=read_only, collector=collector)


def _as_json(parts: Iterator[Part]) -> Counter[Status]:
    checks = [(part, check) for part, made in parts for check in made]
    statuses = Counter(check.status for _, check in checks)
    worst = max(statuses, key=SEVERITY.index)
    print_json({"status": worst, "checks": [{"part": part, **asdict(check)} for part, check in checks]})
    return statuses


def _as_lines(parts: Iterator[Part], to: Console) -> Counter[Status]:
    """Print each check as soon as it is made: some stores take their time."""
    statuses: Counter[Status] = Counter()
    for part, made in parts:
        to.print(part.capitalize(), style="bold")
        with closing(made), _waiting(to, part):
            count = statuses.total()
            for check in made:
                print_check(to, check)
                statuses[check.status] += 1
            if statuses.total() == count:
                to.print("    not checked: there is no valid configuration", style="dim")
        to.print()
    to.print(_summary(statuses), style="bold")
    return statuses


def _waiting(to: Console, part: str) -> AbstractContextManager[object]:
    """Show on a terminal that something is going on."""
    return to.status(f"checking the {part}") if to.is_terminal else nullcontext()


def _summary(statuses: Counter[Status]) -> str:
    count, failed, warnings = statuses.total(), statuses["failed"], statuses["warning"]
    if not failed and not warnings:
        return f"All {count} checks are fine."
    return f"{counted(count, 'check')}: {failed} failed, {counted(warnings, 'warning')}."
