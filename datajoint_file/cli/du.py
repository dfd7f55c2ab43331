"""Command ``du``: files and bytes by table, subject, month or what else.

The adding up is done by `datajoint_file.query.usage`.
"""

from __future__ import annotations

from typing import Any

import click

from datajoint_file.cli.arguments import completed, rows_by_options, wrong_usage
from datajoint_file.cli.output import console, print_json
from datajoint_file.cli.rows import Selection, restricted_targets
from datajoint_file.hooks.targets import connect
from datajoint_file.query.usage import usage
from datajoint_file.verification.own_schemas import schemas_of_pipeline

_EXAMPLES = """\b
Examples:
  datajoint-file du --by schema
  datajoint-file du lab_ephys
  datajoint-file du lab_ephys.Recording --by subject_id
  datajoint-file du lab_ephys --by subject_id --by month --json
"""


@click.command(epilog=_EXAMPLES, short_help="Add up files and bytes.")
@click.argument("targets", nargs=-1, metavar="[SCHEMA[.TABLE]]...", shell_complete=completed)
@click.option(
    "--by",
    multiple=True,
    default=("table",),
    show_default=True,
    metavar="NAME",
    help="schema, table, attribute, month, or an attribute of the tables. May be repeated.",
)
@rows_by_options
@click.option("--unknown", is_flag=True, help="List the store as well, for objects that nothing tells of.")
@click.option("--json", "as_json", is_flag=True, help="Print the sums as JSON.")
@click.pass_context
def du(
    ctx: click.Context, targets: tuple[str, ...], by: tuple[str, ...], rows: Selection, unknown: bool, as_json: bool
) -> None:
    """Add up the files of schemas and tables in the database; if none is named, of all schemas of the project.

    What is linked takes no room and is shown apart, and so is what only the history keeps. The store is asked for
    --unknown only.
    """
    connection = connect()
    ctx.call_on_close(connection.close)
    with wrong_usage(ValueError):
        subjects: list[Any] = restricted_targets(targets or schemas_of_pipeline(connection), rows, connection)
        found = usage(*subjects, by=by, unknown=unknown)
    if as_json:
        print_json(found.to_dict())
    else:
        console().print(str(found), soft_wrap=True)
