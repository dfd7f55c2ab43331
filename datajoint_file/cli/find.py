"""Command ``find``: the rows that have a file.

The search is `datajoint_file.query.find`'s.
"""

from __future__ import annotations

from typing import Any

import click

from datajoint_file.cli.arguments import wrong_usage
from datajoint_file.cli.exit_codes import BLIND, FINE, PROBLEMS
from datajoint_file.cli.output import console, print_json
from datajoint_file.hooks.targets import connect
from datajoint_file.query.find import Earlier, FindReport, Found
from datajoint_file.query.find import find as search
from datajoint_file.startup import on_one_line

_EXAMPLES = """\b
Examples:
  datajoint-file find run1.dat
  datajoint-file find --hash 9f86d081
  datajoint-file find --path s3://my-bucket/lab/ephys/objects/Recording-raw/…/run1.dat
"""


@click.command(epilog=_EXAMPLES, short_help="Say which rows have a file.")
@click.argument("file", required=False)
@click.option("--hash", "hash_", metavar="DIGITS", help="Its SHA-256, or the first 8 digits or more.")
@click.option(
    "--path", metavar="KEY|URL|PATH", help="Its object key, its URL, or its path in the store or below a root."
)
@click.option("--schema", "schemas", metavar="NAME", multiple=True, help="Only in this schema. May be repeated.")
@click.option("--json", "as_json", is_flag=True, help="Print what is found as JSON.")
@click.pass_context
def find(
    ctx: click.Context,
    file: str | None,
    hash_: str | None,
    path: str | None,
    schemas: tuple[str, ...],
    as_json: bool,
) -> None:
    """Say whether a file is stored already, and in which rows of which schemas.

    FILE is one of this machine, or a directory: it is read, and compared by its hash. No store is asked. If there is no
    such row, those that had it before are shown, and the exit code is 1; 4 if something could not be looked at. Who has
    a file of some name is asked by `browse`, or by `where` in Python.
    """
    connection = connect()
    ctx.call_on_close(connection.close)
    with wrong_usage():
        report = search(hash=hash_, file=file, path=path, schemas=list(schemas) or None, connection=connection)
    if as_json:
        print_json(_document(report))
    else:
        to = console()
        for line in map(on_one_line, str(report).splitlines()):
            to.print(line, soft_wrap=True)
    ctx.exit(FINE if report else BLIND if report.unread else PROBLEMS)


def _document(report: FindReport) -> dict[str, Any]:
    return {
        "found": [_found(one) for one in report],
        "earlier": [_earlier(one) for one in report.earlier],
        "schemas": list(report.schemas),
        "unread": list(report.unread),
        "hides_schemas": report.hides_schemas,
    }


def _found(one: Found) -> dict[str, Any]:
    key = {name: str(value) for name, value in one.key.items()}
    file = one.ref.to_dict()
    return {"table": one.table, "attribute": one.attribute, "key": key, "file": file, "member": one.member or None}


def _earlier(one: Earlier) -> dict[str, Any]:
    version = one.version
    return {
        "table": one.table,
        "attribute": version.attribute,
        "key": {name: str(value) for name, value in version.key.items()},
        "at": version.at.astimezone().isoformat(),
        "who": version.who,
        "why": version.why,
        "event": version.event,
        "purged": version.is_purged,
        "file": version.file.to_dict(),
    }
