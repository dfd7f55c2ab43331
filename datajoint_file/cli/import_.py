"""Command ``import``: what somebody has exported, inserted here.

The work is done by `datajoint_file.exchange.importing`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from datajoint_file.cli.arguments import pairs, verdicts, wrong_usage
from datajoint_file.cli.exit_codes import FINE, PARTLY
from datajoint_file.cli.output import console, print_json
from datajoint_file.concurrency.termination import ended_by_sigterm
from datajoint_file.exchange.importing import import_ as import_slice
from datajoint_file.hooks.targets import connect

_EXAMPLES = """\b
Examples:
  datajoint-file import slice/ --prefix shared_
  datajoint-file import slice/ --schema lab_ephys=their_ephys --on-conflict skip
"""


@click.command("import", epilog=_EXAMPLES, short_help="Insert what others have exported.")
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path), metavar="DIRECTORY")
@click.option(
    "--schema",
    "schemas",
    multiple=True,
    callback=pairs,
    metavar="NAME=NAME",
    help="What a schema is to be called here.",
)
@click.option("--prefix", default="", metavar="TEXT", help="What the names of all other schemas are to begin with.")
@click.option(
    "--on-conflict",
    type=click.Choice(("raise", "skip")),
    default="raise",
    show_default=True,
    help="If other rows are there under their keys: insert nothing, or all others.",
)
@click.option("--quiet", is_flag=True, help="Print nothing if all is fine.")
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON.")
@click.pass_context
def import_(
    ctx: click.Context,
    directory: Path,
    schemas: dict[str, str],
    prefix: str,
    on_conflict: Any,
    quiet: bool,
    as_json: bool,
) -> None:
    """Insert what `export` has written, into this server and this project's store.

    All is compared with its checksums first. Rows that are there and equal are passed over: after an interruption, give
    the command again. Exit code 0 if all rows are there; 3 if some were left out; 1 if the export is damaged, or does
    not go with what is there: nothing was inserted then; 4 if database or store could not be reached.
    """
    connection = connect()
    ctx.call_on_close(connection.close)
    options: dict[str, Any] = {"schemas": schemas, "prefix": prefix, "on_conflict": on_conflict}
    with verdicts(), wrong_usage(ValueError), ended_by_sigterm():
        done = import_slice(directory, connection=connection, progress=False if quiet or as_json else None, **options)
    if as_json:
        print_json(done.to_dict())
    elif not quiet or not done:
        console().print(str(done), soft_wrap=True)
    ctx.exit(FINE if done else PARTLY)
