"""Command ``gc``: stored objects that nothing uses any more, found and deleted.

The finding and deleting is done by `datajoint_file.gc`.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

import click
from click.core import ParameterSource
from rich.console import Console
from rich.table import Table

from datajoint_file import gc as library
from datajoint_file.cli.exit_codes import FINE, PARTLY, PROBLEMS
from datajoint_file.cli.one_at_a_time import lock_of_project, one_at_a_time
from datajoint_file.cli.output import Abridged, console, print_check, print_json
from datajoint_file.collector.plan import refusals_of
from datajoint_file.config.settings import ObjectStorageSettings
from datajoint_file.doctor import Check
from datajoint_file.errors import CollectionRefusedError
from datajoint_file.hooks.connections import pipeline_of
from datajoint_file.hooks.targets import connect
from datajoint_file.model.wording import RIGHT_PLACE, counted, duration, format_size, spoken

_EXAMPLES = """\b
Examples:
  datajoint-file gc                      what may be deleted: given up, or removed long ago
  datajoint-file gc --execute            from cron, once a day
  datajoint-file gc --scan               also what is missing, and what nobody knows of
  datajoint-file gc --kept               what was removed, and until when it is kept
"""

_ROWS = (
    ("reclaim", "reclaimed", "uploads given up, grace over", "delete"),
    ("purge", "purged", "retention over, noted by an earlier run", "delete"),
    ("expire", "expired", "retention over, to be noted by this run", "delete next time"),
    ("wait", "", "removed from all rows, retention not over", "keep"),
    ("noted", "", "unknown, noted for deletion", "keep for the grace"),
    ("unknown", "noted", "unknown objects", "report"),
    ("unfinished", "discarded", "remains of unfinished uploads", "delete"),
)
"""Amounts of a plan and of what was done, and how they are shown."""

_DONE = {"delete": "deleted", "delete next time": "deleted next time", "report": "noted for deletion"}
_REMOVED = {"update": "updated", "replace": "replaced", "delete": "deleted", "drop": "dropped", "alter": "altered"}
_SCANNED = frozenset({"unknown", "unfinished"})
"""What only a listing of the store tells."""


_UNKNOWN_SHOWN = 20
_GIVEN_GRACE = f"{__name__}.grace"


def _duration(ctx: click.Context, param: click.Parameter, value: str) -> timedelta:
    """Return the amount of time that a text like ``36h`` stands for."""
    ctx.meta[_GIVEN_GRACE] = value
    try:
        return duration(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@click.command(epilog=_EXAMPLES, short_help="Delete stored objects that nothing uses.")
@click.option("--scan", is_flag=True, help="List the store: finds what is missing, and what nobody knows of.")
@click.option(
    "--unknown", is_flag=True, help="Delete unknown objects as well: noted now, deleted when the grace is over."
)
@click.option("--execute", is_flag=True, help="Do it. Without this, nothing is changed.")
@click.option(
    "--grace",
    callback=_duration,
    default="7d",
    show_default=True,
    metavar="TIME",
    help="How long uploads must be given up, and unknown objects noted.",
)
@click.option(
    "--short-grace", "allow_short_grace", is_flag=True, help="Accept less than 24 hours: only where nobody is writing."
)
@click.option("--force", is_flag=True, help="Go on if more than a tenth of all objects is concerned.")
@click.option("--take-over", is_flag=True, help="This database is the one that counts: forget the marks of others.")
@click.option("--dropped", multiple=True, metavar="SCHEMA", help="This schema is gone for good. May be repeated.")
@click.option("--list", "as_list", is_flag=True, help="Name each object.")
@click.option(
    "--kept", is_flag=True, help="Only show what was removed, and until when it is kept. Needs a collector's rights."
)
@click.option("--spare", multiple=True, metavar="KEY", help="Only take back --unknown of this object. May be repeated.")
@click.option("--quiet", is_flag=True, help="Print only what a person must see: nothing, if all is fine.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.pass_context
def gc(
    ctx: click.Context,
    /,
    scan: bool,
    execute: bool,
    grace: timedelta,
    force: bool,
    as_list: bool,
    kept: bool,
    spare: tuple[str, ...],
    quiet: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Find stored objects that nothing uses any more, and delete them: a dry run unless told to --execute.

    Deleted is what somebody gave up, or removed from its row longer ago than the retention of datajoint.toml, and no
    row refers to. Whatever makes it doubtful that all rows were seen is a reason to refuse. Rows are put back by
    `datajoint-file restore`, not here.

    Exit code 0 if all is fine, 1 if the collector refuses or objects are missing that rows refer to, 3 if some objects
    could not be deleted or another run is at it, 4 if database or store could not be reached.
    """
    if kept or spare:
        others = _given(ctx) - {"as_json", *(("kept", "grace") if kept else ("spare",))}
        if others:
            raise click.UsageError("--kept and --spare stand alone: leave the other options out")
        ctx.exit(_spare(spare, as_json=as_json) if spare else _show_kept(grace, as_json=as_json))
    connection = connect()
    lock = lock_of_project(_lock_name(connection)) if execute else None
    with one_at_a_time(lock, "datajoint-file gc --execute", quiet=quiet):
        shown = False if as_json or quiet else None
        plan = library.plan(connection, scan=scan, grace=grace, progress=shown, **options)
        to = console()
        if not as_json and not quiet:
            keeps = _keeps(pipeline_of(connection).settings.object_storage)
            _print_plan(to, plan, keeps, force=force, as_list=as_list)
        done, refusals = None, plan.standing_refusals(force=force)
        if execute:
            done, refusals = _executed(plan, force=force, progress=shown)
    code = PROBLEMS if refusals or plan.missing_count else PARTLY if done is not None and not done else FINE
    if as_json and (code or not quiet):
        print_json(_document(plan, done, refusals, as_list=as_list))
    elif not as_json:
        _print_end(to, plan, done, refusals, following=None if execute else _next_command(ctx), quiet=quiet)
    ctx.exit(code)


