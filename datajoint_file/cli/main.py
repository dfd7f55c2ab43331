"""The group of commands: version, help, and how errors end the process.

Exit codes: 0 fine, 1 problems found or an error, 2 wrong usage, 3 partly done.
"""

from __future__ import annotations

from typing import Any

import click
import datajoint as dj
from datajoint.errors import DataJointError

import datajoint_file
from datajoint_file.cli.doctor import doctor
from datajoint_file.cli.gc import gc
from datajoint_file.cli.init import init
from datajoint_file.cli.verify import verify

_VERSION = f"%(prog)s %(version)s (DataJoint {dj.__version__})"


class _Commands(click.Group):
    """Commands whose errors are one message, not a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; an error of this package, or of DataJoint, ends it with exit code 1."""
        try:
            return super().invoke(ctx)
        except DataJointError as error:
            if ctx.params["debug"]:
                raise
            raise click.ClickException(str(error)) from error


@click.group("datajoint-file", cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(datajoint_file.__version__, message=_VERSION)
@click.option("--debug", is_flag=True, help="Show where an error comes from, as a traceback.")
def main(debug: bool) -> None:
    """Rows and their files, together: set up and look after the `file` attributes of DataJoint pipelines."""


main.add_command(init)
main.add_command(doctor)
main.add_command(verify)
main.add_command(gc)
