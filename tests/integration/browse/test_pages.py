"""The pages show what is there, on each database, and run nothing of what rows, names and files say."""

from __future__ import annotations

import html
import io
import re
import uuid
from pathlib import Path
from typing import Any

import datajoint as dj
import httpx
import numpy as np
import pytest
from PIL import Image

import datajoint_file
from datajoint_file.browse.address import Address
from datajoint_file.browse.archive import Archive
from datajoint_file.journal.second_connection import second_connection_of
from tests.projects import Store, over_mysql
from tests.tables import recording_of

NAME = "<img src=x onerror=alert(1)>\"'&%0d%0a.csv"
EVIL = "<script>alert(1)</script>\"'\r\nSet-Cookie: a=b\u202e.csv"


def texts(page: str) -> str:
    """What a reader sees of a page, about."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page)).split())


def links(page: str) -> list[str]:
    return [html.unescape(found) for found in re.findall(r'href="([^"]*)"', page)]


def link_to(page: str, start: str) -> str:
    return next(link for link in links(page) if link.startswith(start))


def png() -> bytes:
    into = io.BytesIO()
    Image.fromarray(np.arange(256, dtype="uint8").reshape(16, 16)).save(into, "PNG")
    return into.getvalue()


def test_walking_from_the_schemas_to_a_file(site: httpx.Client, table: Any) -> None:
    table.insert1({"id": 7, "raw": ("trials.csv", b"trial,outcome\n1,hit\n"), "extra": ("a.png", png())})
    assert link_to(site.get("/").text, f"/tables?schema={table.database}")
    tables = site.get(f"/tables?schema={table.database}").text
    assert texts(site.get(link_to(tables, "/sum")).text) == "1 file, 20 B"
    listed = site.get(link_to(tables, "/files")).text
    assert "trials.csv" in texts(listed)
    page = site.get(link_to(listed, "/file?")).text
    seen = texts(page)
    assert "trial outcome 1 hit" in seen
    assert (table & {"id": 7}).fetch1("raw").hash in seen
    picture = site.get(Address(table.database, "Recording", "extra").url("file", (7,))).text
    assert 'src="data:image/png;base64,' in picture
    assert site.get(link_to(page, "/download")).content == b"trial,outcome\n1,hit\n"


def test_pages_of_files_follow_each_other(site: httpx.Client, table: Any) -> None:
    table.insert({"id": n, "raw": (f"{n}.dat", b"."), "extra": None} for n in range(120))
    url, seen = Address(table.database, "Recording", "raw").url("files"), list[str]()
    while url:
        page = site.get(url).text
        seen += re.findall(r"<bdi>(\d+)\.dat</bdi>", page)
        url = next((link for link in links(page) if "after=" in link), "")
    assert seen == [str(n) for n in range(120)]


CHOSEN: list[tuple[dict[str, str], list[str]]] = [
    ({"name": "*.dat"}, ["0.dat", "1.dat"]),
    ({"name": "notes"}, ["notes.txt"]),
    ({"suffix": ".txt"}, ["notes.txt"]),
    ({"size": ">1 kB"}, ["1.dat"]),
    ({"media_type": "text/*"}, ["notes.txt"]),
    ({"stored": "<2020"}, []),
    ({"linked": "no", "size": "<10"}, ["0.dat", "notes.txt"]),
    ({"title": "pilot"}, ["notes.txt"]),
    ({"key.id": "1"}, ["1.dat"]),
    ({"key.id": "1", "suffix": ".txt"}, []),
]
MISTAKES = [
    ({"size": "many"}, "expected"),
    ({"key.id": "x OR 1=1"}, "expected a number"),
    ({"key.id": "nan"}, "expected a number"),
    ({"key.id": "inf"}, "expected a number"),
    ({"key.id": "1_0"}, "expected a number"),
    ({"key.id": "٣"}, "expected a number"),
    ({"stored": "soon"}, "expected a time"),
]


def test_files_are_chosen_by_key_and_by_what_rows_say(site: httpx.Client, table: Any) -> None:
    table.insert({"id": n, "raw": (f"{n}.dat", b"." * 10 ** (4 * n)), "extra": None} for n in range(2))
    notes = datajoint_file.File(b"12", name="notes.txt", title="a pilot")
    table.insert1({"id": 2, "raw": notes, "extra": None})
    address = Address(table.database, "Recording", "raw")
    for chosen, expected in CHOSEN:
        page = site.get(address.url("files", **chosen))
        assert page.status_code == 200
        assert re.findall(r"<bdi>([\w.]+\.(?:dat|txt))</bdi>", page.text) == expected
        assert site.get(address.url("sum", **chosen)).text.startswith(f"{len(expected)} file"), chosen
    for chosen, said in MISTAKES:
        page = site.get(address.url("files", **chosen))
        assert page.status_code == 400
        assert said in texts(page.text)
        assert html.escape(next(iter(chosen.values()))) in page.text, "it stands in the form again"


KEYS = "name : varchar(60)\nday : date\nat : datetime(3)\nratio : decimal(6,3)\n{more}---\nraw : file"


def test_rows_of_any_key_are_found_again_by_page_and_by_python(site: httpx.Client, schema: Any) -> None:
    is_mysql = schema.connection.adapter.backend == "mysql"  # DataJoint inserts no UUID into PostgreSQL
    table = recording_of(schema, KEYS.format(more="who : uuid\n" if is_mysql else ""), "Visit")
    more = {"who": uuid.UUID(int=2**100)} if is_mysql else {}
    key = {
        "name": 'it\'s 100% "a/b" é',
        "day": "2026-01-15",
        "at": "2026-01-15 10:30:00.125",
        "ratio": "1.500",
        **more,
    }
    table.insert1({**key, "raw": ("a.txt", b"found again")})
    listed = site.get(Address(schema.database, "Visit", "raw").url("files")).text
    page = site.get(link_to(listed, "/file?")).text
    assert "found again" in texts(page)
    copied = [html.unescape(text) for text in re.findall(r'data-copy="([^"]*)"', page)]
    assert copied[0] == table.fetch1("raw").full_path
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dj, "virtual_schema", lambda name: dj.VirtualModule(name, name, connection=schema.connection))
        assert eval(copied[1], {"dj": dj}) == table.fetch1("raw")
    hits = site.get(f"/search?q={table.fetch1('raw').hash}").text
    assert "found again" in texts(site.get(link_to(hits, "/file?")).text)


@over_mysql
def test_directories_are_walked_into(site: httpx.Client, table: Any, tmp_path: Path) -> None:
    (tmp_path / "run" / "raw 1").mkdir(parents=True)
    (tmp_path / "run" / "raw 1" / "a&b.txt").write_bytes(b"within")
    (tmp_path / "run" / "params.py").write_bytes(b"x = 1")
    table.insert1({"id": 1, "raw": tmp_path / "run", "extra": None})
    address = Address(table.database, "Recording", "raw")
    whole = site.get(address.url("file", (1,))).text
    assert "params.py" in texts(whole)
    inner = site.get(next(link for link in links(whole) if "raw%201" in link)).text
    page = site.get(next(link for link in links(inner) if "a%26b" in link)).text
    assert "within" in texts(page)
    assert site.get(link_to(page, "/download")).content == b"within"
    assert site.get(address.url("download", (1,))).status_code == 404
    for member in ("../../x", "raw 1/../../x", "/etc/passwd", "nothing", "raw 1/a&b.txt/x"):
        assert site.get(address.url("file", (1,), member=member)).status_code in (400, 404), member
        assert site.get(address.url("download", (1,), member=member)).status_code in (400, 404), member


def test_searches_by_name_hash_path_and_url(site: httpx.Client, table: Any) -> None:
    name = f"{table.database}-run.dat"
    table.insert1({"id": 1, "raw": (name, table.database.encode()), "extra": None})
    ref = table.fetch1("raw")
    for wanted in (name, "schema_*-run.dat", ref.hash, ref.hash[7:20], ref.path, ref.url, ref.full_path):
        page = site.get("/search", params={"q": wanted}).text
        assert name in re.findall(r"<bdi>([^<]*)</bdi></a>", page), wanted
    assert "No row has a file" in texts(site.get("/search?q=0123456789abcdef").text)
    assert site.get("/search", params={"q": "xyz", "by": "hash"}).status_code == 400


def test_sums_by_group_are_drawn(site: httpx.Client, table: Any) -> None:
    table.insert({"id": n, "raw": (f"{n}.dat", b"." * 100), "extra": None} for n in range(3))
    for by in ("id", "month", "attribute", "table", "id, month"):
        page = site.get("/usage", params={"schema": table.database, "by": by}).text
        assert "total 3 300 B" in texts(page).replace("total of 3 groups", "total"), by
        assert 'src="data:image/png;base64,' in page
    assert site.get("/usage", params={"schema": table.database, "by": "colour"}).status_code == 400
    assert table.database in site.get("/usage").text


@over_mysql
def test_history_tags_and_source_stand_beside_the_file(site: httpx.Client, table: Any) -> None:
    table.insert1({"id": 1, "raw": ("before.dat", b"1"), "extra": None})
    table.update1({"id": 1, "raw": ("after.dat", b"2")})
    datajoint_file.tag(table & "id = 1", "good")
    seen = texts(site.get(Address(table.database, "Recording", "raw").url("file", (1,))).text)
    assert "before.dat" in seen
    assert "tags good" in seen
    assert "Where it comes from" in seen


@over_mysql
def test_a_store_that_is_away_and_files_that_are_gone_are_said(site: httpx.Client, table: Any, store: Store) -> None:
    table.insert1({"id": 1, "raw": ("a.csv", b"a,b\n1,2\n"), "extra": ("b.csv", b"b")})
    store.remove(table.fetch1("raw").path)
    address = Address(table.database, "Recording", "raw")
    page = site.get(address.url("file", (1,)))
    assert page.status_code == 200
    assert "What is in it cannot be shown" in page.text
    assert site.get(address.url("download", (1,))).status_code == 502
    away = Path(store.table["path"]).rename(Path(store.table["path"]).with_name("away"))
    for url in (address.url("files"), address.url("file", (1,)), address.of("extra").url("file", (1,))):
        page = site.get(url)
        assert page.status_code == 200
        assert "Traceback" not in page.text
    assert site.get(address.of("extra").url("download", (1,))).status_code == 502
    away.rename(store.table["path"])


def test_what_a_user_may_not_read_is_said(site: httpx.Client, table: Any) -> None:
    page = site.get("/tables?schema=no_such_schema")
    assert (page.status_code, "there is no schema" in texts(page.text)) == (404, True)
    for url in (
        "/files",
        "/file",
        "/download",
        "/nowhere",
        "/static/pages.py",
        "/static/..%2fguard.py",
        "/usage?schema=x",
    ):
        page = site.get(url)
        assert page.status_code in (400, 404), url
        assert "Traceback" not in page.text
    for key in ("", "[", "[[]]", '[{"a": 1}]', "[1, 2]", '[["bytes"]]', '["x"]', "[999]", "[" * 9999):
        page = site.get(Address(table.database, "Recording", "raw").url("file", key=key))
        assert page.status_code in (400, 404), key


@over_mysql
def test_names_keys_and_titles_are_text(site: httpx.Client, schema: Any) -> None:
    table = recording_of(schema, "name : varchar(90)\n---\nraw : file", "Named")
    file = datajoint_file.File(f"a,{EVIL}\n1,2".encode(), name=NAME, title="<b>bold</b>")
    table.insert1({"name": EVIL, "raw": file})
    address = Address(schema.database, "Named", "raw")
    listed = site.get(address.url("files", name="<img", **{"key.name": EVIL}))
    found = site.get(link_to(listed.text, "/file?"))
    searched = site.get("/search", params={"q": EVIL, "by": "name"})
    for page in (listed, found, searched, site.get("/search", params={"q": EVIL, "by": "path"})):
        assert page.status_code < 500
        assert "<script>alert" not in page.text
        assert "<img src=x" not in page.text
        assert "<b>" not in page.text
        assert "\u202e" not in page.text
        assert "set-cookie" not in page.headers
    assert "<script>alert(1)</script>" in texts(found.text)
    loaded = site.get(link_to(found.text, "/download"))
    assert loaded.headers["content-disposition"].isascii()
    assert "set-cookie" not in loaded.headers
    assert loaded.headers["content-type"] == "application/octet-stream"


@over_mysql
def test_markup_of_files_is_shown_as_text(site: httpx.Client, table: Any) -> None:
    for number, name in enumerate(("a.html", "a.svg", "a.xhtml", "a.js")):
        table.insert1(
            {"id": number, "raw": (name, b"<svg onload=alert(1)><script>alert(2)</script></svg>"), "extra": None}
        )
        address = Address(table.database, "Recording", "raw")
        page = site.get(address.url("file", (number,)))
        assert page.headers["content-type"].startswith("text/html")
        assert "<svg" not in page.text
        loaded = site.get(address.url("download", (number,)))
        assert loaded.headers["content-type"] == "application/octet-stream"
        assert loaded.headers["content-disposition"].startswith("attachment")


@over_mysql
def test_rows_that_describe_no_file_do_not_break_a_page(site: httpx.Client, table: Any) -> None:
    table.insert({"id": n, "raw": (f"{n}.dat", b"."), "extra": None} for n in range(2))
    table.connection.query(f"UPDATE {table.full_table_name} SET raw = '{{\"path\": 3}}' WHERE id = 0")
    address = Address(table.database, "Recording", "raw")
    listed = site.get(address.url("files"))
    assert "describes no file" in listed.text
    assert "1.dat" in listed.text
    assert "describes no file" in site.get(address.url("file", (0,))).text
    assert "no file there" in site.get(address.of("extra").url("file", (1,))).text
    assert site.get(address.url("download", (0,))).status_code == 404


@over_mysql
def test_a_connection_that_was_cut_is_made_again(site: httpx.Client, archive: Archive, table: Any) -> None:
    table.insert1({"id": 1, "raw": ("a.dat", b"1"), "extra": None})
    address = Address(table.database, "Recording", "raw")
    urls = ("/", address.url("files"), address.url("file", (1,)), address.url("usage"), "/search?q=a.dat")
    assert [site.get(url).status_code for url in urls] == [200] * len(urls)
    asked = "SELECT CONNECTION_ID()"
    for connection in (lane._connection for lane in (archive._pages, archive._searches, archive._sums)):
        numbers = connection.query(asked).fetchall() + tuple(second_connection_of(connection).query(asked))
        for (number,) in numbers:
            table.connection.query(f"KILL {number}")
    seen = [site.get(url) for url in urls]
    assert [page.status_code for page in seen] == [200] * len(urls)
    assert "cannot be read" not in "".join(page.text for page in seen)


@over_mysql
def test_wide_tables_and_long_cells_are_cut_and_facts_stand_alone(site: httpx.Client, table: Any) -> None:
    wide = b",".join(b"c%d" % number for number in range(5000)) + b"\n" + b"x" * 5000
    objects = io.BytesIO()
    np.save(objects, np.array([None, "a"], dtype=object))
    table.insert1({"id": 1, "raw": ("wide.csv", wide), "extra": ("objects.npy", objects.getvalue())})
    address = Address(table.database, "Recording", "raw")
    page = site.get(address.url("file", (1,))).text
    assert page.count("<th>") == 100
    assert "4,900 more columns than are shown here" in texts(page)
    assert f"{'x' * 159}…" in texts(page)
    assert "x" * 160 not in page
    preview = (table & "id = 1").fetch1("extra").preview()
    assert not preview.parts
    assert ", ".join(preview.facts) in texts(site.get(address.of("extra").url("file", (1,))).text)
