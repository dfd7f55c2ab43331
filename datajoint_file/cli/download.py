"""Command ``download``: the files of a table, or of some of its rows, brought into a directory.

The work is done by `datajoint_file.downloads`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from datajoint_file.cli.arguments import completed, rows_by_arguments, verdicts, wrong_usage
from datajoint_file.cli.exit_codes import FINE, PROBLEMS
from datajoint_file.cli.output import console, print_json
from datajoint_file.cli.rows import Selection, table_with_files
from datajoint_file.concurrency.termination import ended_by_sigterm
from datajoint_file.downloads.download import download as download_files
from datajoint_file.hooks.targets import connect
from datajoint_file.model.wording import counted
from datajoint_file.startup import on_one_line

_EXAMPLES = """\b
Examples:
  datajoint-file download lab_ephys.Recording --to recordings/
  datajoint-file download lab_ephys.Recording.raw_data subject_id=1 --to recordings/ --layout key
"""


@click.command(epilog=_EXAMPLES, short_help="Bring files of rows here (get).")
@click.argument("name", metavar="SCHEMA.TABLE[.ATTRIBUTE]", shell_complete=completed)
@rows_by_arguments
@click.option(
    "--to",
    "directory",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIRECTORY",
    help="Where they are to go; it is made if need be.",
)
@click.option(
    "--layout",
    type=click.Choice(("name", "key", "path")),
    default="name",
    show_default=True,
    help="All under their names; a directory for each value of the key; or as they are in the store.",
)
@click.option("--overwrite", is_flag=True, help="Replace files that are there and differ.")
@click.option("--workers", type=click.IntRange(min=1), metavar="N", help="Files at a time.")
@click.option("--quiet", is_flag=True, help="Print nothing if all is fine.")
@click.option("--json", "as_json", is_flag=True, help="Print the paths as JSON.")
@click.pass_context
def download(
    ctx: click.Context,
    name: str,
    rows: Selection,
    directory: Path,
    layout: str,
    overwrite: bool,
    workers: int | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Bring the files of a table here, or those of some of its rows, and compare each with its hash. Short: get.

    A file that is there already and is equal stays, and is not brought: after a failure, give the command again.

    Exit code 0; 1 if there is no such row, a different file is in the way, or a stored file is damaged or gone; 4 if
    database or store could not be reached.
    """
    connection = connect()
    ctx.call_on_close(connection.close)
    with wrong_usage():
        table, names = table_with_files(connection, name, None)
        query = rows.of(table)
    options: dict[str, Any] = {"layout": layout, "overwrite": overwrite, "workers": workers}
    with verdicts(), ended_by_sigterm():
        found = download_files(query.proj(*names), directory, progress=False if quiet or as_json else None, **options)
    if as_json:
        print_json([str(path) for path in found])
    elif not quiet:
        console().print(f"{counted(len(found), 'file')} in {on_one_line(str(directory))}", style="bold", soft_wrap=True)
    ctx.exit(FINE if found else PROBLEMS)
