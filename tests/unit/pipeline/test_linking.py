"""Where a link is: below which of several roots, what rows call it, and what is said of one that is below none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from datajoint_file.config import parse_settings
from datajoint_file.errors import DataJointFileError, UnknownRootError, UnsafeNameError, UnsafePathError
from datajoint_file.pipeline.linking import located
from datajoint_file.pipeline.lookup import has_same_root, remember
from datajoint_file.pipeline.pipeline import Pipeline
from datajoint_file.transfer.links import Link
from datajoint_file.transfer.sources import as_source

ROOTS: dict[str, Any] = {
    "nas": {"path": "nas"},
    "rig": {"path": "nas/rig"},
    "alone": {"path": "alone"},
    "s3": {"url": "s3://lab/raw"},
    "gcs": {"url": "gs://lab/raw"},
    "azure": {"url": "az://lab"},
    "sftp": {"backend": "sftp", "path": "/data", "options": {"host": "files.example.org"}},
    "web": {"backend": "https", "path": "https://lab.org/raw"},
    "hidden": {"backend": "s3", "bucket": "${env:DJF_NOT_SET}"},
}


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    for name in ("nas/rig/day 1", "nas/lab/incoming"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("nas/a.dat", "nas/rig/day 1/a.dat", "nas/lab/incoming/.a.dat", "elsewhere.dat"):
        (tmp_path / name).write_bytes(b"x")
    storage = {"backend": "file", "path": "nas/lab"}
    tables = {"project": {"name": "lab"}, "storage": storage, "roots": ROOTS}
    return Pipeline(parse_settings(tables, "the test", tmp_path))


def link_of(pipeline: Pipeline, address: str) -> str:
    return located(pipeline.stores, as_source(Link(address))).link


@pytest.mark.parametrize(
    ("address", "link"),
    [
        ("{here}/nas/a.dat", "nas/a.dat"),
        ("file://{here}/nas/a.dat", "nas/a.dat"),
        ("{here}/nas/rig/../a.dat", "nas/a.dat"),
        ("{here}/nas/rig/day 1/a.dat", "rig/day%201/a.dat"),
        ("{here}/nas/lab/incoming/.a.dat", "lab/incoming/.a.dat"),
        ("{here}/nas/rig/day 1", "rig/day%201/"),
        ("s3://lab/raw/a b/c#1.dat", "s3/a%20b/c%231.dat"),
        ("s3a://lab/raw/x.dat", "s3/x.dat"),
        ("gs://lab/raw/x.dat", "gcs/x.dat"),
        ("gcs://lab/raw/x.dat", "gcs/x.dat"),
        ("abfs://lab/x/y.dat", "azure/x/y.dat"),
        ("sftp://files.example.org/data/x.dat", "sftp/x.dat"),
        ("https://lab.org/raw/day 1/x.dat", "web/day%201/x.dat"),
    ],
)
def test_link_is_named_by_the_innermost_root(pipeline: Pipeline, tmp_path: Path, address: str, link: str) -> None:
    assert link_of(pipeline, address.format(here=tmp_path)) == link


@pytest.mark.parametrize(
    ("address", "lines"),
    [
        ("{here}/elsewhere.dat", ["# where files are that stay where they are", "[roots.{name}]", 'path = "{here}"']),
        (
            "s3://other/raw data/x.dat",
            [
                "# where files are that stay where they are",
                "[roots.raw_data]",
                'url = "s3://other/raw data"',
                "# and endpoint_url, if it is not Amazon's, credentials, if it needs any, as in [storage]",
            ],
        ),
        (
            "sftp://me:CANARY@elsewhere.org/data/x.dat?token=CANARY",
            ["[roots.data]", 'backend = "sftp"', 'path = "elsewhere.org/data"'],
        ),
        (
            "s3://lab/raws/x.dat",
            [
                "# where files are that stay where they are",
                "[roots.raws]",
                'url = "s3://lab/raws"',
                "# and endpoint_url, if it is not Amazon's, credentials, if it needs any, as in [storage]",
            ],
        ),
        ("http://lab.org/a/x.dat", ["[roots.a]", 'backend = "http"', 'path = "http://lab.org/a"']),
    ],
)
def test_error_for_what_is_below_no_root_has_lines_to_paste(
    pipeline: Pipeline, tmp_path: Path, address: str, lines: list[str]
) -> None:
    with pytest.raises(UnknownRootError) as caught:
        link_of(pipeline, address.format(here=tmp_path))
    told, _, toml = str(caught.value).partition("\n\n")
    name = "".join(letter if letter.isalnum() else "_" for letter in tmp_path.name)
    assert toml.splitlines() == [line.format(here=tmp_path, name=name) for line in lines]
    assert f"lab ({tmp_path}/nas/lab)" in told
    assert "s3 (s3://lab/raw)" in told
    assert "CANARY" not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "error"),
    [
        ("s3://lab/raw/../secret.dat", UnsafePathError),
        ("s3://lab/raw/a\\b.dat", UnsafeNameError),
        ("s3://lab/raw/a//b.dat", UnsafeNameError),
        ("{here}/nas", UnsafePathError),
        ("s3://lab/raw/x.dat?X-Amz-Date=1&X-Amz-Signature=CANARY", UnsafePathError),
        ("az://lab/x.dat?sv=2022&sig=CANARY", UnsafePathError),
    ],
)
def test_what_no_row_could_name_is_no_link(
    pipeline: Pipeline, tmp_path: Path, address: str, error: type[Exception]
) -> None:
    with pytest.raises(error) as caught:
        link_of(pipeline, address.format(here=tmp_path))
    assert "CANARY" not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("{here}/alone", "is the root 'alone' itself"),
        ("s3://lab/raw/", "is the root 's3' itself"),
        ("nas://rig 3/run1.dat", r"'nas' is the name of a root, .*give the path or URL itself, .*/nas/"),
        ("{here}/away/rig 3/run1.dat", r"run1.dat does not exist; nor does {here}/away: is its disk mounted"),
    ],
)
def test_error_says_what_somebody_has_taken_for_a_link(
    pipeline: Pipeline, tmp_path: Path, address: str, said: str
) -> None:
    (tmp_path / "alone").mkdir()
    with pytest.raises(DataJointFileError, match=said.format(here=tmp_path)):
        link_of(pipeline, address.format(here=tmp_path))


def test_root_is_the_same_where_it_is_the_same_place(pipeline: Pipeline) -> None:
    roots = {**ROOTS, "nas": {"path": "other"}}
    tables = {"project": {"name": "lab"}, "storage": {"backend": "file", "path": "nas/lab"}, "roots": roots}
    remember("test_linking", Pipeline(parse_settings(tables, "other", pipeline.settings.directory)))
    assert has_same_root("test_linking", pipeline, "rig/x.dat")
    assert not has_same_root("test_linking", pipeline, "nas/x.dat")
    assert has_same_root("nobody knows this one", pipeline, "nas/x.dat")


@pytest.mark.parametrize(
    ("root", "name"),
    [
        ("nas/lab/ephys", "objects/Recording-raw/aaaabbbbccccdddd-aaaabbbbccccddddeeeeffffgg/a.dat"),
        ("nas/lab/ephys/objects", "Recording-raw/aaaabbbbccccdddd-aaaabbbbccccddddeeeeffffgg/a.dat"),
        ("nas/lab/ephys/objects", "Recording-raw"),
        ("nas/lab/ephys", "Objects/a.dat"),
        ("theirs/objects", "Recording-raw/aaaabbbbccccdddd-aaaabbbbccccddddeeeeffffgg/a.dat"),
        ("theirs/objects", "Recording-raw"),
    ],
)
def test_what_is_stored_is_no_link_wherever_its_root_begins(tmp_path: Path, root: str, name: str) -> None:
    stored = f"{root}/Recording-raw/aaaabbbbccccdddd-aaaabbbbccccddddeeeeffffgg/a.dat"
    for path in (stored, f"{root}/{name}" if name.endswith(".dat") else stored):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(b"x")
    tables: dict[str, Any] = {"project": {"name": "lab"}, "storage": {"backend": "file", "path": "nas/lab"}}
    tables["roots"] = {"inner": {"path": root}}
    pipeline = Pipeline(parse_settings(tables, "the test", tmp_path))
    with pytest.raises(UnsafePathError, match="is where the project keeps what is stored"):
        link_of(pipeline, f"{tmp_path}/{root}/{name}")


def test_a_link_shows_no_secret_of_its_url() -> None:
    shown = repr(Link("https://me:CANARY@lab.org/x.dat?sig=CANARY", title="Day 1"))
    assert shown == "Link('https://lab.org/x.dat', title='Day 1')"
    assert repr(Link(Path("/nas/a?b.dat"), hash="x")) == f"Link({Path('/nas/a?b.dat')!r}, hash='x')"
