"""Command ``cat``: the bytes of one stored file on standard output, once all of them are verified."""

from __future__ import annotations

import codecs
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from datajoint_file.cli.arguments import completed, rows_by_arguments, verdicts, wrong_usage
from datajoint_file.cli.output import print_lines
from datajoint_file.cli.rows import Selection, one_file
from datajoint_file.hooks.targets import connect

_EXAMPLES = """\b
Examples:
  datajoint-file cat lab_ephys.Session.notes session=1
  datajoint-file cat lab_ephys.Sorting.result sorting_id=1 --member params.json | jq .
"""

_LOOKED_AT = 8192


@click.command(epilog=_EXAMPLES, short_help="Print a stored file.")
@click.argument("name", metavar="SCHEMA.TABLE[.ATTRIBUTE]", shell_complete=completed)
@rows_by_arguments
@click.option("--member", metavar="PATH", help="The file of this path in a stored directory.")
@click.pass_context
def cat(ctx: click.Context, name: str, rows: Selection, member: str | None) -> None:
    """Write the bytes of one row's file to standard output, and none of them before all are here and match its hash.

    Until then they are in a temporary file (of TMPDIR). A terminal is sent text only, with escapes for what it would
    obey. Exit code 1 if there is no such row, or there are several, or the file is damaged or gone.
    """
    connection = connect()
    ctx.call_on_close(connection.close)
    with verdicts(), TemporaryDirectory(prefix="datajoint-file-") as directory:
        with wrong_usage():
            file = one_file(connection, name, rows, member)
        path = file.download(Path(directory) / "file")
        if sys.stdout.isatty():
            _show(path)
            return
        with path.open("rb") as source:
            shutil.copyfileobj(source, sys.stdout.buffer)


def _show(path: Path) -> None:
    """Print a text on a terminal."""
    with path.open("rb") as source:
        start = source.read(_LOOKED_AT)
    try:
        codecs.utf_8_decode(start, "strict", False)
    except UnicodeDecodeError:
        start = b"\0"
    if b"\0" in start:
        raise click.UsageError("these bytes are no text, and standard output is a terminal: write them > to a file")
    with path.open(encoding="utf-8", errors="backslashreplace") as text:
        print_lines([(line.rstrip("\n").expandtabs(), "")] for line in text)
