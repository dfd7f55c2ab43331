"""Command ``move``: a project brought to another store, with a certificate.

Done by `datajoint_file.mirror`.
"""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path

import click

from datajoint_file.cli.arguments import wrong_usage
from datajoint_file.cli.exit_codes import FINE, PROBLEMS
from datajoint_file.cli.mirror import exit_code, show
from datajoint_file.cli.one_at_a_time import lock_of_project, one_at_a_time
from datajoint_file.cli.output import console, print_json
from datajoint_file.concurrency.termination import ended_by_sigterm
from datajoint_file.hooks.connections import pipeline_of
from datajoint_file.hooks.targets import connect
from datajoint_file.mirror import move as move_project
from datajoint_file.model.wording import counted, format_size

_EXAMPLES = """\b
Examples:
  datajoint-file move --to new.toml --check
  datajoint-file move --to new.toml
"""


@click.command(epilog=_EXAMPLES, short_help="Bring a project to another store.")
@click.option(
    "--to",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="The new datajoint.toml, whose [storage.mirror] is the store of now.",
)
@click.option("--check", is_flag=True, help="Copy and compare, and exchange nothing.")
@click.option(
    "--certificate", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Where to write it."
)
@click.option("--dropped", multiple=True, metavar="SCHEMA", help="It has a mark in the store, and is gone for good.")
@click.option("--workers", type=click.IntRange(min=1), metavar="N", help="Files at a time.")
@click.option("--quiet", is_flag=True, help="Print only what a person must see: nothing, if all is fine.")
@click.option("--json", "as_json", is_flag=True, help="Print the certificate.")
@click.pass_context
def move(
    ctx: click.Context,
    to: Path,
    check: bool,
    certificate: Path | None,
    dropped: tuple[str, ...],
    workers: int | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Copy all files of the project to the store of another datajoint.toml, read both, and exchange the stores.

    Nothing is deleted, and work can go on: what is stored meanwhile is copied, too. In the end the new store is the one
    that counts, and the old one its mirror; from then on everybody is to use the new file. May be ended, or killed, and
    begun again; again also for what somebody has stored by the old file afterwards.

    Exit code 0 if both places have the same, 1 if a person must see to something, and nothing was exchanged, 3 if
    another run is at it, 4 if database or a place could not be reached.
    """
    with wrong_usage():
        connection = connect()
    ctx.call_on_close(connection.close)
    project = pipeline_of(connection).project
    with one_at_a_time(lock_of_project(f"{project}.mirror"), "datajoint-file move", quiet=quiet), ended_by_sigterm():
        progress = False if quiet or as_json else None
        found = move_project(to, connection, check=check, dropped=dropped, workers=workers, progress=progress)
    if found and not (check and certificate is None):
        moment = f"{datetime.now(timezone.utc):%Y%m%dT%H%M%SZ}"
        certificate = certificate or Path(f"move-{project}-{moment}.json")
        certificate.write_text(json.dumps(found.to_dict(), indent=2) + "\n", encoding="utf-8")
    if as_json:
        print_json(found.to_dict())
    elif not quiet or not found:
        show(found.report, quiet=False, as_json=False)
        for side in (found.old, found.new):
            size = format_size(side.size)
            console().print(f"{side.place}: {counted(side.files, 'file')}, {size}, {side.digest}", soft_wrap=True)
        console().print(f"{project} is in {(found.new if found.is_swapped else found.old).place}", soft_wrap=True)
        if certificate is not None and found:
            console().print(f"certificate: {certificate}", soft_wrap=True)
    ctx.exit(exit_code(found.report) or (FINE if found else PROBLEMS))
