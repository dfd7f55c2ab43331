"""``datajoint-file init``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from datajoint_file.config import load_settings
from datajoint_file.journal.store_marks import Identity, Mark, MarkStore, Registration
from datajoint_file.storage.disk.backend import LocalBackend

from .conftest import Process, Run


def written(directory: Path) -> str:
    return (directory / "datajoint.toml").read_text(encoding="utf-8")


def test_project_is_named_after_its_directory_and_kept_beside_the_file(run: Run, directory: Path) -> None:
    result = run("init")
    assert result.exit_code == 0
    settings = load_settings(directory / "datajoint.toml")
    assert settings.project.name == "place_cells"
    assert settings.storage.path == str(directory / "store")
    assert sorted(path.name for path in directory.iterdir()) == ["datajoint.toml", "store"]
    assert "datajoint-file doctor" in result.output


def test_store_in_a_work_tree_of_git_is_warned_of(run: Run, tmp_path: Path, directory: Path) -> None:
    (directory / ".git").mkdir()
    assert "git clean" in run("init").output
    assert "git clean" not in run("init", "--force", "--storage", str(tmp_path / "elsewhere")).output


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("s3://recordings", {"backend": "s3", "bucket": "recordings"}),
        ("gs://recordings/", {"backend": "gcs", "bucket": "recordings"}),
        ("az://recordings", {"backend": "azure", "container": "recordings"}),
        ("abfs://recordings", {"backend": "azure", "container": "recordings"}),
        ("s3://recordings/team/ephys", {"backend": "s3", "bucket": "recordings", "prefix": "team/ephys"}),
    ],
)
def test_url_of_a_bucket_names_the_backend(run: Run, directory: Path, url: str, expected: dict[str, str]) -> None:
    assert run("init", "--storage", url).exit_code == 0
    storage = load_settings(directory / "datajoint.toml").storage
    assert storage.model_dump(include=set(expected)) == expected
    assert [path.name for path in directory.iterdir()] == ["datajoint.toml"]


def test_all_options_are_in_the_file(run: Run, directory: Path) -> None:
    options = ["--project", "lab", "--storage", "s3://b", "--endpoint-url", "https://s3.example.org", "--region", "eu"]
    assert run("init", *options, "--partition", "subject{subject_id}").exit_code == 0
    settings = load_settings(directory / "datajoint.toml")
    assert settings.project.name == "lab"
    assert (settings.storage.endpoint_url, settings.storage.region) == ("https://s3.example.org", "eu")
    assert settings.object_storage.partition_pattern.text == "subject{subject_id}"


def test_url_of_a_directory_makes_it(run: Run, tmp_path: Path, directory: Path) -> None:
    assert run("init", "--storage", (tmp_path / "big disk").as_uri()).exit_code == 0
    assert load_settings(directory / "datajoint.toml").storage.path == str(tmp_path / "big disk")
    assert (tmp_path / "big disk").is_dir()


def test_relative_path_is_meant_as_seen_from_the_working_directory(run: Run, directory: Path) -> None:
    assert run("init", "--directory", "project", "--storage", "project/objects").exit_code == 0
    assert 'path = "./objects"' in written(directory / "project")
    assert (directory / "project" / "objects").is_dir()


def test_relative_path_out_of_the_project_becomes_absolute(run: Run, directory: Path) -> None:
    assert run("init", "--directory", "project", "--storage", "objects").exit_code == 0
    assert load_settings(directory / "project" / "datajoint.toml").storage.path == str(directory / "objects")


def test_existing_file_is_left_as_it_is(run: Run, directory: Path) -> None:
    (directory / "datajoint.toml").write_text("precious")
    result = run("init")
    assert result.exit_code == 2
    assert "--force" in result.output
    assert written(directory) == "precious"
    assert [path.name for path in directory.iterdir()] == ["datajoint.toml"]


def test_force_replaces_an_existing_file(run: Run, directory: Path) -> None:
    (directory / "datajoint.toml").write_text("worthless")
    assert run("init", "--force").exit_code == 0
    assert "[storage]" in written(directory)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--project", "my lab"], 'name = "my lab"'),
        (["--storage", "s3://key:secret@bucket"], "[storage.credentials]"),
        (["--storage", "s3://"], "names no bucket"),
        (["--storage", "sftp://host/data"], "s3://bucket"),
        (["--storage", "file://host/data"], "file:///dir"),
        (["--storage", "gs://bucket", "--region", "eu"], "region"),
        (["--endpoint-url", "https://s3.example.org"], "endpoint_url"),
        (["--storage", "s3://bucket", "--endpoint-url", "s3.example.org"], "endpoint_url"),
        (["--partition", "{subject_id"], "partition_pattern"),
    ],
)
def test_invalid_option_writes_nothing(run: Run, directory: Path, options: list[str], said: str) -> None:
    result = run("init", *options)
    assert result.exit_code == 2
    assert said in result.output
    assert list(directory.iterdir()) == []


@pytest.mark.parametrize("url", ["s3://recordings", "gs://recordings", "az://recordings"])
def test_credentials_are_explained_and_not_written(
    run: Run, directory: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    for variable in ("AWS_SECRET_ACCESS_KEY", "GOOGLE_APPLICATION_CREDENTIALS", "AZURE_STORAGE_ACCOUNT_KEY"):
        monkeypatch.setenv(variable, "CANARY")
    assert run("init", "--storage", url).exit_code == 0
    assert "CANARY" not in written(directory)
    assert "#[storage.credentials]" in written(directory)
    assert "${env:" in written(directory)


def test_failure_leaves_no_unfinished_file(run: Run, directory: Path) -> None:
    (directory / "store").write_text("a file where the store's directory is to be")
    result = run("init")
    assert result.exit_code == 4
    assert [path.name for path in directory.iterdir()] == ["store"]


def test_file_that_is_displaced_is_named(run: Run, directory: Path) -> None:
    (directory.parent / "datajoint.toml").write_text("the one of the whole lab")
    assert f"takes the place of {directory.parent / 'datajoint.toml'}" in run("init").output


def test_file_that_is_used_instead_is_named(run: Run, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATAJOINT_TOML", "/lab/datajoint.toml")
    assert "/lab/datajoint.toml is used instead" in run("init").output


def test_json_says_what_was_done(process: Process, directory: Path) -> None:
    result = process("init", "--json", "--storage", "s3://recordings")
    assert json.loads(result.stdout) == {
        "written": str(directory / "datajoint.toml"),
        "project": "place_cells",
        "backend": "s3",
        "store": "recordings",
        "notes": [],
        "next": "datajoint-file doctor",
    }


@pytest.mark.parametrize(
    ("storage", "meant"), [("s3:lab", "s3://lab"), ("gs:/lab", "gs://lab"), ("file:/data/lab", "file:///data/lab")]
)
def test_url_without_its_slashes_is_no_directory(run: Run, directory: Path, storage: str, meant: str) -> None:
    result = run("init", "--storage", storage)
    assert result.exit_code == 2
    assert f"did you mean {meant}?" in " ".join(result.output.split())
    assert list(directory.iterdir()) == []


@pytest.mark.parametrize(
    ("storage", "said"),
    [
        ("lab/store", "belongs to the project 'lab'"),
        ("lab/store/deeper", "lies inside another one"),
        ("lab", "another project has its objects inside this one's, in place_cells/store/"),
    ],
)
def test_place_of_another_project_is_not_taken(run: Run, directory: Path, storage: str, said: str) -> None:
    store = directory / "lab" / "store"
    store.mkdir(parents=True)
    identity = Identity("mysql a")
    marks = MarkStore(LocalBackend(store, "lab"), "lab")
    marks.write(Mark(Registration(identity, "lab", "ephys", "1" * 32), 1, "2" * 32, "2026-01-01T00:00:00Z"))
    before = sorted(directory.rglob("*"))
    done = run("init", "--storage", storage)
    assert (done.exit_code, said in done.output) == (2, True), done.output
    assert sorted(directory.rglob("*")) == before
