"""What the demo shows: the pipeline of `imaging.py`, run step by step, and what it leaves behind.

It holds no code of the pipeline: it shows that of `imaging`, and calls it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.json import JSON
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.tree import Tree

from datajoint_file.model.wording import format_size
from examples import imaging

from .project import Project
from .session import Session
from .thumbnail import thumbnail

NEXT = """\
[bold]Look[/]      {preview}
          the cells, outlined; and around in {directory}
[bold]Repeat[/]    {make}
          the rows are there: nothing is uploaded again
[bold]Explore[/]   {shell}
          a Python prompt with these tables, in which you could
            scan = (Scan & {{"subject_id": 1}}).fetch1("raw")
            print(scan.url)       damage that file, then scan.read() again
            Scan.insert1({{"subject_id": 2, "scan_id": 2, "modality": "",
                          "raw": "/path/to/your.png"}})
            Segmentation.populate()
[bold]Copy[/]      examples/imaging.py
          the pipeline that you have just seen
[bold]Remove[/]    make clean-demo"""


def show(console: Console, project: Project, backend: str) -> None:
    """Run the pipeline in *project*, whose database is running, and explain what happens."""
    session = Session(console, dict(vars(imaging)))
    declare(session)
    insert(session, project)
    populate(session, project)
    fetch(session)
    read(session)
    download(session)
    browse(session, project)
    query(session)
    suggest(console, project, backend)


def declare(session: Session) -> None:
    """Show the tables."""
    session.heading(
        "Declare", "Images are attributes of type `file`: those of the microscope, and those that are computed."
    )
    session.show_source(imaging.Scan)
    session.show_source(imaging.Segmentation)


def insert(session: Session, project: Project) -> None:
    """Enter the scans."""
    session.heading(
        "Insert", "Two real micrographs, from scikit-image's samples, by their paths. Bytes first, rows second."
    )
    with uploads_counted(session, project, "The scans are in the table already: skip_duplicates leaves them out"):
        session.run("insert_scans()")


def populate(session: Session, project: Project) -> None:
    """Compute the segmentations and list them."""
    session.heading(
        "Populate",
        "Each `make` reads a scan, finds its cells, and inserts a mask, a preview, and a folder of the largest.",
    )
    with uploads_counted(session, project, "Every scan has its segmentation already"):
        session.run("Segmentation.populate()")
    table = Table("scan", "cells", "mask", "preview", "largest", box=None, padding=(0, 2), header_style="bold")
    for row in imaging.Segmentation * imaging.Scan:
        results = [row[name] for name in ("mask", "preview", "largest")]
        shown = [f"{result.original_name} ({format_size(result.size)})" for result in results]
        table.add_row(*map(escape, (row["raw"].original_name, str(row["n_cells"]), *shown)))
    session.console.print(table)


def fetch(session: Session) -> None:
    """Fetch references."""
    session.heading("Fetch", "A fetch gives a FileRef, and of a folder a DirectoryRef. Nothing has been read yet.")
    session.run('scan = (Scan & {"subject_id": 1, "scan_id": 1}).fetch1("raw")')
    session.run("scan")
    session.run("scan.size, scan.mime_type, scan.timestamp.isoformat()")
    session.run('(Segmentation & {"subject_id": 1}).fetch1("largest")')


def read(session: Session) -> None:
    """Read and verify."""
    session.heading("Read", "All of it, verified against its hash; or, seekable, only what is asked for.")
    session.run("iio.imread(BytesIO(scan.read())).shape")
    session.run("with scan.open() as stream: print(stream.read(8))")
    session.run('[cell.name for cell in (Segmentation & {"subject_id": 1}).fetch1("largest").files()]')
    session.run("scan.verify()")
    session.console.print("[green]✓[/] the stored bytes are those that were inserted")


def download(session: Session) -> None:
    """Download the previews and show one."""
    session.heading("Download", "Verified too. A download is complete, or not there.")
    paths = session.run('download_previews("downloads")')
    if session.console.is_terminal:
        session.console.print(thumbnail(paths[0], columns=48))


def browse(session: Session, project: Project) -> None:
    """Show what is on disk."""
    session.heading("Browse", "The store is in words: primary key, schema, table and attribute, original name.")
    session.console.print(tree_of(project.store))


def query(session: Session) -> None:
    """Show what is in the database."""
    session.heading("Query", "What the row holds, for any SQL client: enough to find and check the file.")
    sql = f"SELECT raw FROM {imaging.Scan.full_table_name} WHERE subject_id = 1 AND scan_id = 1"
    ((row,),) = session.run(f"dj.conn().query({sql!r}).fetchall()", show_value=False)
    session.console.print(JSON(row if isinstance(row, str) else json.dumps(row)), soft_wrap=True)


def suggest(console: Console, project: Project, backend: str) -> None:
    """Say what to try next."""
    variable = "" if backend == "postgresql" else f" DB={backend}"
    text = NEXT.format(
        preview=_link(project.directory / "downloads" / "subject1-scan1.png"),
        directory=_link(project.directory),
        make=f"make demo{variable}",
        shell=f"make demo-shell{variable}",
    )
    console.print()
    console.print(Panel(text, title="What next", title_align="left", border_style="cyan"))


@contextmanager
def uploads_counted(session: Session, project: Project, nothing: str) -> Iterator[None]:
    """Say what has been added to the store meanwhile, and *nothing* if nothing has."""
    before = set(_files(project.store))
    yield
    added = set(_files(project.store)) - before
    if added:
        size = format_size(sum(file.stat().st_size for file in added))
        session.console.print(f"[green]✓[/] {len(added)} files stored, {size}")
    else:
        session.console.print(f"[green]✓[/] {nothing}; nothing was uploaded")


def tree_of(directory: Path) -> Tree:
    """Draw a directory, those that hold a single directory on one line with it."""
    tree = Tree(f"[bold]{directory.name}/[/]", guide_style="dim")
    _grow(tree, directory)
    return tree


def _grow(tree: Tree, directory: Path) -> None:
    for child in sorted(directory.iterdir()):
        if child.is_dir():
            last = _last_of_chain(child)
            _grow(tree.add(escape(f"{last.relative_to(directory)}/")), last)
        else:
            tree.add(f"[green]{escape(child.name)}[/]  [dim]{format_size(child.stat().st_size)}[/]")


def _last_of_chain(directory: Path) -> Path:
    children = list(directory.iterdir())
    return _last_of_chain(children[0]) if len(children) == 1 and children[0].is_dir() else directory


def _files(directory: Path) -> Iterator[Path]:
    return (path for path in directory.rglob("*") if path.is_file())


def _link(path: Path) -> str:
    """Return *path* from where `make demo` was called, for terminals that follow links."""
    root = Path(imaging.__file__).parents[1]
    shown = path.relative_to(root) if path.is_relative_to(root) else path
    return f"[link={path.as_uri()}]{escape(str(shown))}[/]"
