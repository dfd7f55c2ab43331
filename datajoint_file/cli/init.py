"""Command ``init``: a commented ``datajoint.toml`` for a new project.

What it says is decided and checked by `datajoint_file.config.scaffold`.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import click

from datajoint_file.cli.output import console, print_json
from datajoint_file.config.scaffold import (
    DEFAULT_STORE,
    STORAGE_FORMS,
    NewConfiguration,
    is_url_without_slashes,
    plan_configuration,
    rivals,
)
from datajoint_file.doctor.store import check_place
from datajoint_file.errors import ConfigurationError
from datajoint_file.storage import open_backend
from datajoint_file.transfer.atomic_write import destination_errors, write_text

_EXAMPLES = """\b
Examples:
  datajoint-file init
  datajoint-file init --storage s3://lab-recordings/team/ephys --region eu-central-1
  datajoint-file init --storage s3://lab --endpoint-url https://minio.example.org
"""


@click.command(epilog=_EXAMPLES, short_help="Write a commented datajoint.toml.")
@click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    help="Where to write it, instead of the working directory.",
)
@click.option("--project", default="", metavar="NAME", help="The project's name; that of the directory if not given.")
@click.option("--storage", default="", metavar="URL", help=f"{STORAGE_FORMS}; {DEFAULT_STORE} if not given.")
@click.option("--endpoint-url", default="", metavar="URL", help="The store's server, if not the cloud provider's own.")
@click.option("--region", default="", metavar="NAME", help="The region of an S3 bucket.")
@click.option("--partition", default="", metavar="PATTERN", help="Such as 'subject{subject_id}/session{session_id}'.")
@click.option("--force", is_flag=True, help="Replace a datajoint.toml that is there.")
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON.")
def init(
    directory: Path,
    project: str,
    storage: str,
    endpoint_url: str,
    region: str,
    partition: str,
    force: bool,
    as_json: bool,
) -> None:
    """Write a commented datajoint.toml, which says where the files of a pipeline are.

    No credentials are asked for or written: the file explains how to name them. For a store on a disk its directory is
    made, unless its place is another project's.
    """
    try:
        new = plan_configuration(
            directory,
            project=project,
            storage=_from_here(storage, directory) if storage else DEFAULT_STORE,
            endpoint_url=endpoint_url,
            region=region,
            partition_pattern=partition,
        )
    except ConfigurationError as error:
        raise click.UsageError(str(error)) from error
    if os.path.lexists(new.path) and not force:
        raise click.UsageError(f"{new.path} exists and was left as it is; --force replaces it")
    notes = [*rivals(new), *_lost_with_a_work_tree(new)]
    if new.store is not None:
        _refuse_place_of_others(new)
        with destination_errors(new.store):
            new.store.mkdir(parents=True, exist_ok=True)
    write_text(new.path, new.text, replaces=force)
    if as_json:
        print_json(_report(new, notes))
    else:
        _tell(new, notes, directory)


def _refuse_place_of_others(new: NewConfiguration) -> None:
    name = new.settings.project.name
    place = check_place(open_backend(new.settings.storage, name, new.path.parent, read_only=True), name)
    if place.status == "failed":
        raise click.UsageError(". ".join(filter(None, (place.detail, place.fix))))


def _lost_with_a_work_tree(new: NewConfiguration) -> list[str]:
    """Say so if the store would be in a work tree of git, where a clean deletes what is not under version control."""
    above = new.store.absolute().parents if new.store is not None else ()
    tree = next((directory for directory in above if (directory / ".git").exists()), None)
    return [_IN_WORK_TREE.format(store=new.store, tree=tree)] if tree else []


_IN_WORK_TREE = (
    "{store} is in the work tree {tree}, where `git clean -x` deletes it: for data that is to stay, give --storage a "
    "place outside"
)


def _from_here(storage: str, directory: Path) -> str:
    """Return a path, given as seen from the working directory, as seen from *directory* if it lies below it."""
    if "://" in storage or is_url_without_slashes(storage):
        return storage
    path = Path(storage).expanduser()
    seen = os.path.relpath(path, directory)
    return str(path.absolute()) if path.is_absolute() or seen.startswith(os.pardir) else f".{os.sep}{seen}"


def _report(new: NewConfiguration, notes: list[str]) -> dict[str, object]:
    settings = new.settings
    return {
        "written": str(new.path),
        "project": settings.project.name,
        "backend": settings.storage.backend,
        "store": str(new.store or settings.storage.root),
        "notes": notes,
        "next": "datajoint-file doctor",
    }


def _tell(new: NewConfiguration, notes: list[str], directory: Path) -> None:
    settings = new.settings
    say = console().print
    say(f"Wrote {new.path}")
    say(f"  project  {settings.project.name}   (begins the key of every object; keep it)")
    say(f"  storage  {settings.storage.location}")
    for note in notes:
        say(f"Note: {note}", style="yellow")
    if new.store is None:
        say("Credentials are those of this machine, unless you name others in [storage.credentials] there.")
    go = "" if directory.resolve() == Path.cwd() else f"cd {shlex.quote(str(directory))} && "
    say(f"Next: {go}datajoint-file doctor", style="bold")
