"""`where` on real databases: the same rows as a filter in Python, whatever names and JSON there are."""

from __future__ import annotations

import json
import operator
import os
import re
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from typing import Any

import datajoint as dj
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import datajoint_file
from datajoint_file import where
from datajoint_file.errors import QueryError
from datajoint_file.sql import MariaDB, dialect_of
from tests.projects import DATABASES, connect, unique
from tests.tables import drop_schema

EXAMPLES = (
    settings(max_examples=500)
    if os.environ.get("HYPOTHESIS_PROFILE") == "thorough"
    else settings(max_examples=60, derandomize=True)
)
HASHES = [f"sha256:{digit * 64}" for digit in "0af"]
PIECES = [
    "a", "A", "é", "e\u0301", "ß", "ss", "😀", "日本", "%", "_", "\\", "'", '"', "|", "*", "?", "[x]", "`", "{}", " ",
    "..", ".", ".dat", ".DAT", ".ome.tif", "\u00a0", "$", "--", ";", "\\'", '\\"', "%s", "%%", "null", "true",
]  # fmt: skip
NAMES = [
    "rec.dat",
    "rec.DAT",
    "a.ome.tif",
    ".hidden",
    "..a",
    "a.",
    "a..",
    "noext",
    "50%_\\'\".dat",
    "rec .dat",
    "ré.dat",
    "x😀.tif",
]
TIMES = [
    "2025-12-31T23:59:59Z",
    "2026-01-01T00:00:00Z",
    "2026-01-01T10:30:00Z",
    "2026-02-28T12:00:00Z",
    "2027-07-01T00:00:01Z",
]
SIZES = [0, 1, 999, 1000, 1001, 10**6, 1_500_000_000, 10**15]


def file_json(number: int, name: str, **members: Any) -> dict[str, Any]:
    """Return what this package writes into a row."""
    return {
        "path": f"lab/ephys/objects/Recording-raw/{number:026d}/{number}",
        "size": SIZES[number % len(SIZES)],
        "hash": HASHES[number % len(HASHES)],
        "original_name": name,
        "timestamp": TIMES[number % len(TIMES)],
        **members,
    }


JUNK: list[Any] = [
    [], {}, "text", 7, True, 0.5, [[1]], [{"original_name": "rec.dat", "size": 1000}],
    {"original_name": 5, "size": "1000", "hash": None, "timestamp": 0, "title": True, "linked": 1, "files": "x"},
    {"original_name": {"a": "rec.dat"}, "size": -1, "hash": [HASHES[0]], "timestamp": "yesterday", "files": 1.5},
    {"original_name": ["rec.dat"], "size": 1000.5, "hash": HASHES[0] + " ", "timestamp": "2026-01-01T10:30:00+00:00"},
    {"original_name": True, "size": True, "hash": HASHES[0].upper(), "timestamp": "20xx-01-01T10:30:00Z", "path": 1},
    {"original_name": None, "size": None, "hash": "sha256:0", "timestamp": None, "title": None, "path": "x"},
    {"original_name": "", "size": 10**30, "title": "", "linked": {}, "timestamp": "2026-01-01 10:30:00", "path": None},
    {"original_name": "null", "title": "null", "mime_type": "true", "linked": "nas/x/", "path": "", "size": [1000]},
]  # fmt: skip


def documents() -> list[Any]:
    """Return what rows hold: files with all kinds of names, directories, links, no file, and what is none of ours."""
    names = [*NAMES, *(a + b for i, a in enumerate(PIECES) for b in PIECES[i % 3 :: 3])]
    made: list[Any] = []
    for number, name in enumerate(names):
        members: dict[str, Any] = {}
        if number % 2:
            members["mime_type"] = ["image/tiff", "image/png", "IMAGE/png", "text/plain; charset=utf-8"][number % 4]
        if number % 3 == 1:
            members["title"] = [name, "A title", "a title ", "50% off"][number % 4]
        if number % 5 == 1:
            members |= {"files": number % 20, "format": 2, "linked": "nas/x/" if number % 2 else None}
        if number % 7 == 3:
            members |= {"linked": bool(number % 2)}
        made.append(file_json(number, name, **members))
    return [*made, *JUNK, None]


DOCUMENTS = documents()
"""The row's number is the place in this; that of JSON null and of SQL's NULL come last."""
NO_FILE = [len(DOCUMENTS) - 1, len(DOCUMENTS)]


