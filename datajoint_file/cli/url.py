"""Command ``url``: a link by which anybody can get one stored file for a while.

It is signed by `FileRef.sign`.
"""

from __future__ import annotations

import click

from datajoint_file.cli.arguments import completed, rows_by_arguments, verdicts, wrong_usage
from datajoint_file.cli.output import print_json
from datajoint_file.cli.rows import Selection, one_file
from datajoint_file.hooks.targets import connect
from datajoint_file.startup import on_one_line

_EXAMPLES = """\b
Examples:
  datajoint-file url lab_ephys.Recording.raw_data subject_id=1
  datajoint-file url lab_ephys.Sorting.result sorting_id=1 --member report.pdf --expires "2 days" --inline
"""


@click.command(epilog=_EXAMPLES, short_help="Make a link to a stored file.")
@click.argument("name", metavar="SCHEMA.TABLE[.ATTRIBUTE]", shell_complete=completed)
@rows_by_arguments
@click.option("--member", metavar="PATH", help="The file of this path in a stored directory.")
@click.option(
    "--expires", default="1 hour", show_default=True, metavar="TIME", help="How long it is good: up to 7 days."
)
@click.option("--inline", is_flag=True, help="Let a browser show the file, instead of saving it.")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON, with what the row says of the file.")
@click.pass_context
def url(
    ctx: click.Context, name: str, rows: Selection, member: str | None, expires: str, inline: bool, as_json: bool
) -> None:
    """Print a signed URL of one row's file in a bucket. It is a secret: whoever has it can read the file.

    It cannot be taken back. Exit code 1 if there is no such row, or there are several, or the file is damaged or gone;
    4 if the store makes no links (a disk), or these credentials cannot.
    """
    connection = connect()
    ctx.call_on_close(connection.close)
    with verdicts(), wrong_usage(ValueError, TypeError):
        file = one_file(connection, name, rows, member)
        address = file.sign(expires, inline=inline)
    if as_json:
        print_json({"url": address, "expires": expires, "file": file.to_dict()})
    else:
        click.echo(on_one_line(address))
