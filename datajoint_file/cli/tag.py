"""Command ``tag``: the tags of rows, counted, put and taken away.

What a tag is, `datajoint_file.query.tags` knows.
"""

from __future__ import annotations

import click

from datajoint_file.cli.arguments import completed, rows_by_arguments, wrong_usage
from datajoint_file.cli.exit_codes import Verdict
from datajoint_file.cli.output import Line, print_json, print_lines
from datajoint_file.cli.rows import Selection, one_query
from datajoint_file.hooks.targets import connect
from datajoint_file.model.wording import counted
from datajoint_file.query import tags

_EXAMPLES = """\b
Examples:
  datajoint-file tag lab_ephys.Recording
  datajoint-file tag lab_ephys.Recording subject_id=1 --add good --add sorted
  datajoint-file tag lab_ephys.Recording --where "session > 3" --remove good
"""


@click.command(epilog=_EXAMPLES, short_help="Show, put or remove tags of rows.")
@click.argument("name", metavar="SCHEMA.TABLE", shell_complete=completed)
@rows_by_arguments
@click.option("--add", multiple=True, metavar="TAG", help="Put this tag on the rows. May be repeated.")
@click.option("--remove", multiple=True, metavar="TAG", help="Take this tag away from them. May be repeated.")
@click.option("--json", "as_json", is_flag=True, help="Print what was done, and the tags, as JSON.")
@click.pass_context
def tag(
    ctx: click.Context, name: str, rows: Selection, add: tuple[str, ...], remove: tuple[str, ...], as_json: bool
) -> None:
    """Show the tags of a table's rows, or of some of them, and how many rows have each.

    --add and --remove are done first. What is there already, or not there, does not matter. Exit code 1 if there is
    no such row.
    """
    if both := sorted(set(add) & set(remove)):
        raise click.UsageError(f"{', '.join(both)}: to be added, and to be removed?")
    connection = connect()
    ctx.call_on_close(connection.close)
    with wrong_usage():
        query = one_query(connection, name, rows)
        if not query:
            raise Verdict("There is no such row.")
        added = tags.tag(query, *add) if add else 0
        removed = tags.untag(query, *remove) if remove else 0
        found = tags.tags(query)
    if as_json:
        print_json({"added": added, "removed": removed, "tags": found})
        return
    lines: list[Line] = [[(f"{counted(count, 'row'):>12}", "cyan"), (f"  {one}", "")] for one, count in found.items()]
    if add or remove:
        lines.append([(f"{counted(added, 'tag')} put, {removed:,} removed.", "bold")])
    print_lines(lines or [[("No tags.", "bold")]])
