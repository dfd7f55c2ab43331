"""Command ``drill``: whether a backup of database and store could be restored, tried beside the real thing.

What is tried, and how, is the business of `datajoint_file.drills`.
"""

from __future__ import annotations

from pathlib import Path

import click

from datajoint_file.cli.arguments import wrong_usage
from datajoint_file.cli.exit_codes import BLIND, FINE, PROBLEMS
from datajoint_file.cli.output import Abridged, console, print_check, print_json
from datajoint_file.concurrency.termination import ended_by_sigterm
from datajoint_file.doctor import Check
from datajoint_file.drills.drill import drill as try_backup
from datajoint_file.drills.report import DrillReport

_EXAMPLES = """\b
Examples:
  datajoint-file drill --dump /backup/lab.sql.gz --store /backup/store
  datajoint-file drill --dump /backup/lab.dump --store backup.toml --all
  datajoint-file drill --dump /backup/lab.sql.gz --store /backup/store --max-age 36h --quiet
"""
_UNKNOWING = {"sight", "store", "unreadable"}
"""Names of problems that say that nobody knows, rather than that something is amiss."""


@click.command(epilog=_EXAMPLES, short_help="Try a backup beside the real thing.")
@click.option(
    "--dump",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A dump (.sql, .sql.gz, or of pg_dump -Fc), or a directory of dumps.",
)
@click.option(
    "--store",
    required=True,
    type=click.Path(path_type=Path),
    metavar="PLACE",
    help="The directory with the copy of the store, or a datajoint.toml that says where the copy is.",
)
@click.option("--server", metavar="HOST:PORT", help="An empty server to load into, instead of one that is started.")
@click.option(
    "--sample",
    type=click.IntRange(min=1),
    default=100,
    show_default=True,
    metavar="N",
    help="Files to read and compare with their hash.",
)
@click.option("--all", "is_all", is_flag=True, help="Read them all.")
@click.option("--seed", type=int, metavar="NUMBER", help="Draw the sample of an earlier drill again.")
@click.option("--max-age", metavar="TIME", help="A dump that is older (36h, 8d) is a problem.")
@click.option("--workers", type=click.IntRange(min=1), metavar="N", help="Files read at a time.")
@click.option("--quiet", is_flag=True, help="Print only what a person must see: nothing, if all is fine.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.pass_context
def drill(
    ctx: click.Context,
    dump: Path,
    store: Path,
    server: str | None,
    sample: int,
    is_all: bool,
    seed: int | None,
    max_age: str | None,
    workers: int | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Restore a backup beside the real database, verify it, and say what it lacks. Nothing that is real is changed.

    The dump is loaded into a server of the same kind, started for this in a temporary directory (TMPDIR) that is
    removed in the end. All that its rows name is looked for in the copy of the store, by size; of a sample the bytes
    are read. Then the live database is asked what it has by now.

    Exit code 0 if the backup is fine, 1 if there are problems, or the server or store that was given is the real one,
    4 if it could not be tried, or the copy or the live database could not be read.
    """
    progress = False if quiet or as_json else None
    with wrong_usage(ValueError), ended_by_sigterm():
        report = try_backup(
            dump,
            store,
            server=server,
            sample=None if is_all else sample,
            seed=seed,
            max_age=max_age,
            workers=workers,
            progress=progress,
        )
    code = _exit_code(report)
    if as_json and (code or not quiet):
        print_json(report.to_dict())
    elif code or not quiet:
        _print(report)
    ctx.exit(code)


def _print(report: DrillReport) -> None:
    to = console()
    to.print(report.summary, style="bold", soft_wrap=True)
    for line in report.lines:
        to.print(f"  {line}", soft_wrap=True)
    for check in (*report.problems, *report.notes):
        print_check(to, check)
    found = Abridged(to, "--json names them")
    for finding in report.findings:
        found.print(Check(finding.kind, "failed", finding.problem))
    found.end()


def _exit_code(report: DrillReport) -> int:
    """Return what is most important: that the backup is unfit, or that nobody knows."""
    names = {check.name for check in report.problems}
    return PROBLEMS if names - _UNKNOWING else BLIND if names else FINE
