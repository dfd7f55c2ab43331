"""Command ``free``: local files that are stored, removed.

What is looked at before is told in `datajoint_file.intake.free`.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import click

from datajoint_file.cli.exit_codes import FINE, PROBLEMS
from datajoint_file.cli.output import Abridged, console
from datajoint_file.concurrency.termination import ended_by_sigterm
from datajoint_file.doctor import Check
from datajoint_file.hooks.targets import connect
from datajoint_file.intake.free import Freed, freed
from datajoint_file.model.wording import counted, format_size
from datajoint_file.verification.check_object import LEVELS, Level

_EXAMPLES = """\b
Examples:
  datajoint-file free /data/rig3
  datajoint-file free /data/rig3 --execute
"""


@click.command(epilog=_EXAMPLES, short_help="Remove local files that are stored.")
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--execute", is_flag=True, help="Remove them. Without it, it is only said which could be.")
@click.option(
    "--level",
    type=click.Choice(LEVELS),
    default="content",
    show_default=True,
    help="Ask whether the stored file exists, compare its size too, or read it all and compare the hash.",
)
@click.option("--quiet", is_flag=True, help="Print only what a person must see.")
@click.option("--json", "as_json", is_flag=True, help="Print a line of JSON for each file.")
@click.pass_context
def free(ctx: click.Context, directory: Path, execute: bool, level: Level, quiet: bool, as_json: bool) -> None:
    """Remove the files below DIRECTORY that `datajoint-file watch` has inserted, if they are stored now.

    Each is read, its row is asked for, and what is stored is read: all three must have one hash. With --level size or
    exists what is stored is not read: a damaged one would be found when the local file is gone. A receipt alone removes
    nothing. Files without a receipt are left alone, and receipts stay.

    Exit code 0; 1 if a file with a receipt has to stay, and a person must see why; 4 if database or store could not be
    reached.
    """
    sizes, counts = Counter[str](), Counter[str]()
    abridged = Abridged(console(), "--json names them all")
    with ended_by_sigterm():
        for one in freed(directory, connect(), level=level, execute=execute):
            counts[one.state] += 1
            sizes[one.state] += one.size
            if as_json and not (quiet and one.state != "kept"):
                click.echo(json.dumps(asdict(one)))
            elif not as_json:
                _print(one, abridged, quiet=quiet)
    if not as_json:
        abridged.end()
        if not quiet:
            _print_sum(counts, sizes, execute=execute)
    ctx.exit(PROBLEMS if counts["kept"] else FINE)


def _print(one: Freed, abridged: Abridged, *, quiet: bool) -> None:
    if one.state == "kept":
        abridged.print(Check("kept", "failed", f"{one.path}: {one.reason}"))
    elif one.state != "gone" and not quiet:
        console().print(str(one), soft_wrap=True)


def _print_sum(counts: Counter[str], sizes: Counter[str], *, execute: bool) -> None:
    state = "freed" if execute else "stored"
    what = f"{counted(counts[state], 'file')}, {format_size(sizes[state])}"
    gone = f", {counts['gone']} earlier" if counts["gone"] else ""
    kept = f", {counts['kept']} kept" if counts["kept"] else ""
    text = f"{what} freed{gone}{kept}." if execute else f"{what} could be freed{kept}: add --execute to do it."
    console().print(text, style="bold", soft_wrap=True)
