"""Command ``export``: rows of a table, what they depend on, and their files, as a directory for others.

The work is done by `datajoint_file.exchange.export`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from datajoint_file.cli.arguments import completed, rows_by_arguments, verdicts, wrong_usage
from datajoint_file.cli.output import console, print_json
from datajoint_file.cli.rows import Selection, one_query
from datajoint_file.concurrency.termination import ended_by_sigterm
from datajoint_file.exchange.export import export as export_rows
from datajoint_file.exchange.packing import FORMATS
from datajoint_file.hooks.targets import connect

_LEFT_OUT = "An attribute; or `tags` of rows, or `provenance` of files. May be repeated."

_EXAMPLES = """\b
Examples:
  datajoint-file export lab_ephys.Recording subject_id=1 slice/
  datajoint-file export lab_ephys.Recording slice/ --format ro-crate --links keep
"""


@click.command(epilog=_EXAMPLES, short_help="Write rows and files for others (a bag).")
@click.argument("name", metavar="SCHEMA.TABLE", shell_complete=completed)
@rows_by_arguments
@click.argument("directory", type=click.Path(path_type=Path), metavar="DIRECTORY")
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    default="bagit",
    show_default=True,
    help="A bag of BagIt, or an RO-Crate.",
)
@click.option(
    "--links",
    type=click.Choice(("copy", "keep")),
    default="copy",
    show_default=True,
    help="Whether files that stay where they are come along.",
)
@click.option("--leave-out", multiple=True, metavar="SCHEMA.TABLE.ATTRIBUTE", help=_LEFT_OUT)
@click.option("--workers", type=click.IntRange(min=1), metavar="N", help="Files at a time.")
@click.option("--quiet", is_flag=True, help="Print nothing if all is fine.")
@click.option("--json", "as_json", is_flag=True, help="Print what was written as JSON.")
@click.pass_context
def export(
    ctx: click.Context,
    name: str,
    directory: Path,
    rows: Selection,
    form: str,
    links: Any,
    leave_out: tuple[str, ...],
    workers: int | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Write rows of a table to a new directory, with the rows that they depend on, definitions and files.

    Exit code 0; 1 if an attribute cannot be carried, something is in the way, or a stored file is damaged or gone; 4 if
    database or store could not be reached. Then nothing is there.
    """
    connection = connect()
    ctx.call_on_close(connection.close)
    with wrong_usage():
        query = one_query(connection, name, rows)
    options: dict[str, Any] = {"format": form, "links": links, "leave_out": leave_out, "workers": workers}
    with verdicts(), ended_by_sigterm():
        done = export_rows(query, directory, progress=False if quiet or as_json else None, **options)
    if as_json:
        print_json(done.to_dict())
    elif not quiet:
        console().print(str(done), soft_wrap=True)
