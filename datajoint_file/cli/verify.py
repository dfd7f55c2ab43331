"""Command ``verify``: whether stored files are those that were inserted.

The checking is done by `datajoint_file.verification.verify`; what ``--state`` remembers is kept in `memory`.
"""

from __future__ import annotations

from pathlib import Path

import click

from datajoint_file.cli.arguments import wrong_usage
from datajoint_file.cli.memory import Memory
from datajoint_file.cli.output import Abridged, console, print_json
from datajoint_file.doctor import Check
from datajoint_file.hooks.targets import connect, targets_named
from datajoint_file.model.wording import RIGHT_PLACE
from datajoint_file.verification import Finding
from datajoint_file.verification.budget import Budget
from datajoint_file.verification.check_object import LEVELS
from datajoint_file.verification.verify import verify_telling

_EXAMPLES = """\b
Examples:
  datajoint-file verify lab_ephys
  datajoint-file verify lab_ephys.Recording lab_ephys.Recording.Trace --level size
  datajoint-file verify lab_ephys --budget 2h --state /var/lib/lab/verify.json
"""


@click.command(epilog=_EXAMPLES, short_help="Check stored files against their rows.")
@click.argument("names", nargs=-1, required=True, metavar="SCHEMA[.TABLE]...")
@click.option(
    "--level",
    type=click.Choice(LEVELS),
    default="content",
    show_default=True,
    help="Ask whether each object exists, compare its size too, or read it all and compare the hash.",
)
@click.option("--workers", type=click.IntRange(min=1), metavar="N", help="Objects examined at a time.")
@click.option("--budget", default=None, metavar="AMOUNT", help="Stop after so many bytes (10GB) or so long (30min).")
@click.option(
    "--state",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Go on where the last run with this file stopped, and remember where this one does.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.pass_context
def verify(
    ctx: click.Context,
    names: tuple[str, ...],
    level: str,
    workers: int | None,
    budget: str | None,
    state: Path | None,
    as_json: bool,
) -> None:
    """Compare the files that rows name with what is in the store. Nothing is changed.

    SCHEMA stands for all its tables with `file` attributes, SCHEMA.Table for one, SCHEMA.Table.Part for a part table.

    With --budget and --state a run from cron does a piece of the work each time and begins again when it has come to
    the end.

    Exit code 0 if nothing is wrong with what was checked (also if the budget was used up), 1 if there are problems, 3
    if the store or the database could not be reached.
    """
    with wrong_usage(ValueError):  # before anything is connected to
        Budget.parse(budget)
    memory = None if state is None else Memory(state, {"names": sorted(names), "level": level})
    after = None if memory is None else memory.recall()
    with wrong_usage():
        subjects = targets_named(names, connect())
    to = console()
    findings = Abridged(to, "--json names them all")

    def show(finding: Finding) -> None:
        findings.print(Check(finding.kind, "failed", finding.problem, finding.advice))

    with wrong_usage(ValueError):
        report = verify_telling(
            (lambda _: None) if as_json else show,
            subjects,
            level,
            workers=workers,
            budget=budget,
            after=after,
        )
    if memory is not None:
        memory.keep(report.position)
    findings.end()
    if as_json:
        print_json(report.to_dict())
    else:
        to.print(report.summary, style="bold", soft_wrap=True)
    if report.is_everything_missing and not as_json:
        to.print(f"Not one object is there: {RIGHT_PLACE}", soft_wrap=True)
    ctx.exit(3 if report.interruption else 1 if report.findings else 0)