def _executed(
    plan: library.Plan, *, force: bool, progress: bool | None
) -> tuple[library.Collected | None, tuple[library.Refusal, ...]]:
    """Return what was done, or why it was refused."""
    try:
        return library.execute(plan, force=force, progress=progress), ()
    except CollectionRefusedError as error:
        return None, refusals_of(error)


def _given(ctx: click.Context) -> set[str]:
    """Return the names of the parameters that were given."""
    return {name for name in ctx.params if ctx.get_parameter_source(name) is not ParameterSource.DEFAULT}


def _next_command(ctx: click.Context) -> str:
    """Return the command line that does what this one has planned."""
    words, given = ["datajoint-file", "gc"], _given(ctx) - {"as_list"}
    for option in ctx.command.params:
        if option.name in given:
            value = ctx.meta[_GIVEN_GRACE] if option.name == "grace" else ctx.params[option.name]
            flag = option.opts[0]
            for one in value if option.multiple else [value]:
                words += [flag] if one is True else [flag, one]
    return shlex.join([*words, "--execute"])


def _lock_name(connection: Any) -> str:
    """Return a name for what is collected: the project in its store, as this configuration has it."""
    pipeline = pipeline_of(connection)
    return f"gc-{pipeline.project}-{pipeline.digest}"


def _document(
    plan: library.Plan, done: library.Collected | None, refusals: Sequence[library.Refusal], *, as_list: bool
) -> dict[str, Any]:
    document = {**plan.to_dict(), "refusals": [asdict(refusal) for refusal in refusals]}
    if as_list:
        document["entries"] = [
            {**asdict(entry), "stored": entry.stored and entry.stored.isoformat()} for entry in plan.entries()
        ]
    return {"plan": document, "done": None if done is None else done.to_dict()}


def _keeps(settings: ObjectStorageSettings) -> str:
    """Say how long what was removed from rows is kept."""
    versions = f" and the last {counted(settings.versions, 'version')}" if settings.versions else ""
    return f"retention {spoken(settings.retention)}{versions}"


def _print_plan(to: Console, plan: library.Plan, keeps: str, *, force: bool, as_list: bool) -> None:
    to.print(f"Project {plan.project}, {keeps}, grace {spoken(plan.grace)}", style="bold")
    if plan.is_scan and plan.listed:
        listed = f"{counted(plan.listed.count, 'object')} ({format_size(plan.listed.size)})"
        others = f"{counted(plan.foreign.count, 'other file')}, not touched"
        to.print(f"  {listed}, {plan.references} referenced; {others}")
    if not plan.standing_refusals(force=True):
        rows = [row for row in _ROWS if (plan.is_scan or row[0] not in _SCANNED) and (row[0] != "noted" or plan.noted)]
        verbs = {"unknown": "note for deletion"} if plan.with_unknown else {}
        _print_amounts(to, [(what, verbs.get(name, verb), getattr(plan, name)) for name, _, what, verb in rows])
        if not as_list:
            _print_unknown(to, plan)
    if as_list:
        for entry in plan.entries():
            to.print(f"  {entry.action:<10} {entry.key}", soft_wrap=True)
    _print_missing(to, plan)
    _print_notes(to, plan.notes)


def _print_notes(to: Console, notes: Sequence[str]) -> None:
    for note in notes:
        to.print(f"Note: {note}", style="yellow", soft_wrap=True)


def _print_what_matters(
    to: Console, plan: library.Plan, done: library.Collected | None, refusals: Sequence[library.Refusal]
) -> None:
    """Print what `--quiet` leaves: what is missing, why nothing was done, what failed."""
    _print_missing(to, plan)
    _print_refusals(to, refusals)
    _print_notes(to, plan.notes)
    if done is not None:
        _print_trouble(to, done)


def _print_refusals(to: Console, refusals: Sequence[library.Refusal]) -> None:
    for refusal in refusals:
        print_check(to, Check("refused", "failed", f"[{refusal.kind}] {refusal.reason}", refusal.way_on))


def _print_trouble(to: Console, done: library.Collected) -> None:
    _print_notes(to, done.notes)
    for key, problem in done.failures:
        print_check(to, Check("not deleted", "failed", problem, f"the next run tries {key} again"))


