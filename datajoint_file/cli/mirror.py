"""Command ``mirror``: what the mirror has not, and what the store has lost, brought from the other place.

Done by `datajoint_file.mirror`.
"""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import click

from datajoint_file.cli.arguments import completed, time_option, wrong_usage
from datajoint_file.cli.exit_codes import BLIND, FINE, PROBLEMS
from datajoint_file.cli.one_at_a_time import lock_of_project, one_at_a_time
from datajoint_file.cli.output import Abridged, console, print_json
from datajoint_file.concurrency.termination import ended_by_sigterm
from datajoint_file.doctor import Check
from datajoint_file.errors import DataJointError
from datajoint_file.hooks.connections import pipeline_of
from datajoint_file.hooks.targets import connect
from datajoint_file.mirror import MirrorReport, run

_EXAMPLES = """\b
Examples:
  datajoint-file mirror --quiet
  datajoint-file mirror lab_ephys.Recording --verify
  datajoint-file mirror --watch --interval 10min
"""


@click.command(epilog=_EXAMPLES, short_help="Bring files to a second place, and mend either.")
@click.argument("names", nargs=-1, metavar="[SCHEMA[.TABLE]]...", shell_complete=completed)
@click.option("--verify", is_flag=True, help="Read and hash all that both places have.")
@click.option("--workers", type=click.IntRange(min=1), metavar="N", help="Files at a time.")
@click.option("--watch", is_flag=True, help="Do so again and again, until it is ended.")
@click.option(
    "--interval",
    default="5min",
    show_default=True,
    callback=time_option,
    metavar="TIME",
    help="With --watch: how often.",
)
@click.option("--quiet", is_flag=True, help="Print only what a person must see: nothing, if all is fine.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON; with --watch, one a line.")
@click.pass_context
def mirror(
    ctx: click.Context,
    names: tuple[str, ...],
    verify: bool,
    workers: int | None,
    watch: bool,
    interval: timedelta,
    quiet: bool,
    as_json: bool,
) -> None:
    """Bring what the mirror has not from the store, and what the store has lost from the mirror.

    All that rows of the project name is looked at, and what was removed from rows and is kept yet; SCHEMA stands for
    its tables and what was removed from them, SCHEMA.Table for one table. Without --verify sizes are compared; what is
    copied is hashed on its way in any case. Only bytes that were verified replace others, and only wrong ones; what
    both places have wrong is named, and left. May be ended, or killed, and begun again.

    Exit code 0 if both places have everything now, 1 if a person must see to something, 3 if another run is at it, 4 if
    database or a place could not be reached.
    """
    with wrong_usage():
        connection = connect()
    ctx.call_on_close(connection.close)
    options = {"verify": verify, "workers": workers, "progress": False if quiet or as_json else None}
    lock = lock_of_project(f"{pipeline_of(connection).project}.mirror")
    with one_at_a_time(lock, "datajoint-file mirror", quiet=quiet), ended_by_sigterm():
        while True:
            with wrong_usage(LookupError):
                report = _run(connection, names, options, is_tried_again=watch)
            if report is not None:
                show(report, quiet=quiet, as_json=as_json)
            if not watch:
                ctx.exit(BLIND if report is None else exit_code(report))
            try:
                time.sleep(interval.total_seconds())
            except (KeyboardInterrupt, SystemExit):  # as systemd ends it: that is no failure
                return


def _run(
    connection: Any, names: tuple[str, ...], options: dict[str, Any], *, is_tried_again: bool
) -> MirrorReport | None:
    try:
        return run(connection, names, **options)
    except DataJointError as error:
        if not is_tried_again:
            raise
        click.echo(f"Cannot go on, and tries again: {error}", err=True)
        return None


def exit_code(report: MirrorReport) -> int:
    """Return what is most important: damage, or that nobody knows."""
    return FINE if report else BLIND if report.interruption and not report.damaged else PROBLEMS


def show(report: MirrorReport, *, quiet: bool, as_json: bool) -> None:
    """Print what a run has done."""
    if quiet and report:
        return
    if as_json:
        print_json(report.to_dict())
        return
    abridged = Abridged(console(), "--json names them all")
    for told in report.told:
        abridged.print(Check("mirror", "failed", told))
    abridged.end()
    console().print(report.summary, style="bold", soft_wrap=True)
