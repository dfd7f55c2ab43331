"""The demo's command line, `python -m examples.demo [tour | shell | notebook | database | stop]`; `make demo` calls it.

It puts the parts together: a project directory, its database server, and what is done while that runs.
"""

from __future__ import annotations

import argparse
import code
import shlex
import signal
import sys
import warnings
from contextlib import suppress
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.text import Text

from .mysql import MySQL, find_program
from .postgresql import PostgreSQL
from .project import INIT, Project, ProjectError
from .servers import HOST, USER, Address, Server, ServerError, choose_address, running, stop_left

# A store belongs to one database: files of the other's rows would look like nobody's.
DIRECTORIES = {"postgresql": "demo-project", "mysql": "demo-project-mysql"}


def main() -> int:
    """Run the demo. Returns the exit status."""
    arguments = _parser().parse_args()
    project = Project(Path(arguments.project or DIRECTORIES[arguments.database]).absolute())
    console = Console(highlight=False)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _exit)
    try:
        server = _server(arguments.database, project.database / arguments.database)
        if arguments.action == "stop":
            _stop(project, server)
        else:
            _work(arguments.action, console, project, server)
    except (ProjectError, ServerError) as error:
        console.print(Text(str(error), style="red"), soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m examples.demo", description="A tour of the `file` attribute.")
    parser.add_argument(
        "action",
        nargs="?",
        default="tour",
        choices=("tour", "shell", "notebook", "database", "stop"),
        help="show everything (default), open a Python prompt with the tables, run the notebook, only run the database "
        "until Ctrl-C, or stop what a killed demo left running",
    )
    parser.add_argument("--database", default="postgresql", choices=sorted(DIRECTORIES), help="default: postgresql")
    parser.add_argument("--project", help="the directory that the demo makes and uses")
    return parser


def _server(backend: str, directory: Path) -> Server:
    return PostgreSQL(directory) if backend == "postgresql" else MySQL(directory, find_program())


def _stop(project: Project, server: Server) -> None:
    if project.directory.exists():
        with project.locked():
            project.enter()
            stop_left(server, project.recorded_address())


def _work(action: str, console: Console, project: Project, server: Server) -> None:
    with project.locked():
        project.enter()
        address = choose_address(server, project.recorded_address())
        project.record_address(server.backend, address)
        if action in ("tour", "shell"):
            _configure(console, project)
        with running(server, address):
            console.print(
                f"{server.name} is running, for you alone, from {_shown(server.directory, project)}.", markup=False
            )
            if action == "database":
                _lend(console, server.backend, address)
            elif action == "notebook":
                _notebook(console, project)
            else:
                _shell() if action == "shell" else _tour(console, project, server)
        console.print(f"{server.name} has been stopped.", style="dim")


def _configure(console: Console, project: Project) -> None:
    if project.configuration.exists():
        console.print(f"{_shown(project.configuration, project)} is there, and says where files go.", markup=False)
    else:
        console.print(f"$ datajoint-file {shlex.join(INIT)}", soft_wrap=True)
        project.configure_storage()


def _shown(path: Path, project: Project) -> Path:
    return path.relative_to(project.directory.parent)


def _tour(console: Console, project: Project, server: Server) -> None:
    warnings.filterwarnings("ignore", "MariaDB is not officially supported")
    from datajoint.errors import DataJointError

    try:
        from .tour import show  # connects: only now is there a server, and a configuration of DataJoint

        show(console, project, server.backend)
    except DataJointError as error:
        raise ProjectError(f"{error}\nA fresh start: make clean-demo") from error


def _shell() -> None:
    from examples import imaging  # connects, as above

    with suppress(ImportError):
        import readline  # noqa: F401 - gives the prompt a history and the arrow keys
    code.interact("Subject, Scan and Segmentation are here. End with Ctrl-D.", local=dict(vars(imaging)), exitmsg="")


def _notebook(console: Console, project: Project) -> None:
    from .notebook import execute  # not all have it

    target = project.directory / "files.ipynb"
    execute(target)
    console.print(f"{_shown(target, project)} is the notebook with its outputs.", markup=False)


def _lend(console: Console, backend: str, address: Address) -> None:
    """Say how DataJoint reaches the database, and wait for Ctrl-C."""
    variables = {"DJ_BACKEND": backend, "DJ_HOST": HOST, "DJ_PORT": address.port, "DJ_USER": USER}
    variables |= {"DJ_PASS": address.password, "DJ_USE_TLS": "false"}
    console.print("In another terminal:\n", style="dim")
    console.print(f"export {' '.join(f'{name}={value}' for name, value in variables.items())}", soft_wrap=True)
    console.print("\nIt runs until Ctrl-C, and has the same tables the next time.", style="dim")
    with suppress(KeyboardInterrupt):
        signal.pause()


def _exit(number: int, _frame: FrameType | None) -> None:
    """End as an exception does, so that the server is stopped."""
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
