"""Command ``cache``: what this machine keeps of stored files, where, and how it is emptied.

The counting and removing is done by `datajoint_file.cache`.
"""

from __future__ import annotations

import click

import datajoint_file.cache
from datajoint_file.cli.output import console, print_json


@click.command(short_help="Show or empty this machine's cache of files.")
@click.option("--clear", "clears", is_flag=True, help="Remove all that is in it and not in use.")
@click.option("--path", "only_path", is_flag=True, help="Print where it is, and nothing else.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def cache(clears: bool, only_path: bool, as_json: bool) -> None:
    """Show how much this machine keeps of stored files, and where; or remove it.

    The cache has copies only: what is removed is brought again when it is needed. Which one it is, the datajoint.toml
    found from here says, or DATAJOINT_FILE__CACHE__PATH.

    Exit code 0.
    """
    if clears and only_path:
        raise click.UsageError("--clear and --path are different things: give one of them")
    if only_path and not as_json:
        click.echo(datajoint_file.cache.path())
        return
    found = datajoint_file.cache.clear() if clears else datajoint_file.cache.usage()
    if as_json:
        figures = {"path": str(found.path), "entries": found.entries, "size": found.size, "limit": found.limit}
        print_json({"removed" if clears else "has": figures})
        return
    console().print(f"{'removed ' if clears else ''}{found}", soft_wrap=True)
