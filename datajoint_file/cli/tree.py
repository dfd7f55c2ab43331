"""Command ``tree``: files by key, or by where they are in the store.

The tree is grown by `datajoint_file.query.tree`.
"""

from __future__ import annotations

from typing import Literal

import click

from datajoint_file.cli.arguments import completed, rows_by_options, wrong_usage
from datajoint_file.cli.output import print_json, print_lines
from datajoint_file.cli.rows import Selection, restricted_targets
from datajoint_file.hooks.targets import connect
from datajoint_file.query import tree as trees

_EXAMPLES = """\b
Examples:
  datajoint-file tree lab_ephys
  datajoint-file tree lab_ephys.Recording --key subject_id=1 --check
  datajoint-file tree lab_ephys --by path --depth 4
"""


@click.command(epilog=_EXAMPLES, short_help="Show files as a tree.")
@click.argument("targets", nargs=-1, required=True, metavar="SCHEMA[.TABLE]...", shell_complete=completed)
@click.option(
    "--by", type=click.Choice(["key", "path"]), default="key", show_default=True, help="What the branches are."
)
@click.option(
    "--depth", type=click.IntRange(min=0), help="How many attributes of the key, or parts of the path, to go."
)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=trees.DEFAULT_LIMIT,
    show_default=True,
    help="So many files, or ends of branches, at most.",
)
@click.option("--check", is_flag=True, help="Ask the store for each file that is shown, and mark what is missing.")
@rows_by_options
@click.option("--json", "as_json", is_flag=True, help="Print the tree as JSON.")
@click.pass_context
def tree(
    ctx: click.Context,
    targets: tuple[str, ...],
    by: Literal["key", "path"],
    depth: int | None,
    limit: int,
    check: bool,
    rows: Selection,
    as_json: bool,
) -> None:
    """Show the files of schemas and tables with their sizes, as deep as there is room for.

    What is not shown is counted. The store is asked for --check only.
    """
    connection = connect()
    ctx.call_on_close(connection.close)
    with wrong_usage(ValueError):
        subjects = restricted_targets(targets, rows, connection)
        found = trees.tree(*subjects, by=by, depth=depth, limit=limit, check=check)
    if as_json:
        print_json(found.to_dict())
    else:
        print_lines([(line, "")] for line in str(found).splitlines())
