"""Command ``index``: the indexes by which files of a table are found.

Made by `datajoint_file.query.index`.
"""

from __future__ import annotations

from dataclasses import asdict

import click

from datajoint_file.cli.arguments import completed, wrong_usage
from datajoint_file.cli.output import console, print_json
from datajoint_file.hooks.targets import connect, targets_named
from datajoint_file.query.index import index as make_indexes

_EXAMPLES = """\b
Examples:
  datajoint-file index lab_ephys.Recording --dry-run
  datajoint-file index lab_ephys.Recording
"""


@click.command(epilog=_EXAMPLES, short_help="Make find faster on a table.")
@click.argument("name", metavar="SCHEMA.TABLE", shell_complete=completed)
@click.option("--drop", is_flag=True, help="Drop the indexes.")
@click.option("--dry-run", is_flag=True, help="Only show the statements.")
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON.")
@click.pass_context
def index(ctx: click.Context, name: str, drop: bool, dry_run: bool, as_json: bool) -> None:
    """Make the indexes by which `find` looks the files of a table up, on MySQL and PostgreSQL.

    The definition of the table stays as it is. --dry-run says who waits while they are made, and does nothing.
    """
    connection = connect()
    ctx.call_on_close(connection.close)
    with wrong_usage():
        (table,) = targets_named([name], connection)
        report = make_indexes(table, drop=drop, dry_run=dry_run)
    if as_json:
        print_json(asdict(report))
    else:
        console().print(str(report), soft_wrap=True)
