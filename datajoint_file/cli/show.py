"""Command ``show``: what rows record of their files, and what is in these.

The looking is done by `datajoint_file.preview`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from datajoint_file.cli.arguments import completed, rows_by_arguments, wrong_usage
from datajoint_file.cli.exit_codes import FINE, PROBLEMS
from datajoint_file.cli.output import console, print_json
from datajoint_file.cli.rows import Cell, Selection, cell_of, table_with_files
from datajoint_file.hooks.connections import name_of
from datajoint_file.hooks.row_listing import Listing
from datajoint_file.hooks.tables import table_name
from datajoint_file.hooks.targets import connect
from datajoint_file.model.object_keys import key_text
from datajoint_file.model.wording import counted, format_size
from datajoint_file.pipeline.directoryref import DirectoryRef, ref_of
from datajoint_file.pipeline.fileref import FileRef
from datajoint_file.startup import on_one_line

_EXAMPLES = """\b
Examples:
  datajoint-file show lab_ephys.Recording
  datajoint-file show lab_ephys.Recording subject_id=1
  datajoint-file show lab_ephys.Recording.raw_data subject_id=1 --preview
  datajoint-file show lab_ephys.Recording.raw_data subject_id=1 --save picture.png
"""


@click.command(epilog=_EXAMPLES, short_help="Show what is stored in a row.")
@click.argument("name", metavar="SCHEMA.TABLE[.ATTRIBUTE]", shell_complete=completed)
@rows_by_arguments
@click.option("--attribute", metavar="NAME", help="Only of this attribute.")
@click.option("--preview", is_flag=True, help="Show what is in the files of one row as well.")
@click.option("--save", metavar="PATH", type=click.Path(path_type=Path), help="Write the picture of one file as PNG.")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="So many rows at most.")
@click.option("--json", "as_json", is_flag=True, help="Print what is found as JSON.")
@click.pass_context
def show(
    ctx: click.Context,
    name: str,
    rows: Selection,
    attribute: str | None,
    preview: bool,
    save: Path | None,
    limit: int,
    as_json: bool,
) -> None:
    """Show what a row records of its files: name, size, type, hash, path, and when it was stored.

    Of several rows a line is shown for each. The store is asked for --preview and --save only. Exit code 1 if there is
    no such row, or one describes no file.
    """
    connection = connect()
    ctx.call_on_close(connection.close)
    with wrong_usage():
        table, names = table_with_files(connection, name, attribute)
        query = rows.of(table)
    found = list(islice(Listing(query, names).rows(), limit + 1))
    cells = list(_cells(query, names, found[:limit]))
    if (preview or save) and len(found) != 1:
        raise click.UsageError(f"--preview and --save are for one row, and there are {'more' if found else 'none'}")
    if save is not None:
        _save(cells, save)
    if as_json:
        print_json([_document(table_name(table), cell, preview=preview) for cell in cells])
    else:
        _print(console(), table_name(table), cells, is_one=len(found) == 1, preview=preview)
        if not found:
            console().print("There is no such row.", style="bold")
        elif len(found) > limit:
            said = f"There are more than {counted(limit, 'row')}: --limit shows more, NAME=VALUE only some."
            console().print(said, style="bold", soft_wrap=True)
    ctx.exit(PROBLEMS if not found or any(cell.problem for cell in cells) else FINE)


def _cells(query: Any, names: tuple[str, ...], rows: list[Any]) -> Iterator[Cell]:
    listing, pipeline = Listing(query, names), name_of(query.connection._config)
    for row in rows:
        key = {name: str(value) for name, value in listing.named(row.key).items()}
        for name, text in zip(names, row.texts, strict=True):
            yield Cell(name, key, None) if text is None else _cell(name, key, text, pipeline)


def _cell(name: str, key: dict[str, str], text: str, pipeline: str) -> Cell:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        return Cell(name, key, None, str(error))
    return cell_of(name, key, ref_of(document, pipeline))


def _save(cells: list[Cell], path: Path) -> None:
    files = [cell.file for cell in cells if cell.file is not None]
    if len(files) != 1:
        raise click.UsageError(f"--save is for one file, and there are {len(files)}: give --attribute")
    with wrong_usage(FileExistsError):
        try:
            files[0].preview().save(path)
        except FileExistsError as error:
            raise FileExistsError(f"{path} is there already, and stays") from error


def _print(to: Console, table: str, cells: list[Cell], *, is_one: bool, preview: bool) -> None:
    for cell in cells:
        where = f"{table}.{cell.attribute} ({key_text(cell.key.items())})"
        if cell.file is None or not is_one:
            to.print(f"{where}  {on_one_line(cell.problem) or _brief(cell.file)}", soft_wrap=True)
            continue
        to.print(where, style="bold", soft_wrap=True)
        for what, value in cell.file.facts().items():
            to.print(f"  {what:<7} {on_one_line(value)}", soft_wrap=True)
        if preview:
            to.print(str(cell.file.preview()), soft_wrap=True)


def _brief(file: FileRef | DirectoryRef | None) -> str:
    if file is None:
        return "no file"
    return f"{on_one_line(file.name)}{'/' if file.is_dir() else ''}, {format_size(file.size)}"


def _document(table: str, cell: Cell, *, preview: bool) -> dict[str, Any]:
    document = cell.to_dict(table)
    if preview and cell.file is not None:
        document["preview"] = str(cell.file.preview())
    return document
