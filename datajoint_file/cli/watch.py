"""Command ``watch``: files that have stopped growing in a directory, inserted into a table.

The work is done by `datajoint_file.intake.watch`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import click

from datajoint_file.cli.arguments import one_table, pairs, time_option, wrong_usage
from datajoint_file.cli.exit_codes import FINE, PARTLY, PROBLEMS
from datajoint_file.cli.one_at_a_time import one_at_a_time
from datajoint_file.cli.output import Abridged, console
from datajoint_file.concurrency.termination import ended_by_sigterm
from datajoint_file.doctor import Check
from datajoint_file.intake.watch import Look, News, Watch
from datajoint_file.intake.watch_loop import keep_watching

_EXAMPLES = """\b
Examples:
  datajoint-file watch /data/rig3 --rule 'subject{subject_id}/session{session_id}.dat' --table lab_rig.Recording
  datajoint-file watch /data/rig3 --rule '{day:%Y%m%d}_{run}/' --table lab_rig.Run --set rig=3 --still 5min
"""


@click.command(epilog=_EXAMPLES, short_help="Insert files when they have stopped growing.")
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--rule", required=True, metavar="RULE", help="What paths look like; `/` at its end is for directories.")
@click.option("--table", "name", required=True, metavar="SCHEMA.TABLE", help="Where rows are to go.")
@click.option("--attribute", metavar="NAME", help="The `file` attribute, if the table has several.")
@click.option(
    "--set", "values", multiple=True, callback=pairs, metavar="NAME=VALUE", help="What all rows have besides."
)
@click.option(
    "--pattern", "patterns", multiple=True, callback=pairs, metavar="NAME=REGEX", help="What a value looks like."
)
@click.option("--exclude", multiple=True, metavar="PATTERN", help="What to leave alone, as in gitignore.")
@click.option(
    "--still",
    default="10s",
    show_default=True,
    callback=time_option,
    metavar="TIME",
    help="How long a file must not change.",
)
@click.option(
    "--interval", default="30s", show_default=True, callback=time_option, metavar="TIME", help="Look at least so often."
)
@click.option("--once", is_flag=True, help="End when nothing grows any more.")
@click.option("--quiet", is_flag=True, help="Print only what a person must see.")
@click.option("--json", "as_json", is_flag=True, help="Print a line of JSON for each file.")
@click.pass_context
def watch(
    ctx: click.Context,
    directory: Path,
    rule: str,
    name: str,
    attribute: str | None,
    values: Mapping[str, str],
    patterns: Mapping[str, str],
    exclude: tuple[str, ...],
    still: timedelta,
    interval: timedelta,
    once: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Insert each file of DIRECTORY that matches RULE, once its size and time are still and nobody has it open.

    What is stored is read back, and noted beside the file in NAME.receipt.json; `datajoint-file free` needs that.
    A row that is there is never changed: a file of its key that differs is named. It ends by SIGTERM or Ctrl-C, may be
    killed, and begins where it was.

    Exit code 0; with --once 1 if a person must see to a file, 3 if some still grow; 3 if another one watches already.
    """
    with wrong_usage():
        watched = Watch(
            directory,
            rule,
            one_table(name),
            attribute=attribute,
            values=values,
            patterns=patterns,
            exclude=exclude,
            still=still.total_seconds(),
        )
    told = _Told(quiet=quiet, as_json=as_json)
    if not (once or quiet or as_json):
        console().print(f"watching {directory} for {watched.name}", soft_wrap=True)
    with one_at_a_time(watched.lock_file, "datajoint-file watch", quiet=quiet), ended_by_sigterm():
        how: dict[str, Any] = {"still": still, "interval": interval, "once": once}
        try:
            last = keep_watching(watched, directory, told=told.look, failed=told.failure, **how)
        except (KeyboardInterrupt, SystemExit):  # as systemd ends it: that is no failure
            return
    told.end(last)
    ctx.exit(PROBLEMS if last.problems else PARTLY if last.waiting else FINE)


@dataclass(slots=True)
class _Told:
    """What was printed: each problem once, as long as it is the same."""

    quiet: bool
    as_json: bool
    known: dict[str, News] = field(default_factory=dict)
    fault: str = ""

    def look(self, look: Look) -> None:
        self.fault = ""
        new = [one for one in look.problems if self.known.get(one.path) != one]
        self.known = {one.path: one for one in look.problems}
        if self.as_json:
            for one in [*([] if self.quiet else look.done), *new]:
                click.echo(json.dumps(asdict(one)))
            return
        if not self.quiet:
            for one in look.done:
                console().print(f"{one.state}: {one.path}: {one.text}", soft_wrap=True)
        abridged = Abridged(console(), "`datajoint-file watch --once --json` names them all")
        for one in new:
            abridged.print(Check(one.state, "failed", f"{one.path}: {one.text}"))
        abridged.end()

    def failure(self, text: str) -> None:
        """Say what keeps it from working, once."""
        if text != self.fault:
            click.echo(f"Cannot go on, and tries again: {text}", err=True)
        self.fault = text

    def end(self, look: Look) -> None:
        if not (self.quiet or self.as_json):
            console().print(look.counts, style="bold", soft_wrap=True)
