"""Command ``history``: the files that cells held before, and what was deleted.

The reading is done by `datajoint_file.undo.versions`.
"""

from __future__ import annotations

import shlex
from dataclasses import asdict
from typing import Any

import click
from rich.console import Console

from datajoint_file.cli.arguments import KEY_OPTION, completed, one_table, wrong_usage
from datajoint_file.cli.output import console, print_json
from datajoint_file.hooks.tables import table_name
from datajoint_file.hooks.targets import connect, targets_named
from datajoint_file.model.object_keys import key_text
from datajoint_file.model.wording import counted, format_size
from datajoint_file.undo.overview import Deletion, deletions, tables_in_history
from datajoint_file.undo.versions import Version, local_time, removed

_EXAMPLES = """\b
Examples:
  datajoint-file history lab_ephys
  datajoint-file history lab_ephys.Recording
  datajoint-file history lab_ephys.Recording --key subject_id=1 --attribute raw_data
"""


@click.command(epilog=_EXAMPLES, short_help="Show earlier and deleted files.")
@click.argument("name", metavar="SCHEMA[.TABLE]", shell_complete=completed)
@click.option("--attribute", metavar="NAME", help="Only of this attribute.")
@KEY_OPTION
@click.option("--json", "as_json", is_flag=True, help="Print the versions as JSON.")
def history(name: str, attribute: str | None, key: dict[str, str], as_json: bool) -> None:
    """Show the files that the rows of a table held before, newest first, also of rows that are gone.

    Each can be put back with `datajoint-file restore`: its number, which counts back from the newest of this attribute
    of this row, is for --version, its event for --event. Rows without a file are shown by the deletions that took them
    together with files. What is back is marked. Of a schema, the tables that have lost files or rows are shown, also
    those that are dropped: counted is all that was taken, each file once for a row, also what is back.
    """
    if "." not in name:
        if attribute or key:
            raise click.UsageError(f"{name} is a schema: --attribute and --key are for one of its tables")
        _show_tables(name, as_json=as_json)
        return
    with wrong_usage():
        table = one_table(name)
        found = removed(table, attribute, key=key or None)
        gone = [] if attribute else deletions(table, key=key or None)
    name = table_name(table)
    if as_json:
        print_json([*(_document(name, one) for one in found), *(_document_of_rows(name, one) for one in gone)])
        return
    to = console()
    for version in found:
        _print(to, name, version)
    for one in gone:
        again = f", {one.back} of them there again" if one.back else ""
        what = f"{_what(one)}  {name}: {counted(one.rows, 'row')}{again}"
        to.print(f"{what}  event {one.event}", soft_wrap=True)
    back = sum(not version.number for version in found)
    of_them = f", {back} of them back in the row" if back else ""
    said = f"{counted(len(found), 'earlier file')}{of_them}." if found else ""
    if lost := [one for one in gone if one.back < one.rows]:
        restore = f"datajoint-file restore {shlex.quote(name)} --event {lost[0].event}"
        said += f" {counted(len(gone), 'deletion')} of rows; `{restore}` puts back what the last took."
    nothing = "All deleted rows are there again." if gone else "Nothing was replaced or deleted."
    to.print(said.strip() or nothing, style="bold", soft_wrap=True)


def _show_tables(schema: str, *, as_json: bool) -> None:
    connection = connect()
    with wrong_usage():
        targets_named([schema], connection)
    found = tables_in_history(connection, schema)
    if as_json:
        documents = [{**asdict(one), "newest": one.newest.astimezone().isoformat()} for one in found]
        print_json(documents)
        return
    to = console()
    for one in found:
        counts = ((one.files, "earlier file"), (one.rows, "deleted row"))
        lost = ", ".join(counted(number, noun) for number, noun in counts if number)
        restore = f"datajoint-file restore {shlex.quote(one.name)} --event {one.event}"
        gone = f"; dropped: declare it again, then `{restore}`" if one.is_dropped else ""
        to.print(f"  {one.name}  {lost}, the last of {local_time(one.newest)}{gone}", soft_wrap=True)
    shows = f"`datajoint-file history {shlex.quote(schema)}.TABLE` shows them"
    more = f"{shows}, and what of it is back; datajoint_file.history reads the files."
    to.print(more if found else "Nothing was replaced or deleted.", style="bold", soft_wrap=True)


def _what(one: Version | Deletion) -> str:
    return f"{local_time(one.at)}  {one.why:<7}  {one.who}"


def _print(to: Console, table: str, version: Version) -> None:
    key = key_text((name, str(value)) for name, value in version.key.items()) or "key not kept"
    size = "deleted since" if version.is_purged else format_size(version.file.size)
    number = f"version {version.number}" if version.number else "back in the row"
    also = "  another row has it" if version.is_back and version.number else ""
    file = f"{version.file.original_name}  {size}  {number}  event {version.event}{also}"
    to.print(f"{_what(version)}  {table}.{version.attribute} ({key})  {file}", soft_wrap=True)


def _document(table: str, version: Version) -> dict[str, Any]:
    return {
        "table": table,
        "attribute": version.attribute,
        "key": {name: str(value) for name, value in version.key.items()},
        "number": version.number or None,
        "back": version.is_back,
        "at": version.at.astimezone().isoformat(),
        "who": version.who,
        "why": version.why,
        "event": version.event,
        "purged": version.is_purged,
        "file": version.file.to_dict(),
    }


def _document_of_rows(table: str, one: Deletion) -> dict[str, Any]:
    return {"table": table, **asdict(one), "at": one.at.astimezone().isoformat(), "file": None}
