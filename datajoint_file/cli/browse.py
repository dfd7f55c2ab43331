"""Command ``browse``: the lab's files as pages in a browser of this machine.

The pages are `datajoint_file.browse`'s.
"""

from __future__ import annotations

import click

from datajoint_file.concurrency.termination import ended_by_sigterm
from datajoint_file.errors import MissingLibraryError
from datajoint_file.hooks.targets import connect
from datajoint_file.model.wording import pip_install

_EXAMPLES = """\b
Examples:
  datajoint-file browse
  datajoint-file browse --port 8421 --no-open
"""


@click.command(epilog=_EXAMPLES, short_help="Look at files in a browser.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Where to listen, instead of at a free port.")
@click.option("--no-open", "stays_shut", is_flag=True, help="Print the address, and open no browser.")
def browse(port: int, stays_shut: bool) -> None:
    """Show schemas, tables and files in the browser, with previews, search and sums. Nothing can be changed there.

    The page is for this machine and its user: it listens on the loopback interface, and who comes in needs the address
    that is printed, which has a secret in it. Ctrl-C ends it.
    """
    try:
        from datajoint_file.browse.server import serve
    except ImportError as error:
        raise MissingLibraryError(f"the pages need packages: {pip_install('browse')} ({error})") from error
    connect().close()  # what is wrong with it is said here, and not on each page
    with ended_by_sigterm():
        try:
            serve(connect, port=port, opens=not stays_shut, say=_say)
        except (KeyboardInterrupt, SystemExit):
            click.echo("Ended.")
        except OSError as error:
            raise click.UsageError(f"--port {port}: {error.strerror or error}") from error


def _say(address: str) -> None:
    click.echo(f"The files are at {address}")
    click.echo("For you alone, as long as this runs. Ctrl-C ends it.")
