"""Handlers of the pages: from the query of a URL to a template, and errors to a page that says them.

Every value that a template shows is escaped, and so are letters that would hide what stands beside them.
"""

from __future__ import annotations

import base64
import io
import re
import warnings
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from itertools import islice
from pathlib import Path
from typing import Any

from datajoint.errors import LostConnectionError
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from datajoint_file.browse.address import Address, key_of
from datajoint_file.browse.archive import WORDS, Archive, Item, looks_into_rows
from datajoint_file.browse.problems import status_of, told
from datajoint_file.browse.threads import Threads
from datajoint_file.browse.transfer import download
from datajoint_file.model.wording import counted, format_size, pip_install
from datajoint_file.pipeline.directoryref import DirectoryRef, Subdirectory
from datajoint_file.pipeline.fileref import FileRef
from datajoint_file.preview.shown import Grid, Part, Picture, cut
from datajoint_file.query.used import MOST_LINES, Usage
from datajoint_file.startup import escaped

PAGE_MEMBERS = 200
MOST_LISTED = 10_000
"""The list of members of a directory with more is fetched on demand only."""

_MOST_COLUMNS = 100
"""Columns of a table that is previewed."""

_STATIC = {"style.css": "text/css", "copy.js": "text/javascript", "icon.svg": "image/svg+xml"}
_OF_DATABASE, _OF_STORES = 4, 8
"""How many requests of a kind are answered at a time. Others wait in line, each in that of its kind."""

_GONE = 499
"""Status of an answer that nobody has waited for."""

Handler = Callable[[Any, Request], Response]


def application(archive: Archive) -> Starlette:
    """Return the pages of an archive as an ASGI application, for a `Guard` to stand before."""
    lists, searches, sums = (Threads(_OF_DATABASE) for _ in range(3))
    of_stores = Threads(_OF_STORES)
    pages = _Pages(archive, of_stores)
    handlers = {
        "/": (pages.schemas, lists),
        "/tables": (pages.tables, lists),
        "/sum": (pages.sum, sums),
        "/file": (pages.file, of_stores),
        "/download": (pages.download, of_stores),
        "/search": (pages.search, searches),
        "/usage": (pages.usage, sums),
    }
    listed, filtered = _endpoint(pages.files, lists), _endpoint(pages.files, searches)

    async def files(request: Request) -> Response:
        return await (filtered if looks_into_rows(_chosen(request)) else listed)(request)

    routes = [Route(path, _endpoint(handler, threads)) for path, (handler, threads) in handlers.items()]
    routes.append(Route("/files", files))
    routes += [Route(f"/static/{name}", _static(name, kind)) for name, kind in _STATIC.items()]
    return Starlette(routes=routes, exception_handlers={404: pages.nothing})


def _endpoint(handler: Callable[[Request], Response], threads: Threads) -> Callable[[Request], Awaitable[Response]]:
    """Return a handler as Starlette calls it: its work is done in a thread, unless the browser has gone meanwhile."""

    async def answer(request: Request) -> Response:
        found: Response | None = await threads.run(handler, request, unless=request.is_disconnected)
        return Response(status_code=_GONE) if found is None else found

    return answer


def _static(name: str, kind: str) -> Callable[[Request], Awaitable[Response]]:
    content = Path(__file__).with_name(name).read_bytes()

    async def answer(_: Request) -> Response:
        return Response(content, media_type=kind)

    return answer


def _answering(handler: Handler) -> Handler:
    """Return a handler whose errors are a page of their own."""

    @wraps(handler)
    def answer(self: _Pages, request: Request) -> Response:
        try:
            try:
                return handler(self, request)
            except LostConnectionError:  # after a night, say; it is made again when it is used next
                return handler(self, request)
        except Exception as error:  # noqa: BLE001 - no traceback to a browser, nor to the terminal behind it
            return self.page("error.html", request, status_of(error), problem=told(error))

    return answer


