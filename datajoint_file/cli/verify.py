"""Command ``verify``: whether stored files are those that were inserted.

The checking is done by `datajoint_file.verification.verify`; what ``--state`` remembers is kept in `memory`.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from datajoint_file.cli.arguments import completed, wrong_usage
from datajoint_file.cli.exit_codes import BLIND, FINE, PROBLEMS
from datajoint_file.cli.memory import Memory
from datajoint_file.cli.one_at_a_time import one_at_a_time
from datajoint_file.cli.output import Abridged, console, print_json
from datajoint_file.concurrency.termination import ended_by_sigterm
from datajoint_file.doctor import Check
from datajoint_file.errors import JournalWarning
from datajoint_file.hooks.targets import connect, targets_named
from datajoint_file.model.wording import RIGHT_PLACE
from datajoint_file.verification import Finding, VerifyReport
from datajoint_file.verification.budget import Budget
from datajoint_file.verification.check_object import LEVELS, Level
from datajoint_file.verification.open_findings import OpenFindings
from datajoint_file.verification.own_schemas import schemas_of_pipeline
from datajoint_file.verification.subjects import QueryRow
from datajoint_file.verification.verification import FileValue
from datajoint_file.verification.verify import verify_telling

_EXAMPLES = """\b
Examples:
  datajoint-file verify lab_ephys
  datajoint-file verify lab_ephys.Recording lab_ephys.Recording.Trace --level size
  datajoint-file verify --all --budget 2h --state /var/lib/lab/verify.json
"""


@click.command(epilog=_EXAMPLES, short_help="Check stored files against their rows.")
@click.argument("names", nargs=-1, metavar="[SCHEMA[.TABLE]]...", shell_complete=completed)
@click.option("--all", "is_all", is_flag=True, help="All schemas of the server that have files of this project.")
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
@click.option("--repair", is_flag=True, help="Mend from the mirror what is missing or wrong.")
@click.option("--quiet", is_flag=True, help="Print only what a person must see: nothing, if all is fine.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.pass_context
def verify(
    ctx: click.Context,
    names: tuple[str, ...],
    is_all: bool,
    level: Level,
    workers: int | None,
    budget: str | None,
    state: Path | None,
    repair: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Compare the files that rows name with what is in the store. Neither rows nor files are changed.

    SCHEMA stands for all its tables with `file` attributes, SCHEMA.Table for one, SCHEMA.Table.Part for a part table.
    With --all it is each schema of the server, as far as one may see it, that has files of the project.

    With --budget and --state a run from cron does a piece of the work each time and begins again when it has come to
    the end; what it has found it looks at, and says, again each time until it is mended.

    With --repair what is missing or wrong is put back from the mirror in the end, where that has it right.

    Exit code 0 if nothing is wrong with what was checked, or is any more (also if the budget was used up), and nothing
    that was found earlier is still open, 1 if there are problems, 3 if another run with this state is at it, 4 if store
    or database could not be reached or read.
    """
    if bool(names) == is_all:
        raise click.UsageError("give the names of schemas or tables, or --all and no names")
    with wrong_usage(ValueError):  # before anything is connected to
        Budget.parse(budget)
        chosen = schemas_of_pipeline(connect()) if is_all else sorted(names)
    task = {"names": chosen, "level": level}
    memory = None if state is None else Memory(state, task)
    if memory is not None:
        memory.check()
    if quiet:
        warnings.filterwarnings("ignore", ".*`~file_check`", JournalWarning)
    options = {"workers": workers, "budget": budget, "progress": False if quiet or as_json else None, "repair": repair}
    run = _Run(chosen, level, options)
    lock = memory.lock if memory else None
    with one_at_a_time(lock, "datajoint-file verify", quiet=quiet), ended_by_sigterm():
        report, findings = run.examine(memory, None if as_json else Abridged(console(), "--json names them all"))
    code = _exit_code(report, findings)
    if as_json and (code or not quiet):
        remembered = [{**one.finding, "since": one.since} for one in findings.not_seen()]
        print_json(
            report.to_dict()
            | ({"ok": code == FINE, "remembered": remembered, "mended": findings.mended} if memory else {})
        )
    elif not as_json and (code or not quiet):
        _print_end(report, findings)
    ctx.exit(code)


@dataclass(frozen=True, slots=True)
class _Shown:
    """What people have been shown, and are to know of when it is mended."""

    is_repair: bool
    where: dict[str, str] = field(default_factory=dict)

    def tell(self, row: QueryRow, value: FileValue, finding: Finding | None, to: Abridged) -> None:
        if finding is not None:
            self.where[value.path] = finding.where
            has_mirror = row.pipeline.second is not None and not self.is_repair
            advice = f"--repair, where the mirror has it right; else {finding.advice}" if has_mirror else finding.advice
            to.print(Check(finding.kind, "failed", finding.problem, advice))
        elif self.is_repair and value.path in self.where:
            to.print(Check("mended", "ok", self.where.pop(value.path)))


@dataclass(frozen=True, slots=True)
class _Run:
    """One run: what was found earlier is looked at first."""

    names: list[str]
    level: Level
    options: dict[str, Any]

    def examine(self, memory: Memory | None, to: Abridged | None) -> tuple[VerifyReport, OpenFindings]:
        """Examine, print each problem *to* where people see it as it is found, and remember how far it came."""
        after, findings = _recalled(memory)
        with wrong_usage():
            connection = connect()
            subjects = targets_named(self.names, connection)
        position, shown = after, _Shown(self.options["repair"])

        def stopped(reached: str | None) -> None:
            nonlocal position
            position = reached

        def settled(row: QueryRow, value: FileValue, finding: Finding | None) -> None:
            is_new = findings.settle(row, value, finding, self.level)
            if to is not None and (is_new or finding is None):
                shown.tell(row, value, finding, to)

        try:
            left = findings.look_again(connection, Budget.parse(self.options["budget"]), self.options["workers"])
            if to is not None:
                for one in findings:
                    to.print(_check(one.finding, f"since {one.since[:10]}: "))
            options = {**self.options, "budget": left, "after": after}
            with wrong_usage(ValueError):
                report = verify_telling(subjects, self.level, settled=settled, stopped=stopped, **options)
            position = report.position
        finally:  # what has been printed is remembered, whatever ends this
            if memory is not None:
                memory.keep(position, findings.to_json())
        if to is not None:
            to.end()
        return report, findings


def _recalled(memory: Memory | None) -> tuple[str | None, OpenFindings]:
    """Return where to go on, and what is open."""
    position, documents = memory.recall() if memory else (None, [])
    try:
        return position, OpenFindings(documents)
    except ValueError as error:
        raise (memory.not_ours() if memory else error) from error


def _print_end(report: VerifyReport, findings: OpenFindings) -> None:
    for line in filter(None, (report.summary, findings.summary)):
        console().print(line, style="bold", soft_wrap=True)
    if report.is_everything_missing:
        console().print(f"Not one object is there: {RIGHT_PLACE}", soft_wrap=True)


def _check(finding: dict[str, Any], beginning: str) -> Check:
    where = Finding(**{name: value for name, value in finding.items() if name != "advice"}).problem
    return Check(finding["kind"], "failed", beginning + where, finding["advice"])


def _exit_code(report: VerifyReport, findings: OpenFindings) -> int:
    """Return what is most important: damage, or that nobody knows."""
    kinds = {one.finding["kind"] for one in findings}
    if kinds - {"unreadable"}:
        return PROBLEMS
    return BLIND if kinds or report.interruption else FINE