@pytest.fixture(scope="module", params=DATABASES)
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A table with all of `DOCUMENTS`, and two small ones beside it, written past the package."""
    instance = connect(request.getfixturevalue(request.param))
    storage = {"backend": "file", "path": str(tmp_path_factory.mktemp("store"))}
    datajoint_file.configure({"project": {"name": unique("project")}, "storage": storage}, connection=instance)
    schema = instance.Schema(unique("schema"))

    @schema
    class Recording(dj.Manual):
        definition = "id : int32\n---\nraw = null : file\nnote = '' : varchar(20)"

    @schema
    class Trial(dj.Manual):
        definition = "-> Recording\ntrial : int32\n---\nraw = null : file"

    @schema
    class Event(dj.Manual):
        definition = "-> Recording\nevent : int32"

    rows = [*enumerate(json.dumps(one, ensure_ascii=number % 2 == 0) for number, one in enumerate(DOCUMENTS))]
    quoted, sub = dj_name(Recording), dj_name(Trial)
    raw = instance.connection.adapter.quote_identifier("raw")
    run = instance.connection.query
    for number, text in [*rows, (len(DOCUMENTS), None)]:
        run(f"INSERT INTO {quoted} (id, {raw}) VALUES (%s, %s)", (number, text))
    for number in range(0, 12, 2):
        text = json.dumps(file_json(number, "trial.dat"))
        run(f"INSERT INTO {sub} (id, trial, {raw}) VALUES (%s, 1, %s)", (number, text))
    Event.insert({"id": number, "event": 1} for number in range(0, 12, 2))
    Recording.Trial, Recording.Event = Trial, Event
    yield Recording
    instance.connection.query("SELECT 1")
    drop_schema(instance.connection, schema.database)
    instance.connection.close()


def dj_name(table: Any) -> str:
    return str(table().full_table_name)


def numbers(query: Any) -> list[int]:
    return sorted(int(number) for number in query.to_arrays("id"))


# --- the filter in Python

Predicate = Callable[[Any], bool]


def member(document: Any, name: str) -> Any:
    return document.get(name) if isinstance(document, dict) else None


def is_file(document: Any) -> bool:
    return isinstance(member(document, "path"), str)


def on_text(name: str, is_so: Callable[[str], bool]) -> Predicate:
    return lambda document: isinstance(member(document, name), str) and is_so(member(document, name))


def on_number(name: str, is_so: Callable[[int], bool]) -> Predicate:
    def judged(document: Any) -> bool:
        value = member(document, name)
        return type(value) is int and 0 <= value < 10**18 and is_so(value)

    return judged


def split(name: str) -> tuple[str, str]:
    dot = name.rfind(".")
    return (name[:dot], name[dot:]) if 0 < dot < len(name) - 1 else (name, "")


def globbed(glob: str, any_character: str = "?", any_characters: str = "*") -> re.Pattern[str]:
    translated = (".*" if c == any_characters else "." if c == any_character else re.escape(c) for c in glob)
    return re.compile("".join(translated), re.DOTALL)


OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "": operator.eq, "=": operator.eq
}  # fmt: skip

ALL_NAMES = [one["original_name"] for one in DOCUMENTS if isinstance(member(one, "original_name"), str)]
TITLES = sorted({one["title"] for one in DOCUMENTS if isinstance(member(one, "title"), str)})


@st.composite
def globs(draw: Any, texts: list[str]) -> str:
    """A text of the rows, with parts of it replaced by what stands for them."""
    text = draw(st.sampled_from(texts))
    start, end = sorted(draw(st.tuples(*[st.integers(0, len(text))] * 2)))
    made = draw(
        st.sampled_from([text, f"{text[:start]}*{text[end:]}", f"{text[:start]}{'?' * (end - start)}{text[end:]}"])
    )
    return str(made).replace("[", "?")


@st.composite
def text_cases(draw: Any) -> tuple[str, Any, Predicate]:
    keyword, name, texts = draw(
        st.sampled_from(
            [
                ("name", "original_name", ALL_NAMES),
                ("title", "title", TITLES),
                ("media_type", "mime_type", ["image/png", "text/plain; charset=utf-8"]),
            ]
        )
    )
    glob = draw(globs(texts))
    return keyword, glob, on_text(name, lambda text: globbed(glob).fullmatch(text) is not None)


@st.composite
def like_cases(draw: Any) -> tuple[str, Any, Predicate]:
    text = draw(st.sampled_from(ALL_NAMES))
    start, end = sorted(draw(st.tuples(*[st.integers(0, len(text))] * 2)))
    literal = re.compile(r"[\\%_]")
    before, after = (literal.sub(r"\\\g<0>", part) for part in (text[:start], text[end:]))
    middle = draw(st.sampled_from(["%", "_" * (end - start)]))
    expected = re.compile(
        re.escape(text[:start]) + (".*" if middle == "%" else "." * len(middle)) + re.escape(text[end:]), re.DOTALL
    )
    return "like", before + middle + after, on_text("original_name", lambda name: expected.fullmatch(name) is not None)


@st.composite
def part_cases(draw: Any) -> tuple[str, Any, Predicate]:
    stem, suffix = split(draw(st.sampled_from([name for name in ALL_NAMES if not re.search(r"[*?]", name)])))
    if draw(st.booleans()):
        return "suffix", suffix, on_text("original_name", lambda name: split(name)[1] == suffix)
    return "stem", stem, on_text("original_name", lambda name: split(name)[0] == stem)


@st.composite
def number_cases(draw: Any) -> tuple[str, Any, Predicate]:
    keyword = draw(st.sampled_from(["size", "files"]))
    sign = draw(st.sampled_from(sorted(OPERATORS)))
    number = draw(st.sampled_from([*SIZES, -3, 7, 10, 0.5, 10**30]))
    text, unit = str(number), 1
    if keyword == "size" and number > 0 and draw(st.booleans()):
        text, unit = draw(st.sampled_from([("1 kB", 1000), ("1.5 GB", 1_500_000_000), ("1MB", 10**6), ("1e3", 1000)]))
        number = 1
    is_so = OPERATORS[sign]
    value = number if sign == "" and unit == 1 and draw(st.booleans()) else f"{sign}{text}"
    return keyword, value, on_number(keyword, lambda found: is_so(found, number * unit))


@st.composite
def time_cases(draw: Any) -> tuple[str, Any, Predicate]:
    sign = draw(st.sampled_from(sorted(OPERATORS)))
    text, start, end = draw(
        st.sampled_from(
            [
                ("2026", "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"),
                ("2025-12", "2025-12-01T00:00:00Z", "2026-01-01T00:00:00Z"),
                ("2026-01-01", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"),
                ("2026-01-01 10:30", "2026-01-01T10:30:00Z", "2026-01-01T10:31:00Z"),
                ("2026-01-01T00:59:59+01:00", "2025-12-31T23:59:59Z", "2026-01-01T00:00:00Z"),
                ("2026-02-28T12:00:00Z", "2026-02-28T12:00:00Z", "2026-02-28T12:00:01Z"),
            ]
        )
    )
    is_so: dict[str, Callable[[str], bool]] = {
        "<": lambda moment: moment < start,
        "<=": lambda moment: moment < end,
        ">": lambda moment: moment >= end,
        ">=": lambda moment: moment >= start,
        "": lambda moment: start <= moment < end,
        "=": lambda moment: start <= moment < end,
    }
    within = is_so[sign]
    return "stored", f"{sign}{text}", on_text("timestamp", lambda moment: moment in TIMES and within(moment))


def _is_linked(document: Any) -> bool:
    return member(document, "linked") is True or isinstance(member(document, "linked"), str)


def _lacks(name: str) -> Predicate:
    return lambda document: is_file(document) and member(document, name) is None


OTHER_CASES: list[tuple[str, Any, Predicate]] = [
    ("linked", True, _is_linked),
    ("linked", False, lambda document: is_file(document) and not _is_linked(document)),
    *(("hash", digest, on_text("hash", partial(operator.eq, digest))) for digest in HASHES),
    ("title", None, _lacks("title")),
    ("media_type", None, _lacks("mime_type")),
    ("files", None, _lacks("files")),
    ("name", None, _lacks("original_name")),
]
CASES = st.one_of(text_cases(), like_cases(), part_cases(), number_cases(), time_cases(), st.sampled_from(OTHER_CASES))


@settings(EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(cases=st.lists(CASES, min_size=1, max_size=2), others=st.lists(text_cases(), max_size=2))
def test_the_same_rows_as_of_a_filter_in_python(lab: Any, cases: list[Any], others: list[Any]) -> None:
    """Of all that is given each, and of what is in a list any."""
    given_ = {keyword: value for keyword, value, _ in cases}
    judges = [judge for keyword, value, judge in {keyword: case for case in cases for keyword in case[:1]}.values()]
    expected = {n for n, one in enumerate(DOCUMENTS) if all(judge(one) for judge in judges)}
    condition = where("raw", **given_)
    assert numbers(lab & condition) == sorted(expected)
    assert numbers(lab - condition) == sorted({*range(len(DOCUMENTS) + 1)} - expected)
    listed = [condition, *(where("raw", **{keyword: value}) for keyword, value, _ in others)]
    wider = expected | {n for n, one in enumerate(DOCUMENTS) if any(judge(one) for _, _, judge in others)}
    assert numbers(lab & listed) == sorted(wider)
    assert numbers(lab & dj.Not(listed)) == sorted({*range(len(DOCUMENTS) + 1)} - wider)


def test_it_restricts_wherever_datajoint_restricts(lab: Any) -> None:
    dat, big = where("raw", suffix=".dat"), where("raw", size=">1e6")
    chosen = numbers(lab & dat)
    assert (
        numbers(lab() & dat & big)
        == numbers(lab & dj.AndList([dat, big]))
        == numbers(lab & where("raw", suffix=".dat", size=">1e6"))
    )
    assert numbers(lab & [dat, big]) == sorted({*chosen, *numbers(lab & big)})
    assert numbers(lab & dj.Not(dj.Not(dat))) == chosen
    assert numbers(lab & dj.Not(dat)) == numbers(lab - dat)
    assert numbers(lab & dat & dj.Top(3, "id DESC")) == chosen[-3:]
    assert numbers((lab & dj.Top(5, "id")) & dat) == [n for n in chosen if n < 5]
    assert numbers(lab & (lab.Trial.proj(x="raw") & where("x", name="trial.dat"))) == [*range(0, 12, 2)]
    renamed = lab.proj(file="raw", twice="2 * id")
    assert numbers(renamed & where("file", suffix=".dat")) == chosen
    joined = renamed * lab.Trial
    assert numbers(joined & where("file", suffix=".dat") & where("raw", stem="trial")) == [
        n for n in chosen if n in range(0, 12, 2)
    ]
    assert numbers((lab & dat).proj() + (lab & big).proj()) == numbers(lab & [dat, big])
    assert len(dj.U("note") & (lab & dat)) == 1
    counted = lab.aggr(lab.Event, "raw", events="count(event)")
    if isinstance(dialect_of(lab.connection), MariaDB):
        return  # which refuses such a query of DataJoint's, restricted or not
    assert sorted(row["id"] for row in (counted & dat).to_dicts()) == chosen
    assert sorted(row["id"] for row in (counted & dat & "events = 1").to_dicts()) == [
        n for n in chosen if n in range(0, 12, 2)
    ]


def test_no_file_and_some_file(lab: Any) -> None:
    everything = [*range(len(DOCUMENTS) + 1)]
    assert numbers(lab & where("raw", None)) == NO_FILE
    assert numbers(lab & where("raw")) == [n for n in everything if n not in NO_FILE]
    assert numbers(lab - where("raw", None)) == numbers(lab & where("raw"))
    assert numbers(lab & where("raw", name=[])) == []


def test_several_values_and_ranges(lab: Any) -> None:
    assert numbers(lab & where("raw", suffix=[".dat", ".tif"])) == numbers(
        lab & [where("raw", suffix=".dat"), where("raw", suffix=".tif")]
    )
    assert numbers(lab & where("raw", title=[None, "A*"])) == numbers(
        lab & [where("raw", title=None), where("raw", title="A*")]
    )
    within = lab & where("raw", size=(">=1 kB", "<1e6"))
    assert {one["size"] for one in map(DOCUMENTS.__getitem__, numbers(within))} == {1000, 1001}
    day = lab & where("raw", stored=(">2026-01-01", "<2026-03-01T00:00:00Z"))
    assert {DOCUMENTS[n]["timestamp"] for n in numbers(day)} == {"2026-02-28T12:00:00Z"}
    assert numbers(lab & where("raw", stored=datetime(2026, 1, 1, 10, 30))) == numbers(
        lab & where("raw", stored=TIMES[2])
    )


def test_what_is_no_file_attribute_is_refused_by_name(lab: Any) -> None:
    with pytest.raises(QueryError, match=r"Recording has no `file` attribute 'row'; did you mean 'raw'"):
        lab & where("row", name="*")
    with pytest.raises(QueryError, match=r"no `file` attribute 'note'; there are raw"):
        lab & [where("note", name="*")]
    with pytest.raises(QueryError, match="no `file` attribute 'raw', and no other"):
        lab.proj() & where("raw", None)


def test_a_delete_takes_the_rows_that_it_names_and_their_children(schema: dj.Schema) -> None:
    """DataJoint passes the restriction on as text, where it doubles percent signs and looks for attributes."""

    @schema
    class Session(dj.Manual):
        definition = "k : int32\n---\nraw : file"

    @schema
    class Scan(dj.Manual):
        definition = "-> Session\n---\nraw : file"

    names, title = ['50% it\'s "x".dat', '50 it\'s "x".dat', "café.dat"], "a \\ 'b' % \\"
    Session.insert(
        {"k": k, "raw": datajoint_file.File(b"session", name=name, title=title)} for k, name in enumerate(names)
    )
    Scan.insert({"k": k, "raw": ("scan.dat", b"scan")} for k in range(3))
    (Session & where("raw", name=names[0], title=title)).delete(prompt=False)
    assert Session.to_arrays("k").tolist() == Scan.to_arrays("k").tolist() == [1, 2]
    others = where("raw", suffix=[".dat"], like="50%", stored=">2020", size="<1 GB", linked=False)
    (Session - others).delete(prompt=False)
    assert Session.to_arrays("k").tolist() == Scan.to_arrays("k").tolist() == [1]
    (Scan & where("raw", title=None, hash=(Scan.fetch1("raw").hash))).delete(prompt=False)
    assert len(Scan()) == 0
    assert len(Session()) == 1
