"""Command ``rebuild``: rows written again from what the store keeps beside their objects.

The work is done by `datajoint_file.exchange.rebuild`.
"""

from __future__ import annotations

from typing import Any

import click

from datajoint_file.cli.arguments import completed
from datajoint_file.cli.exit_codes import FINE, PARTLY, PROBLEMS
from datajoint_file.cli.output import console, print_json
from datajoint_file.concurrency.termination import ended_by_sigterm
from datajoint_file.exchange.rebuild import rebuild as rebuild_rows
from datajoint_file.hooks.targets import connect, targets_named

_EXAMPLES = """\b
Examples:
  datajoint-file rebuild lab_ephys --dry-run
  datajoint-file rebuild lab_ephys.Session lab_ephys.Recording
"""


@click.command(epilog=_EXAMPLES, short_help="Write rows of a lost database again.")
@click.argument("targets", nargs=-1, required=True, metavar="SCHEMA[.TABLE]...", shell_complete=completed)
@click.option("--dry-run", is_flag=True, help="Only say what would be written.")
@click.option(
    "--level",
    type=click.Choice(("content", "size")),
    default="content",
    show_default=True,
    help="Read the objects, or ask for their sizes.",
)
@click.option("--quiet", is_flag=True, help="Print nothing if all is fine.")
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON.")
@click.pass_context
def rebuild(
    ctx: click.Context, targets: tuple[str, ...], dry_run: bool, level: Any, quiet: bool, as_json: bool
) -> None:
    """Write rows again that a lost database had, into tables that are declared again.

    It knows of files inserted with [object_storage] self_describing = true. Rows that are there are never changed.
    Exit code 0 if all is there that the store knows of; 3 if some rows could not be written; 1 if none could; 4 if
    database or store could not be reached.
    """
    connection = connect()
    ctx.call_on_close(connection.close)
    try:
        subjects = targets_named(targets, connection)
    except LookupError as error:
        raise click.UsageError(
            f"declare the tables first, by the code that has declared them before: {error.args[0]}"
        ) from error
    with ended_by_sigterm():
        done = rebuild_rows(*subjects, level=level, dry_run=dry_run, progress=False if quiet or as_json else None)
    if as_json:
        print_json(done.to_dict())
    elif not quiet or not done:
        console().print(str(done), soft_wrap=True)
    ctx.exit(FINE if done else PARTLY if done.inserted or done.present else PROBLEMS)