def _print_unknown(to: Console, plan: library.Plan) -> None:
    """Show the first unknown objects, how large they are and since when they are there."""
    for entry in islice((entry for entry in plan.entries() if entry.action == "unknown"), _UNKNOWN_SHOWN):
        since = f"{entry.stored:%Y-%m-%d}" if entry.stored else "?"
        to.print(f"  unknown  {since}  {format_size(entry.size):>9}  {entry.key}", soft_wrap=True)
    if plan.unknown.count > _UNKNOWN_SHOWN:
        to.print(f"  and {counted(plan.unknown.count - _UNKNOWN_SHOWN, 'more', 'more')}; --list names them all")


def _print_missing(to: Console, plan: library.Plan) -> None:
    if plan.are_most_missing:
        detail = f"{plan.missing_count:,} of {counted(plan.references, 'object')} that rows refer to are not there"
        if plan.missing_count == plan.references:
            detail = f"not one of {counted(plan.references, 'object')} that rows refer to is there"
        print_check(to, Check("missing", "failed", f"{detail}; the first is {plan.missing[0].key}", RIGHT_PLACE))
        return
    names = {_schema(one) for one in plan.missing} if len(plan.missing) == plan.missing_count else plan.schemas
    missing = Abridged(to, f"`{_verify(*sorted(names))} --json` names them all")
    for one in plan.missing:
        advice = f"`datajoint-file mirror`, or restore it from a backup; `{_verify(_schema(one))}` names the row"
        missing.print(Check("missing", "failed", f"{one.attribute}: {one.key}", advice))
    missing.end(missing=plan.missing_count)


def _schema(missing: library.Missing) -> str:
    return missing.attribute.partition(".")[0]


def _verify(*schemas: str) -> str:
    return f"datajoint-file verify {shlex.join(schemas)} --level exists"


def _print_amounts(to: Console, rows: Sequence[tuple[str, str, library.Amount]]) -> None:
    table = Table(box=None, show_header=False, padding=(0, 1, 0, 2))
    table.add_column()
    table.add_column(justify="right")
    table.add_column(justify="right")
    table.add_column()
    for what, verb, amount in rows:
        style = None if amount else "dim"
        table.add_row(what, str(amount.count), format_size(amount.size), verb if amount else "", style=style)
    width, to.width = to.width, min(to.width, 100)
    to.print(table)
    to.width = width


def _print_end(
    to: Console,
    plan: library.Plan,
    done: library.Collected | None,
    refusals: Sequence[library.Refusal],
    *,
    following: str | None,  # the command that does what this dry run has planned
    quiet: bool,
) -> None:
    if quiet:
        _print_what_matters(to, plan, done, refusals)
        return
    _print_refusals(to, refusals)
    if refusals:
        to.print("Refused: nothing was deleted.", style="bold red")
    elif done is not None:
        _print_done(to, plan, done)
    elif following and plan:
        to.print(f"Nothing was changed. Next: {following}", style="bold", soft_wrap=True)
    elif following and not plan.missing_count:
        to.print("There is nothing to do.", style="bold")


def _print_done(to: Console, plan: library.Plan, done: library.Collected) -> None:
    to.print("Done", style="bold")
    rows = [(what, _DONE.get(verb, verb), getattr(done, name)) for _, name, what, verb in _ROWS if name]
    _print_amounts(to, rows)
    if done.noted:
        when = f"is deleted after {_minute(plan.made_at + plan.grace)} if no row names it by then"
        to.print(f"What is noted {when}; `datajoint-file gc --spare KEY` takes it back.", soft_wrap=True)
    _print_trouble(to, done)


def _show_kept(grace: timedelta, *, as_json: bool) -> int:
    found = library.kept(connect(), grace=grace)
    if as_json:
        times = [(one, one.since.isoformat(), one.until and one.until.isoformat()) for one in found]
        print_json([{**asdict(one), "since": since, "until": until} for one, since, until in times])
        return 0
    to, count = console(), 0
    for count, one in enumerate(found, 1):  # noqa: B007 - counted
        until = f"until {_minute(one.until)}" if one.until else "as one of the last versions"
        how = f"{_REMOVED.get(one.why, one.why)} {_minute(one.since)}, kept {until}"
        event = f"  event {one.event}" if one.why in _REMOVED else ""
        to.print(f"{how}  {format_size(one.size):>9}  {one.key}{event}", soft_wrap=True)
    to.print(f"{counted(count, 'object')} kept." if count else "Nothing was removed.", style="bold")
    return 0


def _minute(moment: datetime) -> str:
    return f"{moment.astimezone():%Y-%m-%d %H:%M}"


def _spare(keys: Sequence[str], *, as_json: bool) -> int:
    spared = library.spare(keys, connect())
    others = sorted(set(keys) - set(spared))
    if as_json:
        print_json({"spared": list(spared), "not_noted": others})
    else:
        for key in spared:
            console().print(f"no longer noted for deletion: {key}", soft_wrap=True)
        for key in others:
            advice = "look with --kept; rows that were deleted are put back by `datajoint-file restore`"
            print_check(console(), Check("not noted", "failed", key, advice))
    return PROBLEMS if others else FINE
