"""Command ``restore``: an earlier file put back into its row, or deleted rows put back into their tables.

The work is done by `datajoint_file.undo.restore`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime, timedelta

import click

from datajoint_file.cli.arguments import KEY_OPTION, completed, one_table, wrong_usage
from datajoint_file.cli.exit_codes import FINE, PARTLY, PROBLEMS
from datajoint_file.cli.output import Abridged, console, print_json
from datajoint_file.doctor import Check
from datajoint_file.errors import UnsupportedValueError
from datajoint_file.model.object_keys import key_text
from datajoint_file.model.wording import spoken
from datajoint_file.undo.events import since_when
from datajoint_file.undo.restore import Undeleted, revert, undelete

_EXAMPLES = """\b
Examples:
  datajoint-file restore lab_ephys.Session --since 2h
  datajoint-file restore lab_ephys.Recording --event 2pexuch6tmzwzsa7bqfotw7q4u
  datajoint-file restore lab_ephys.Recording --key subject_id=1 --attribute raw_data --version 1
"""


def _since(ctx: click.Context, param: click.Parameter, value: str | None) -> datetime | timedelta | None:
    """Return the moment, or how long ago, that a text stands for."""
    if value is None:
        return None
    try:
        return since_when(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@click.command(epilog=_EXAMPLES, short_help="Put back an earlier file, or deleted rows.")
@click.argument("name", metavar="SCHEMA.TABLE", shell_complete=completed)
@click.option("--since", callback=_since, metavar="TIME", help="What was deleted since: 2h, or 2026-11-27 10:30 here.")
@click.option("--event", metavar="ID", help="What was deleted together, as `history` shows it.")
@KEY_OPTION
@click.option("--attribute", metavar="NAME", help="Put an earlier file back into this attribute.")
@click.option(
    "--version", type=click.IntRange(min=1), metavar="N", help="Which, counted back as `history` does: 1 is the newest."
)
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON.")
@click.pass_context
def restore(
    ctx: click.Context,
    name: str,
    since: datetime | timedelta | None,
    event: str | None,
    key: dict[str, str],
    attribute: str | None,
    version: int | None,
    as_json: bool,
) -> None:
    """Put back what was deleted from a table, with all that went with it; or, with --attribute, an earlier file.

    No bytes are sent: rows name again what they named before. Exit code 0 if all is back, also if it was already; 3 if
    only some rows are; 1 if none is.
    """
    if (attribute is None) != (version is None):
        raise click.UsageError("--attribute and --version belong together")
    if attribute is not None and version is not None:
        if since is not None or event is not None or not key:
            raise click.UsageError("--attribute and --version are for one row: give its --key, no --since or --event")
        with wrong_usage():
            table = one_table(name)
            if others := sorted(key.keys() - set(table.primary_key)):
                keys = ", ".join(table.primary_key)
                raise UnsupportedValueError(f"{', '.join(others)} not in the primary key ({keys})")
            file = revert(table & key, attribute, version)
        if as_json:
            print_json(file.to_dict())
        else:
            console().print(f"{attribute} is {file!r} again", style="bold", soft_wrap=True)
        return
    if (since is None) == (event is None):
        raise click.UsageError("say which deletion is meant: --since or --event, and not both")
    with wrong_usage():
        done = undelete(one_table(name), since=since, event=event, key=key or None)
    if as_json:
        problems = [{**asdict(one), "files": [file.to_dict() for file in one.files]} for one in done.problems]
        counts = {"restored": dict(done.restored), "present": dict(done.present)}
        print_json({**counts, "problems": problems, "notes": list(done.notes)})
    else:
        _print(done, f"of event {event}" if event else f"since {_shown(since)}", key)
    ctx.exit(FINE if done else PARTLY if done.restored or done.present else PROBLEMS)


def _shown(since: datetime | timedelta | None) -> str:
    if isinstance(since, datetime):
        return f"{since.astimezone():%Y-%m-%d %H:%M:%S%z}"
    return f"{spoken(since or timedelta())} ago"


def _print(done: Undeleted, when: str, key: Mapping[str, str]) -> None:
    to = console()
    for line in done.lines():
        to.print(f"  {line}", soft_wrap=True)
    if done and not done.restored:
        to.print("All of them are back already: nothing is left to restore.", style="bold")
    problems = Abridged(to, "--json names them all")
    for problem in done.problems:
        problems.print(Check("not restored", "failed", str(problem)))
    problems.end()
    for note in done.notes:
        to.print(f"Note: {note}", style="yellow", soft_wrap=True)
    if not done and not done.problems and not done.notes:
        rows = f" that has {key_text(key.items())}" if key else ""
        to.print(f"Nothing{rows} was deleted from it {when}.", style="bold", soft_wrap=True)