class _Pages:
    def __init__(self, archive: Archive, of_stores: Threads) -> None:
        self._archive = archive
        self._of_stores = of_stores
        self._templates = Environment(
            autoescape=True,
            loader=PackageLoader("datajoint_file.browse"),
            undefined=StrictUndefined,
            finalize=_visible,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters.update(size=format_size)
        self._templates.globals.update(counted=counted, Address=Address)

    def page(self, name: str, request: Request, status: int = 200, **values: Any) -> Response:
        """Return a page of a template."""
        wanted = request.query_params.get("q", "") if request.url.path == "/search" else ""
        return HTMLResponse(self._templates.get_template(name).render(wanted=wanted, **values), status)

    async def nothing(self, request: Request, error: Exception) -> Response:
        """Say that there is no such page."""
        return self.page("error.html", request, 404, problem="There is no such page.")

    @_answering
    def schemas(self, request: Request) -> Response:
        """Show the schemas that have files."""
        return self.page("schemas.html", request, schemas=self._archive.schemas())

    @_answering
    def tables(self, request: Request) -> Response:
        """Show the tables of a schema."""
        address = _address(request)
        return self.page("tables.html", request, address=address, tables=self._archive.tables(address.schema))

    @_answering
    def files(self, request: Request) -> Response:
        """Show the files of a table, some at a time, as they were chosen."""
        address, chosen = _address(request), _chosen(request)
        first = _whole(request, "first", 1)
        after = key_of(request.query_params["after"]) if "after" in request.query_params else None
        attributes, key_names = self._archive.names(address)
        address = address.of(address.attribute or attributes[0])
        items: tuple[Item, ...] = ()
        problem, status, further = "", 200, ""
        try:
            items, has_more = self._archive.items(address, chosen, after)
            if has_more:
                further = address.url("files", None, items[-1].key, **chosen, first=str(first + len(items)))
        except Exception as error:  # noqa: BLE001 - what was typed may be wrong: it stands in the form again
            problem, status = told(error), status_of(error)
        return self.page(
            "files.html",
            request,
            status,
            items=items,
            problem=problem,
            further=further,
            address=address,
            attributes=attributes,
            key_names=key_names,
            chosen=chosen,
            words=WORDS,
            first=first,
        )

    def sum(self, request: Request) -> Response:
        """Say how many files there are, for a page that is there already."""
        try:
            return PlainTextResponse(self._archive.sum(_address(request), _chosen(request)))
        except Exception as error:  # noqa: BLE001 - as above
            return PlainTextResponse(f"not known: {escaped(told(error))}", status_of(error))

    @_answering
    def file(self, request: Request) -> Response:
        """Show a file, a directory, or what is in one."""
        address, key = _address(request), key_of(request.query_params.get("key", ""))
        record = self._archive.record(address, key)
        shown = _Shown(list(record.notes))
        if record.item.ref is not None:
            shown.look(record.item.ref, request)
        return self.page("file.html", request, address=record.item.address, key=key, record=record, shown=shown)

    @_answering
    def download(self, request: Request) -> Response:
        """Send a file, or a member of a directory, verified."""
        item = self._archive.item(_address(request), key_of(request.query_params.get("key", "")))
        member, ref = request.query_params.get("member", ""), item.ref
        found = _member(ref, member) if member and ref is not None else ref
        if isinstance(found, FileRef):
            return download(found, self._of_stores, is_head=request.method == "HEAD")
        raise LookupError(item.problem or "a directory is downloaded by Python: the expression is on its page")

    @_answering
    def search(self, request: Request) -> Response:
        """Show which rows have a file of a name, hash, path or URL."""
        wanted, by = request.query_params.get("q", "").strip(), request.query_params.get("by", "")
        by = by if by in ("name", "hash", "path") else _kind(wanted)
        hits = self._archive.search(wanted, by) if wanted else None
        return self.page("search.html", request, hits=hits, by=by)

    @_answering
    def usage(self, request: Request) -> Response:
        """Show the sums of a schema, or of all, with a drawing of them."""
        schema = _address(request).schema
        by = tuple(filter(None, (part.strip() for part in request.query_params.get("by", "").split(","))))
        used = self._archive.usage(schema, by or ("table" if schema else "schema",))
        groups = ("table", "attribute", "month", *(self._archive.groups(schema) if schema else ("schema",)))
        drawing, note = _drawing(used)
        return self.page(
            "usage.html",
            request,
            schema=schema,
            schemas=list(self._archive.schemas()),
            groups=groups,
            used=used,
            rows=used.rows[:MOST_LINES],
            drawing=drawing,
            note=note,
        )


class _Shown:
    """What there is to see of a file or directory, as far as its store answers; what it does not is in *notes*."""

    def __init__(self, notes: list[str]) -> None:
        self.notes = notes
        self.member = ""
        self.ref: Any = None
        self.place = ""
        self.parts: list[tuple[str, Any]] = []
        self.facts: tuple[str, ...] = ()
        self.members: list[Any] = []
        self.skip = 0
        self.has_more = False
        self.is_long = False

    def look(self, whole: FileRef | DirectoryRef, request: Request) -> None:
        """Look at the file, or at the member of the directory that the address of the page names."""
        self.member, self.skip = request.query_params.get("member", ""), _whole(request, "skip", 0)
        self.ref = _member(whole, self.member) if self.member else whole
        self.place = self.ref.path
        with self._noting("Where it is cannot be told"):
            self.place = self.ref.full_path
        self.is_long = isinstance(whole, DirectoryRef) and whole.file_count > MOST_LISTED
        if self.is_long and "list" not in request.query_params:
            return
        with self._noting("What is in it cannot be shown"):
            if self.ref.is_dir():
                found = list(islice(self.ref.iterdir(), self.skip, self.skip + PAGE_MEMBERS + 1))
                self.members, self.has_more = found[:PAGE_MEMBERS], len(found) > PAGE_MEMBERS
            else:
                preview = self.ref.preview()
                self.facts, self.parts = preview.facts, list(map(_part, preview.parts))
                self.notes += preview.notes
                self.notes += _left_out(preview.parts)

    def below(self, name: str) -> str:
        """Return the path of what is in the directory that is shown."""
        return f"{self.member}/{name}" if self.member else name

    def parents(self) -> list[tuple[str, str]]:
        """Return the path and name of each directory around the member that is shown, from the outermost."""
        parts = self.member.split("/")[:-1]
        return [("/".join(parts[: number + 1]), part) for number, part in enumerate(parts)]

    @contextmanager
    def _noting(self, what: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001 - of stores and formats: the page says what it lacks
            self.notes.append(f"{what}: {told(error)}")


def _part(part: Part) -> tuple[str, Any]:
    """Return a part of a preview by the kind of its template."""
    if isinstance(part, Picture):
        return "picture", f"data:image/png;base64,{base64.b64encode(part.png).decode()}"
    if isinstance(part, Grid):
        return "table", [[cut(cell) for cell in row[:_MOST_COLUMNS]] for row in (part.header, *part.rows)]
    return "text", "\n".join(part.text())


def _left_out(parts: tuple[Part, ...]) -> list[str]:
    """Say how many columns of a table are not shown."""
    numbers = [len(part.header) - _MOST_COLUMNS for part in parts if isinstance(part, Grid)]
    return [f"{counted(number, 'more column')} than are shown here" for number in numbers if number > 0]


def _member(whole: FileRef | DirectoryRef, path: str) -> FileRef | Subdirectory | DirectoryRef:
    if isinstance(whole, DirectoryRef):
        return whole / path
    raise LookupError("this is a file, and has no members")


def _drawing(used: Usage) -> tuple[str, str]:
    """Return the sums as a picture, and why there is none."""
    if not used.rows:
        return "", ""
    try:
        import matplotlib as mpl
    except ImportError:
        return "", f"To see it drawn: {pip_install('plot')}"
    from matplotlib.figure import Figure

    mpl.use("agg")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of letters that its font has not
        height = 1.2 + 0.3 * min(len(used.rows), 30) if "month" not in used.by else 4.0
        figure, png = Figure(figsize=(8, height), layout="constrained"), io.BytesIO()
        used.plot(figure.subplots())
        figure.savefig(png, format="png", dpi=110)
    return f"data:image/png;base64,{base64.b64encode(png.getvalue()).decode()}", ""


def _address(request: Request) -> Address:
    return Address(*(request.query_params.get(name, "") for name in ("schema", "table", "attribute")))


def _chosen(request: Request) -> dict[str, str]:
    """Return what the form of a table's files has."""
    return {
        name: text
        for name, text in request.query_params.items()
        if text.strip() and (name in WORDS or name == "linked" or name.startswith("key."))
    }


def _whole(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name, "")
    return int(text) if text.isdecimal() and len(text) < 10 else default


def _kind(wanted: str) -> str:
    """Return what people mean who say no more: digits of a hash, what has a slash in it, or a name."""
    if re.fullmatch(r"sha256:[0-9a-f]+|[0-9a-f]{8,64}", wanted, re.IGNORECASE):
        return "hash"
    return "path" if "/" in wanted else "name"


def _visible(value: Any) -> Any:
    """Return a text with escapes for letters that nobody sees, or that turn around what stands beside them."""
    return escaped(value) if type(value) is str else value
