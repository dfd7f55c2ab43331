"""Command ``migrate``: an attribute of another type, step by step, becomes a `file` attribute.

The steps are those of `datajoint_file.migrate.migration`.
"""

from __future__ import annotations

from pathlib import Path

import click

from datajoint_file.cli.arguments import completed, wrong_usage
from datajoint_file.cli.exit_codes import FINE, PROBLEMS
from datajoint_file.cli.output import console, print_json
from datajoint_file.concurrency.termination import ended_by_sigterm
from datajoint_file.hooks.targets import connect, targets_named
from datajoint_file.migrate.migration import STEPS, Migration
from datajoint_file.migrate.ways import HARD_LINKS, HardLink

_EXAMPLES = """\b
Examples:
  datajoint-file migrate plan lab_ephys.Recording.raw
  datajoint-file migrate run lab_ephys.Recording.raw
  datajoint-file migrate plan lab_ephys.Scan.path --root /mnt/nas --link
"""


@click.command(epilog=_EXAMPLES, short_help="Make files of another attribute's values.")
@click.argument("step", type=click.Choice(STEPS))
@click.argument("name", metavar="SCHEMA.TABLE.ATTRIBUTE", shell_complete=completed)
@click.option(
    "--root",
    type=click.Path(file_okay=False, path_type=Path),
    help="Of paths: where relative ones begin, and below which all must lie.",
)
@click.option("--link", is_flag=True, help="Let files stay where they are, below a root of datajoint.toml.")
@click.option(
    "--hard-link",
    type=click.Choice(HARD_LINKS[1:]),
    default=None,
    help="Give files of the store's disk a second name there: only those that nobody may write to, or all.",
)
@click.option("--suffix", default="", metavar=".npy", help="Of blobs: the format in which their objects are written.")
@click.option("--workers", type=click.IntRange(min=1), metavar="N", help="Of run and check: files at a time.")
@click.option("--quiet", is_flag=True, help="Print only what a person must see: nothing, if all is fine.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.pass_context
def migrate(
    ctx: click.Context,
    step: str,
    name: str,
    root: Path | None,
    link: bool,
    hard_link: HardLink | None,
    suffix: str,
    workers: int | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Make files of the values of an attribute: attachments, blobs, objects or files of DataJoint's stores, paths.

    \b
    plan    look at all values, and say what would become of them
    run     store files, and name them in a new attribute beside the old one
    check   read old and new values, and compare them
    finish  give the new attribute the name
    back    give the old one its name again
    forget  drop the old attribute

    Each may be done again. Options are those of `run`; later steps know them.

    Exit code 0 if all is fine, 1 if there are problems or the step is refused, 4 if database or store could not be
    reached.
    """  # noqa: D301 - click's mark for text that is not wrapped
    target, _, attribute = name.rpartition(".")
    if "." not in target:
        raise click.UsageError(f"{name} names no attribute: write SCHEMA.TABLE.ATTRIBUTE")
    if workers is not None and step not in ("run", "check"):
        raise click.UsageError(f"--workers is for run and check, and not for {step}")
    connection = connect()
    ctx.call_on_close(connection.close)
    with wrong_usage():
        (table,) = targets_named([target], connection)
        migration = Migration(
            table,
            attribute,
            root=root or "",
            link=link,
            hard_link=hard_link or "",
            suffix=suffix,
            progress=False if quiet or as_json else None,
        )
    with ended_by_sigterm():
        report = getattr(migration, step)(**({} if workers is None else {"workers": workers}))
    if as_json:
        print_json(report.to_dict())
    elif not quiet or not report:
        console().print(str(report), soft_wrap=True)
    ctx.exit(FINE if report else PROBLEMS)
