"""Command ``ls``: schemas with files, tables of a schema, files of a table's rows.

The files are those of `datajoint_file.query.files`, read page by page.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timezone
from heapq import nlargest
from typing import Any

import click

from datajoint_file.cli.arguments import completed, rows_by_arguments, wrong_usage
from datajoint_file.cli.exit_codes import FINE, PROBLEMS, Verdict
from datajoint_file.cli.output import Line, print_lines
from datajoint_file.cli.rows import Cell, Selection, cell_of, table_with_files
from datajoint_file.hooks.tables import table_name
from datajoint_file.hooks.targets import connect, file_tables, targets_named
from datajoint_file.model.metadata import format_timestamp
from datajoint_file.model.object_keys import key_text
from datajoint_file.model.wording import counted, format_size
from datajoint_file.query.files import files

_EXAMPLES = """\b
Examples:
  datajoint-file ls
  datajoint-file ls lab_ephys
  datajoint-file ls lab_ephys.Recording subject_id=1 --newest 10
  datajoint-file ls lab_ephys.Recording.raw_data --where "session > 3" --long
"""


@click.command(epilog=_EXAMPLES, short_help="List schemas, tables or files.")
@click.argument("target", required=False, metavar="[SCHEMA[.TABLE[.ATTRIBUTE]]]", shell_complete=completed)
@rows_by_arguments
@click.option("-l", "--long", "is_long", is_flag=True, help="Show type and hash of each file as well.")
@click.option("--newest", type=click.IntRange(min=1), metavar="N", help="Only the N that were stored last.")
@click.option("--json", "as_json", is_flag=True, help="Print a line of JSON for each.")
@click.pass_context
def ls(
    ctx: click.Context, target: str | None, rows: Selection, is_long: bool, newest: int | None, as_json: bool
) -> None:
    """List what has files: schemas; tables of a schema, with their `file` attributes; or the files of a table's rows.

    Of a file it says size, time, attribute, key and name. No store is asked. Exit code 1 if there is nothing to list,
    or a row describes no file.
    """
    connection = connect()
    ctx.call_on_close(connection.close)
    if target is None or "." not in target:
        if rows or newest or is_long:
            raise click.UsageError("rows, --long and --newest are for a table: name it as schema.Table")
        with wrong_usage():
            targets_named([target] if target else [], connection)
        found = file_tables(connection, target)
        listed = _tables(target, found[target]) if target in found else map(_schema, found.items())
        print_lines([(json.dumps(document), "")] if as_json else line for document, line in listed)
        ctx.exit(FINE if found else PROBLEMS)
    with wrong_usage():
        table, names = table_with_files(connection, target, None)
        items = files(rows.of(table), *names)
    cells = _Counted(cell_of(attribute, key, ref) for key, attribute, ref in items)
    shown = cells if newest is None else nlargest(newest, cells, key=_stored)
    title = table_name(table)
    print_lines([(json.dumps(cell.to_dict(title)), "")] if as_json else _line(cell, is_long=is_long) for cell in shown)
    if not cells.count:
        raise Verdict("There is no such file.")
    ctx.exit(PROBLEMS if cells.problems else FINE)


class _Counted:
    """Cells, counted as they are given."""

    def __init__(self, cells: Iterator[Cell]) -> None:
        self._cells = cells
        self.count = 0
        self.problems = 0

    def __iter__(self) -> Iterator[Cell]:
        for cell in self._cells:
            self.count += 1
            self.problems += bool(cell.problem)
            yield cell


def _schema(found: tuple[str, dict[str, list[str]]]) -> tuple[dict[str, Any], Line]:
    name, tables = found
    return {"schema": name, "tables": len(tables)}, [(name, "bold"), (f"  {counted(len(tables), 'table')}", "")]


def _tables(schema: str, tables: dict[str, list[str]]) -> Iterator[tuple[dict[str, Any], Line]]:
    for table, attributes in tables.items():
        document = {"table": f"{schema}.{table}", "attributes": attributes}
        yield document, [(f"{schema}.{table}", "bold"), (f"  {', '.join(attributes)}", "")]


def _stored(cell: Cell) -> datetime:
    return cell.file.timestamp if cell.file is not None else datetime.min.replace(tzinfo=timezone.utc)


def _line(cell: Cell, *, is_long: bool) -> Line:
    where = f"{cell.attribute} ({key_text(cell.key.items())})"
    if cell.file is None:
        return [(f"{'?':>9}  {where}  ", ""), (cell.problem, "red")]
    described = [(f"{format_size(cell.file.size):>9}", "cyan"), (f"  {format_timestamp(cell.file.timestamp)}", "green")]
    more = f"  {cell.file.mime_type or '-'}  {cell.file.hash}" if is_long else ""
    return [*described, (f"{more}  {where}  ", ""), (f"{cell.file.name}{'/' if cell.file.is_dir() else ''}", "bold")]
