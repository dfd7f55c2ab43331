"""Click group of all commands: version, help, and how errors end the process.

Exit codes: 0 fine, 1 problems found, 2 wrong usage, 3 partly done, 4 could not look; `exit_codes` says which is when.
A command is loaded when it is called for, and DataJoint with it, which takes a second: help and version are there at
once.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections import UserDict
from contextlib import nullcontext, suppress
from importlib import import_module
from importlib.metadata import version
from keyword import iskeyword
from typing import Any

import click
from click.shell_completion import CompletionItem

import datajoint_file
from datajoint_file.cli.exit_codes import BLIND, PROBLEMS
from datajoint_file.startup import escaped

_DRIVERS = ("pymysql", "psycopg2")

_SHORT_HELPS = {
    "browse": "Look at files in a browser.",
    "cat": "Print a stored file.",
    "cache": "Show or empty this machine's cache of files.",
    "doctor": "Check configuration, store and database.",
    "drill": "Try a backup beside the real thing.",
    "du": "Add up files and bytes.",
    "export": "Write rows and files for others (a bag).",
    "find": "Say which rows have a file.",
    "download": "Bring files of rows here (get).",
    "free": "Remove local files that are stored.",
    "gc": "Delete stored objects that nothing uses.",
    "history": "Show earlier and deleted files.",
    "import": "Insert what others have exported.",
    "index": "Make find faster on a table.",
    "ls": "List schemas, tables or files.",
    "init": "Write a commented datajoint.toml.",
    "mirror": "Bring files to a second place, and mend either.",
    "move": "Bring a project to another store.",
    "members": "List the files of a stored directory.",
    "migrate": "Make files of another attribute's values.",
    "rebuild": "Write rows of a lost database again.",
    "restore": "Put back an earlier file, or deleted rows.",
    "show": "Show what is stored in a row.",
    "tag": "Show, put or remove tags of rows.",
    "tree": "Show files as a tree.",
    "url": "Make a link to a stored file.",
    "verify": "Check stored files against their rows.",
    "watch": "Insert files when they have stopped growing.",
}


_SHORT_NAMES = {"get": "download"}

_COMPLETION = "_DATAJOINT_FILE_COMPLETE"
"""Variable by which a shell asks for completion."""


class _LoadedLater(UserDict[str, Any]):
    """Commands by name, each loaded when it is asked for."""

    def __getitem__(self, name: str) -> click.Command:
        """Return a command, hooked into DataJoint as ``import datajoint_file`` does elsewhere."""
        if isinstance(self.data[name], str):
            _import_datajoint()
            import_module("datajoint_file.hooks.installation").install()
            called = f"{name}_" if iskeyword(name) else name
            self.data[name] = getattr(import_module(f"datajoint_file.cli.{called}"), called)
        command: click.Command = self.data[name]
        return command


def _import_datajoint() -> None:
    """Import DataJoint, which reads its settings then; say what is wrong in them on one line."""
    try:
        import_module("datajoint")
    except ValueError as error:
        problems: list[Any] = getattr(error, "errors", list)()  # pydantic's, whose text shows values: also secrets
        if not problems:
            raise
        told = "; ".join(f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in problems)
        raise _Blind(f"DataJoint's settings cannot be used: {told}") from error


class _Commands(click.Group):
    """Commands whose errors are one message, not a traceback."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without loading them."""
        with formatter.section("Commands"):
            formatter.write_dl(sorted(_SHORT_HELPS.items()))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, also by its short name."""
        return super().get_command(ctx, _SHORT_NAMES.get(cmd_name, cmd_name))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Name the commands without loading them."""
        named = [CompletionItem(name, help=told) for name, told in sorted(_SHORT_HELPS.items())]
        return [item for item in named if item.value.startswith(incomplete)] + click.Command.shell_complete(
            self, ctx, incomplete
        )

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command; for a shell that asks for completion, without any error."""
        with suppress(Exception) if os.environ.get(_COMPLETION) else nullcontext():
            return super().main(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command. An error ends it with a code of its own: it is not what was found, wherever it comes from."""
        try:
            return super().invoke(ctx)
        except click.ClickException as error:
            error.message = escaped(error.message)  # type: ignore[misc]  # final, and shown by several subclasses
            raise
        except (click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except Exception as error:
            is_verdict = _is_one_of(error, "datajoint_file.errors", *_VERDICTS)
            is_foreseen = _is_one_of(error, "datajoint.errors", "DataJointError") or _is_of_driver(error)
            if is_foreseen and not ctx.params["debug"]:
                raise (click.ClickException if is_verdict else _Blind)(escaped(str(error))) from error
            traceback.print_exc()
            ctx.exit(PROBLEMS if is_verdict else BLIND)


_VERDICTS = ("CollectionRefusedError", "DrillRefusedError", "ObjectNotFoundError")
"""Errors that are what a command has to say after it has looked."""


def _is_one_of(error: Exception, module: str, *names: str) -> bool:
    """Tell without importing *module*: that may be what has failed."""
    loaded = sys.modules.get(module)
    return loaded is not None and isinstance(error, tuple(getattr(loaded, name) for name in names))


def _is_of_driver(error: Exception) -> bool:
    return type(error).__module__.partition(".")[0] in _DRIVERS


class _Blind(click.ClickException):
    """One message for a command that could not do what it is for."""

    exit_code = BLIND


def _show_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        click.echo(f"{ctx.info_name} {datajoint_file.__version__} (DataJoint {version('datajoint')})")
        ctx.exit()


@click.group(
    "datajoint-file",
    cls=_Commands,
    commands=_LoadedLater(_SHORT_HELPS),
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the version and exit.",
)
@click.option("--debug", is_flag=True, help="Show where an error comes from, as a traceback.")
def main(debug: bool) -> None:
    """Rows and their files, together: set up and look after the `file` attributes of DataJoint pipelines."""
