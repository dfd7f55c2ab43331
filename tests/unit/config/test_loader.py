"""Finding ``datajoint.toml``, overlaying the environment, and saying what is wrong where."""

from __future__ import annotations

import copy
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from datajoint_file.config import find_configuration, load_settings, parse_settings
from datajoint_file.errors import ConfigurationError, ConfigurationNotFoundError

CANARY = "canary-5f1c"
NOBODY, OTHER = 65534, 54321
"""Users: who runs a test as nobody, and somebody else."""

S3 = """
[project]
name = "lab"

[storage]
backend = "s3"
bucket = "recordings"
"""


def written(directory: Path, text: str = S3) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "datajoint.toml"
    path.write_text(text, encoding="utf-8")
    return path


def document(**tables: dict[str, Any]) -> dict[str, Any]:
    base: dict[str, dict[str, Any]] = {"project": {"name": "lab"}, "storage": {"backend": "s3", "bucket": "recordings"}}
    return {**base, **{name: {**base.get(name, {}), **table} for name, table in tables.items()}}


def message_of(tables: dict[str, Any]) -> str:
    with pytest.raises(ConfigurationError) as caught:
        parse_settings(tables, "the file")
    return str(caught.value)


# finding the file


def test_file_of_the_working_directory_is_found(tmp_path: Path) -> None:
    path = written(tmp_path)
    assert find_configuration(tmp_path) == path


def test_file_of_the_nearest_parent_is_found(tmp_path: Path) -> None:
    written(tmp_path)
    nearest = written(tmp_path / "a/b")
    (tmp_path / "a/b/c/d").mkdir(parents=True)
    assert find_configuration(tmp_path / "a/b/c/d") == nearest


def _link_to_nothing(path: Path) -> None:
    path.symlink_to("moved-away.toml")


def _link_to_itself(path: Path) -> None:
    path.symlink_to(path.name)


NAMES_WITHOUT_A_FILE: dict[str, tuple[Callable[[Path], None], str]] = {
    "dangling": (_link_to_nothing, "moved-away.toml, which does not exist"),
    "loop": (_link_to_itself, "symbolic link"),
    "directory": (Path.mkdir, "directory"),
    "fifo": (os.mkfifo, "FIFO"),
}


@pytest.mark.parametrize("kind", NAMES_WITHOUT_A_FILE)
def test_name_that_cannot_be_read_is_an_error_and_the_file_above_is_not_used(tmp_path: Path, kind: str) -> None:
    written(tmp_path)
    make, why = NAMES_WITHOUT_A_FILE[kind]
    (tmp_path / "a/b").mkdir(parents=True)
    make(tmp_path / "a/datajoint.toml")
    found = find_configuration(tmp_path / "a/b")
    assert found == tmp_path / "a/datajoint.toml"
    with pytest.raises(ConfigurationError, match=f"a/datajoint.toml .*{why}") as caught:
        load_settings(found, is_searched=True)
    assert not isinstance(caught.value, ConfigurationNotFoundError)  # which a declaration takes for "not yet there"


@pytest.mark.parametrize("kind", ["dangling", "loop", "directory"])
def test_name_that_cannot_be_read_is_an_error_if_it_is_given_too(tmp_path: Path, kind: str) -> None:
    make, why = NAMES_WITHOUT_A_FILE[kind]
    make(tmp_path / "datajoint.toml")
    with pytest.raises(ConfigurationError, match=f"(?i){why}") as caught:
        load_settings(tmp_path / "datajoint.toml")
    assert not isinstance(caught.value, ConfigurationNotFoundError)


def test_nothing_is_found_where_there_is_nothing() -> None:
    assert find_configuration(Path("/")) is None


def test_variable_names_the_file_whatever_else_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path)
    monkeypatch.setenv("DATAJOINT_TOML", "/etc/elsewhere.toml")
    assert find_configuration(tmp_path) == Path("/etc/elsewhere.toml")


def test_relative_variable_starts_at_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATAJOINT_TOML", "conf/x.toml")
    assert find_configuration(tmp_path) == tmp_path / "conf/x.toml"


def test_variable_may_begin_at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.setenv("DATAJOINT_TOML", "~/lab.toml")
    assert find_configuration(Path("/tmp")) == Path("/home/ada/lab.toml")


def test_home_of_a_user_nobody_knows_does_not_fail_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATAJOINT_TOML", "~nobody-of-this-name/lab.toml")
    found = find_configuration(Path("/"))
    assert found is not None
    with pytest.raises(ConfigurationNotFoundError, match="nobody-of-this-name"):
        load_settings(found)


def test_empty_variable_is_no_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path)
    monkeypatch.setenv("DATAJOINT_TOML", "")
    assert find_configuration(tmp_path) == path


def test_directory_that_may_not_be_looked_into_may_have_the_file(
    public_directory: Path, as_nobody: Callable[..., Any]
) -> None:
    written(public_directory)
    closed = public_directory / "closed"
    written(closed / "inner")
    closed.chmod(0o000)
    try:
        assert as_nobody(find_configuration, closed / "inner") == closed / "inner/datajoint.toml"
        assert "Permission denied" in as_nobody(_fault_of, closed / "inner/datajoint.toml")
    finally:
        closed.chmod(0o700)


def test_file_that_may_not_be_read_is_an_error_and_the_file_above_is_not_used(
    public_directory: Path, as_nobody: Callable[..., Any]
) -> None:
    written(public_directory)
    secret = written(public_directory / "inner")
    secret.chmod(0o600)
    assert as_nobody(find_configuration, public_directory / "inner") == secret
    assert "Permission denied" in as_nobody(_fault_of, secret)


# whose file it is


def _fault_of(path: Path) -> str:
    try:
        load_settings(path, is_searched=True)
    except ConfigurationError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("file_owner", "directory_owner", "is_trusted"),
    [
        (NOBODY, 0, True),  # this user's
        (0, OTHER, True),  # root's
        (OTHER, OTHER, True),  # its directory's owner's
        (OTHER, 0, False),
    ],
)
def test_file_found_by_searching_belongs_to_somebody_who_may_decide(
    public_directory: Path, as_nobody: Callable[..., Any], file_owner: int, directory_owner: int, is_trusted: bool
) -> None:
    path = written(public_directory / "project")
    os.chown(path, file_owner, -1)
    os.chown(path.parent, directory_owner, -1)
    fault = as_nobody(_fault_of, path)
    if is_trusted:
        assert fault == ""
    else:
        assert fault.startswith(f"{path} was found by searching")
        assert f"export DATAJOINT_TOML={path}" in fault
        assert "datajoint_file.configure(" in fault
    assert load_settings(path).project.name == "lab"  # named, it is used


@pytest.mark.parametrize("writable", ["datajoint.toml", "."])
def test_file_found_by_searching_is_not_writable_by_others(tmp_path: Path, writable: str) -> None:
    path = written(tmp_path / "project")
    (path.parent / writable).chmod(0o777)
    assert "writable by others" in _fault_of(path)
    assert load_settings(path).project.name == "lab"


def test_file_that_a_link_leads_to_is_held_to_the_same(tmp_path: Path) -> None:
    real = written(tmp_path / "open-to-all")
    link = tmp_path / "project/datajoint.toml"
    link.parent.mkdir()
    link.symlink_to(real)
    assert _fault_of(link) == ""
    real.parent.chmod(0o777)
    assert "writable by others" in _fault_of(link)


@pytest.mark.parametrize("kind", ["file", "directory", "relative", "one after the other"])
@pytest.mark.parametrize(("owner", "mode"), [(NOBODY, 0o755), (0, 0o1777)], ids=["somebody's", "open to all"])
def test_every_link_on_the_way_is_held_to_the_same(tmp_path: Path, kind: str, owner: int, mode: int) -> None:
    real, link = written(tmp_path / "real"), tmp_path / "project/datajoint.toml"
    between = tmp_path / "between"
    for directory in (link.parent, between):
        directory.mkdir()
    somebodys = between / "link"
    somebodys.symlink_to(real.parent if kind == "directory" else real)
    target = somebodys / real.name if kind == "directory" else somebodys
    if kind == "one after the other":
        target = tmp_path / "another"
        target.symlink_to(somebodys)
    link.symlink_to(Path("../between/link") if kind == "relative" else target)
    assert _fault_of(link) == ""
    os.chown(somebodys, owner, -1, follow_symlinks=False)
    between.chmod(mode)
    told = "/between is writable by others" if mode & 0o002 else "/between/link belongs to the user nobody"
    assert told in _fault_of(link)
    assert load_settings(link).project.name == "lab"


@pytest.mark.parametrize("directory_mode", [0o755, 0o775, 0o2775])
def test_group_of_the_owners_choice_is_trusted_as_he_is(tmp_path: Path, directory_mode: int) -> None:
    path = written(tmp_path / "project")
    path.chmod(0o664)
    path.parent.chmod(directory_mode)
    assert _fault_of(path) == ""


def test_sticky_directory_is_open_to_others_all_the_same(tmp_path: Path) -> None:
    path = written(tmp_path / "scratch")
    path.parent.chmod(0o1777)
    assert "writable by others" in _fault_of(path)


def test_file_that_is_read_is_the_one_that_was_looked_at(tmp_path: Path) -> None:
    """Somebody exchanges, over and over, his own file and a link to a sound one: his is never read."""
    sound, theirs = written(tmp_path / "sound"), written(tmp_path / "theirs", S3.replace("lab", "theirs"))
    os.chown(theirs, OTHER, -1)
    path, spare = tmp_path / "project/datajoint.toml", tmp_path / "project/spare"
    path.parent.mkdir()
    swaps = threading.Event()

    def swap() -> None:
        while not swaps.is_set():
            for target in (sound, theirs):
                spare.unlink(missing_ok=True)
                os.link(target, spare)
                spare.replace(path)

    os.link(sound, path)
    thread = threading.Thread(target=swap)
    thread.start()
    try:
        for _ in range(400):
            with suppress(ConfigurationError):
                assert load_settings(path, is_searched=True).project.name == "lab"
    finally:
        swaps.set()
        thread.join()


def test_name_of_a_directory_is_shown_harmless_and_as_a_shell_takes_it(tmp_path: Path) -> None:
    path = written(tmp_path / "a b\x1b[2J")
    path.parent.chmod(0o777)
    assert _fault_of(path).isprintable()
    spaced = written(tmp_path / "a b")
    spaced.parent.chmod(0o777)
    assert f"export DATAJOINT_TOML='{spaced}'" in _fault_of(spaced)


# reading it


def test_settings_are_what_the_file_says(tmp_path: Path) -> None:
    text = """
        [project]
        name = "my_project"
        [storage]
        backend = "s3"
        bucket = "my-bucket"
        endpoint_url = "https://s3.example.org"
        region = "eu-central-1"
        exclusive_create = false
        options = { default_block_size = 1 }
        [storage.credentials]
        key = "k"
        [object_storage]
        partition_pattern = "subject{subject_id}/session{session_id}"
        [projects.upstream]
        backend = "file"
        path = "/data/upstream"
    """
    settings = load_settings(written(tmp_path, text))
    assert settings.project.name == "my_project"
    assert settings.storage.location == "s3: my-bucket"
    assert (settings.storage.region, settings.storage.exclusive_create) == ("eu-central-1", False)
    assert settings.storage.options["default_block_size"] == 1
    assert settings.object_storage.partition_pattern.placeholders == {"subject_id", "session_id"}
    assert settings.projects["upstream"].path == "/data/upstream"
    assert settings.directory == tmp_path


@pytest.mark.parametrize("prefix", ["\ufeff", "# ä\r\n", "\r\n\r\n"], ids=ascii)
def test_file_may_come_from_windows(tmp_path: Path, prefix: str) -> None:
    path = tmp_path / "datajoint.toml"
    path.write_bytes((prefix + S3).replace("\n", "\r\n").encode())
    assert load_settings(path).project.name == "lab"


def test_missing_file_is_an_error_that_names_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationNotFoundError, match="does not exist; `datajoint-file init` writes one"):
        load_settings(tmp_path / "datajoint.toml")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"[project\nname = 1", "is not valid TOML: .*line 1"),
        (b"[storage]\nbackend = file", "is not valid TOML: .*line 2"),
        (b"[storage]\n[storage]\n", "is not valid TOML"),
        (b"a = 1\na = 2\n", "is not valid TOML"),
        (b"\xff\xfe[\0p\0", "cannot be read"),
        (b"", "project: it is missing; allowed: a table"),
        (b"# nothing\n", "project: it is missing"),
    ],
)
def test_broken_file_is_named_with_what_is_wrong(tmp_path: Path, content: bytes, why: str) -> None:
    path = tmp_path / "datajoint.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=f"{path}.*{why}"):
        load_settings(path)


def test_directory_in_place_of_the_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot be read: .*directory"):
        load_settings(tmp_path)


def test_file_that_may_not_be_read_is_an_error(public_directory: Path, as_nobody: Callable[..., Any]) -> None:
    path = written(public_directory)
    path.chmod(0o000)
    with pytest.raises(ConfigurationError, match=r"cannot be read: .*Permission denied"):
        as_nobody(load_settings, path)


# what is wrong, and where


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        (document(project={"name": "a b"}), 'the file: [project] name = "a b": it has another form'),
        (document(project={"name": "a/b"}), 'the file: [project] name = "a/b": it has another form'),
        (document(project={"name": ".."}), 'the file: [project] name = "..": it has another form'),
        (document(project={"name": "x" * 101}), "the file: [project] name = "),
        (document(project={"name": ""}), 'the file: [project] name = "": '),
        (document(project={"name": "lab\n"}), 'the file: [project] name = "lab\\n": '),
        (document(project={"name": 5}), "the file: [project] name = 5: it is no text; allowed: letters, digits and"),
        ({"storage": {"backend": "file", "path": "/x"}}, "the file: project: it is missing; allowed: a table"),
        ({**document(), "project": {}}, "the file: [project] name: it is missing; allowed: letters, digits and"),
        ({**document(), "storage": 3}, "the file: storage = 3: it is no table; allowed: a table"),
        (
            {**document(), "storage": {}},
            "the file: [storage] backend: it is missing; allowed: file, s3, gcs, azure, or",
        ),
        ({**document(), "projects": 3}, "the file: projects = 3: it is no table; allowed: a table of tables"),
        ({**document(), "projects": {"x": 3}}, "the file: [projects] x = 3: it is no table; allowed: a table"),
        (
            {**document(), "projects": {"a/b": document()["storage"]}},
            "the file: [projects] a/b: no project can be called",
        ),
        (document(storage={"bucket": "a/b"}), 'the file: [storage] bucket = "a/b": it has another form'),
        (document(storage={"endpoint_url": "x"}), 'the file: [storage] endpoint_url = "x": it has another form'),
        (
            document(storage={"exclusive_create": "maybe"}),
            'the file: [storage] exclusive_create = "maybe": it is neither; allowed: true or',
        ),
        (document(storage={"options": "x"}), "the file: [storage] options = ***: it is no table; allowed: a table of"),
        (
            document(object_storage={"partition_pattern": "a//b"}),
            "the file: [object_storage] partition_pattern = \"a//b\": the component '' is empty or has a meaning",
        ),
        (
            document(object_storage={"partition_pattern": 5}),
            "the file: [object_storage] partition_pattern = 5: it is no text; allowed: a path such as",
        ),
        (
            document(object_storage={"partition_pattern": {"text": "a"}}),
            "the file: [object_storage] partition_pattern: it is no text; allowed: a path such as",
        ),
    ],
    ids=lambda value: "" if isinstance(value, dict) else value[10:50],
)
def test_message_names_file_table_key_value_reason_and_what_is_allowed(tables: dict[str, Any], message: str) -> None:
    found = message_of(tables)
    assert found.startswith(message)
    assert "; allowed: " in found
    assert found.isprintable()


@pytest.mark.parametrize(
    ("tables", "where", "near"),
    [
        ({**document(), "storge": {}}, "storge", "storage"),
        ({"project": {"name": "lab"}, "storag": {"backend": "file"}}, "storag", "storage"),
        ({"project": {"name": "lab"}, "storage": {"bakend": "file"}}, "[storage] bakend", "backend"),
        ({"PROJECT": {"name": "lab"}, "storage": {}}, "PROJECT", "project"),
        (document(storage={"BUCKET": "x"}), "[storage] BUCKET", "bucket"),
        ({**document(), "Project": {}}, "Project", "project"),
        (document(storage={"buckett": "x"}), "[storage] buckett", "bucket"),
        (document(storage={"endpoint": "x"}), "[storage] endpoint", "endpoint_url"),
        (document(object_storage={"partition_patern": "x"}), "[object_storage] partition_patern", "partition_pattern"),
        (document(project={"nme": "x"}), "[project] nme", "name"),
        ({**document(), "projects": {"up": {"backend": "file", "pth": "x"}}}, "[projects.up] pth", "path"),
    ],
    ids=lambda value: "" if isinstance(value, dict) else value,
)
def test_unknown_key_is_an_error_that_names_the_nearest_known_one(
    tables: dict[str, Any], where: str, near: str
) -> None:
    assert message_of(tables).startswith(f"the file: {where}: unknown key; did you mean {near}?; allowed: ")


def test_unknown_key_that_is_near_nothing_is_an_error_too() -> None:
    assert message_of(document(storage={"zzzz": 1})).startswith(
        "the file: [storage] zzzz: unknown key; allowed: backend,"
    )


def test_settings_own_fields_are_no_keys_of_the_file() -> None:
    assert message_of({**document(), "directory": "/x"}).startswith("the file: directory: unknown key")


@pytest.mark.parametrize("key", ["key", "secret", "account_key", "connection_string", "sas_token", "token"])
def test_credential_in_the_wrong_table_is_sent_to_the_right_one_and_not_shown(key: str) -> None:
    message = message_of(document(storage={key: CANARY}))
    assert f"the file: [storage] {key}: unknown key; it belongs in [storage.credentials]" in message
    assert CANARY not in message


# overriding by the environment


def test_variable_overrides_a_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATAJOINT_FILE__STORAGE__BUCKET", "other")
    monkeypatch.setenv("DATAJOINT_FILE__PROJECT__NAME", "lab2")
    monkeypatch.setenv("DATAJOINT_FILE__OBJECT_STORAGE__PARTITION_PATTERN", "s{subject_id:03d}")
    settings = parse_settings(document(), "the file")
    assert (settings.storage.bucket, settings.project.name) == ("other", "lab2")
    assert settings.object_storage.partition_pattern.text == "s{subject_id:03d}"


def test_variables_alone_configure_a_pipeline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATAJOINT_FILE__PROJECT__NAME", "lab")
    monkeypatch.setenv("DATAJOINT_FILE__STORAGE__BACKEND", "file")
    monkeypatch.setenv("DATAJOINT_FILE__STORAGE__PATH", "/data/lab")
    assert parse_settings({}, "the file").storage.location == "file: /data/lab"


def test_variable_changes_nothing_in_what_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATAJOINT_FILE__STORAGE__BUCKET", "other")
    given = document()
    before = copy.deepcopy(given)
    parse_settings(given, "the file")
    assert given == before


@pytest.mark.parametrize("name", ["UPSTREAM", "Upstream", "upstream"])
def test_variable_overrides_a_value_of_another_project_in_the_case_of_the_file(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("DATAJOINT_FILE__PROJECTS__UPSTREAM__PATH", "/b")
    tables = {**document(), "projects": {name: {"backend": "file", "path": "/a"}}}
    assert parse_settings(tables, "the file").projects[name].path == "/b"


def test_variables_add_another_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATAJOINT_FILE__PROJECTS__up__BACKEND", "file")
    monkeypatch.setenv("DATAJOINT_FILE__PROJECTS__up__PATH", "/b")
    assert parse_settings(document(), "the file").projects["up"].path == "/b"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("4", 4),
        ("true", True),
        ("1.5", 1.5),
        ("{ a = 1, b = { c = true } }", {"a": 1, "b": {"c": True}}),
        ("[1, 2]", (1, 2)),
    ],
)
def test_option_in_a_variable_is_read_as_toml(monkeypatch: pytest.MonkeyPatch, text: str, value: object) -> None:
    monkeypatch.setenv("DATAJOINT_FILE__STORAGE__OPTIONS__X", text)
    assert parse_settings(document(), "the file").storage.options["x"] == value


@pytest.mark.parametrize("text", ["plain", "a = 1", "2 3", "", "1\n[storage]", "1\ny = 2", "'open"])
def test_option_that_is_no_toml_is_the_text_it_is(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("DATAJOINT_FILE__STORAGE__OPTIONS__X", text)
    assert parse_settings(document(), "the file").storage.options["x"].get_secret_value() == text


def test_whole_table_of_options_may_be_one_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATAJOINT_FILE__STORAGE__OPTIONS", "{ max_concurrency = 3 }")
    assert parse_settings(document(), "the file").storage.options == {"max_concurrency": 3}


@pytest.mark.parametrize(("text", "value"), [("true", True), ("False", False)])
def test_switch_among_the_credentials_is_a_switch_in_a_variable_too(
    monkeypatch: pytest.MonkeyPatch, text: str, value: bool
) -> None:
    monkeypatch.setenv("DATAJOINT_FILE__STORAGE__CREDENTIALS__ANON", text)
    assert parse_settings(document(), "the file").storage.credentials["anon"] is value


def test_secret_of_digits_in_a_variable_stays_a_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATAJOINT_FILE__STORAGE__CREDENTIALS__SECRET", "007")
    assert parse_settings(document(), "the file").storage.credentials["secret"].get_secret_value() == "007"


@pytest.mark.parametrize(
    ("variable", "message"),
    [
        ("STORAGE__PATHH", "[storage] pathh: unknown key; did you mean path?"),
        ("STORAGE__REGION__X", "[storage] region: it is no text"),
        ("STORAGE__ENDPOINT_URL", '[storage] endpoint_url = "value": it has another form'),
        ("STORAGE__CREDENTIALS__SECRETT", '[storage.credentials] secrett = ***: backend = "s3" does not take it'),
        ("STORAGE__BUCKET__X", "bucket is a value, not a table"),
        ("STORAGE", "it names no key; allowed: DATAJOINT_FILE__TABLE__KEY, such as DATAJOINT_FILE__STORAGE__PATH"),
        ("", "it names no key"),
        ("__X", "it names no key"),
        ("STORAGE__", "it names no key"),
        ("OBJECT_STORAGE__PARTITION_PATTERN__X", "[object_storage] partition_pattern: it is no text"),
        ("PROJECT__DIRECTORY", "[project] directory: unknown key"),
        ("DIRECTORY__X", "directory: unknown key"),
    ],
)
def test_wrong_variable_is_named_by_its_own_name(monkeypatch: pytest.MonkeyPatch, variable: str, message: str) -> None:
    monkeypatch.setenv(f"DATAJOINT_FILE__{variable}", "value")
    found = message_of(document())
    assert message in found
    assert variable in found or "it is no text" in message or "directory" in message


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("DATAJOINT_FILE_STORAGE_BUCKET", "DATAJOINT_FILE__STORAGE__BUCKET"),
        ("DATAJOINT_FILE_STORAGE__BUCKET", "DATAJOINT_FILE__STORAGE__BUCKET"),
        ("DATAJOINT_FILE_OBJECT_STORAGE_PARTITION_PATTERN", "DATAJOINT_FILE__OBJECT_STORAGE__PARTITION_PATTERN"),
        ("DATAJOINT_FILE_BUCKET", "DATAJOINT_FILE__TABLE__KEY"),
    ],
)
def test_variable_with_single_underscores_is_refused(
    monkeypatch: pytest.MonkeyPatch, variable: str, meant: str
) -> None:
    monkeypatch.setenv(variable, "x")
    assert f"environment variable {variable}: it sets nothing; allowed: {meant}, " in message_of(document())


@pytest.mark.parametrize(("backend", "said"), [("S3", 'did you mean "s3"?'), ("GS", 'it is called "gcs" here')])
def test_backend_in_capitals_is_told_its_name(backend: str, said: str) -> None:
    assert said in message_of(document(storage={"backend": backend, "region": "eu-central-1"}))


@pytest.mark.parametrize("projects", [3, "text", [1]])
def test_variable_of_a_project_meets_a_broken_table(monkeypatch: pytest.MonkeyPatch, projects: object) -> None:
    monkeypatch.setenv("DATAJOINT_FILE__PROJECTS__UP__PATH", "/x")
    assert "DATAJOINT_FILE__PROJECTS__UP__PATH: projects is a value" in message_of({**document(), "projects": projects})


# paths


def local(path: str, **tables: Any) -> dict[str, Any]:
    return {"project": {"name": "lab"}, "storage": {"backend": "file", "path": path}, **tables}


@pytest.mark.parametrize(
    ("path", "expected"),
    [("objects", "{}/objects"), ("../x/./y", "{}/../x/y"), (".", "{}"), ("/data/lab/", "/data/lab")],
)
def test_relative_path_starts_at_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, expected: str
) -> None:
    monkeypatch.chdir("/")
    settings = load_settings(
        written(tmp_path, f'[project]\nname = "lab"\n[storage]\nbackend = "file"\npath = "{path}"\n')
    )
    assert settings.storage.path == os.path.normpath(expected.format(tmp_path))


def test_relative_path_of_another_project_starts_at_the_file(tmp_path: Path) -> None:
    tables = local("a", projects={"up": {"backend": "file", "path": "../up"}})
    settings = parse_settings(tables, "the file", tmp_path / "conf")
    assert settings.projects["up"].path == str(tmp_path / "up")


def test_path_may_begin_at_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    assert parse_settings(local("~/objects"), "the file", tmp_path).storage.path == "/home/ada/objects"


def test_home_of_a_user_nobody_knows_is_a_directory_that_is_not_there(tmp_path: Path) -> None:
    assert parse_settings(local("~nobody-of-this-name/x"), "the file", tmp_path).storage.path is not None


def test_path_of_a_bucket_store_is_left_alone() -> None:
    tables = {"project": {"name": "lab"}, "storage": {"backend": "memory", "path": "lab/x"}}
    assert parse_settings(tables, "the file").storage.path == "lab/x"


# urls and prefixes


PLACES = [
    ("s3://lab", {"backend": "s3", "bucket": "lab"}),
    ("s3://lab/", {"backend": "s3", "bucket": "lab"}),
    ("s3://lab/team/ephys/", {"backend": "s3", "bucket": "lab", "prefix": "team/ephys"}),
    ("gs://lab/team", {"backend": "gcs", "bucket": "lab", "prefix": "team"}),
    ("az://lab/team", {"backend": "azure", "container": "lab", "prefix": "team"}),
    ("abfs://lab/team", {"backend": "azure", "container": "lab", "prefix": "team"}),
    ("file:///data/lab", {"backend": "file", "path": "/data/lab"}),
    (
        "s3://${env:LAB_BUCKET}/${env:TEAM}/x",
        {"backend": "s3", "bucket": "${env:LAB_BUCKET}", "prefix": "${env:TEAM}/x"},
    ),
]


@pytest.mark.parametrize(("url", "table"), PLACES)
def test_url_says_the_same_as_the_keys_it_stands_for(url: str, table: dict[str, Any]) -> None:
    project = {"project": {"name": "lab"}}
    by_keys = parse_settings({**project, "storage": table, "projects": {"other": table}}, "the file")
    by_url = parse_settings({**project, "storage": {"url": url}, "projects": {"other": {"url": url}}}, "the file")
    assert by_url == by_keys
    assert by_url.digest == by_keys.digest


def test_location_has_the_prefix() -> None:
    assert (
        parse_settings(document(storage={"prefix": "team/x/"}), "the file").storage.location == "s3: recordings/team/x"
    )


@pytest.mark.parametrize(
    "prefix", ["/team", "a//b", "..", "a/../b", "a/./b", "a b", "a\\b", "a?b", "a/b.", "a%20b", "ä"]
)
def test_prefix_that_could_mean_another_place_is_refused(prefix: str) -> None:
    assert message_of(document(storage={"prefix": prefix})).startswith("the file: [storage] prefix = ")
    if not prefix.startswith("/"):
        storage = {"url": f"s3://lab/{prefix}"}
        assert message_of({"project": {"name": "lab"}, "storage": storage}).startswith("the file: [storage] url = ")


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("lab/team", "it is no URL"),
        ("s3://", "it names no bucket"),
        ("sftp://host/dir", 'backend = "sftp"'),
        ("file://server/dir", "names a host"),
        ("s3://lab/x?versionId=1", "more than a bucket"),
    ],
)
def test_url_that_says_no_place_is_refused_with_the_forms_that_do(url: str, why: str) -> None:
    message = message_of({"project": {"name": "lab"}, "storage": {"url": url}})
    assert message.startswith("the file: [storage] url = ")
    assert why in message
    assert "allowed: s3://bucket/prefix" in message


def test_url_with_a_password_is_refused_without_showing_it() -> None:
    message = message_of({"project": {"name": "lab"}, "storage": {"url": f"s3://key:{CANARY}@lab/team"}})
    assert "[storage.credentials]" in message
    assert CANARY not in message


@pytest.mark.parametrize("key", ["backend", "bucket", "prefix", "path", "container"])
def test_url_beside_what_it_stands_for_is_refused(key: str) -> None:
    message = message_of({"project": {"name": "lab"}, "storage": {"url": "s3://lab", key: "s3"}})
    assert message.startswith('the file: [storage] url = "s3://lab": ')
    assert key in message


def test_prefix_belongs_to_a_bucket() -> None:
    assert "does not take it" in message_of(
        document(storage={"backend": "file", "path": "x", "bucket": None, "prefix": "team"})
    )
    assert "it goes with a bucket" in message_of(
        document(storage={"backend": "sftp", "path": "x", "bucket": None, "prefix": "team"})
    )


def test_variables_override_a_prefix_or_the_whole_place(monkeypatch: pytest.MonkeyPatch) -> None:
    tables = {"project": {"name": "lab"}, "storage": {"url": "s3://lab/team", "region": "eu"}}
    monkeypatch.setenv("DATAJOINT_FILE__STORAGE__PREFIX", "other/team")
    assert parse_settings(tables, "the file").storage.root == "lab/other/team"
    monkeypatch.delenv("DATAJOINT_FILE__STORAGE__PREFIX")
    monkeypatch.setenv("DATAJOINT_FILE__STORAGE__URL", "s3://lab2")
    assert parse_settings(tables, "the file").storage.root == "lab2"
    assert parse_settings(document(storage={"prefix": "team"}), "the file").storage.root == "lab2"
    monkeypatch.setenv("DATAJOINT_FILE__STORAGE__PREFIX", "other/team")
    with pytest.raises(ConfigurationError, match=r"DATAJOINT_FILE__STORAGE__URL: .*it says prefix already"):
        parse_settings(tables, "the file")


def test_roots_are_places_like_storage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    roots = {
        "NAS": {"path": "../nas"},
        "archive": {"url": "s3://lab/raw", "credentials": {"key": "CANARY-key", "secret": "CANARY-secret"}},
    }
    monkeypatch.setenv("DATAJOINT_FILE__ROOTS__NAS__PATH", "/Volumes/nas")
    monkeypatch.setenv("DATAJOINT_FILE__ROOTS__SCRATCH__PATH", "scratch")
    settings = parse_settings({**document(), "roots": roots}, "the file", tmp_path)
    assert settings.roots["NAS"].location == "file: /Volumes/nas"
    assert settings.roots["scratch"].path == str(tmp_path / "scratch")
    assert settings.roots["archive"].location == "s3: lab/raw"
    assert {*settings.stores} == {"storage", "roots.NAS", "roots.archive", "roots.scratch"}
    assert settings.roots["archive"].table == "roots.archive"
    assert "CANARY" not in repr(settings)
    project = settings.project.name
    assert settings.places == {**settings.roots, project: settings.storage}


@pytest.mark.parametrize(
    ("roots", "told"),
    [
        (3, "roots = 3: it is no table"),
        ({"a/b": {"path": "/x"}}, "[roots] a/b: no root can be called so"),
        ({"lab": {"path": "/x"}}, "[roots] lab: that is a project, which is a root already"),
        ({"up": {"path": "/x"}}, "[roots] up: that is a project, which is a root already"),
        ({"nas": {"pth": "/x"}}, "[roots.nas] pth: unknown key; did you mean path?"),
        ({"nas": {"bucket": "x"}}, "[roots.nas] backend: it is missing"),
        ({"nas": {"path": "/x", "prefix": "y"}}, '[roots.nas] prefix = "y": backend = "file" does not take it'),
    ],
)
def test_root_that_is_none_is_told(roots: Any, told: str) -> None:
    tables = {"project": {"name": "lab"}, "storage": {"backend": "file", "path": "/data/lab"}, "roots": roots}
    with pytest.raises(ConfigurationError) as caught:
        parse_settings({**tables, "projects": {"up": {"backend": "file", "path": "/up"}}}, "the file")
    assert told in str(caught.value)


def test_quotas_are_sizes_by_name_and_keep_their_spelling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATAJOINT_FILE__QUOTA__LAB.RECORDING", "1 TB")
    monkeypatch.setenv("DATAJOINT_FILE__QUOTA__SUBJECT_ID", "5 GB")
    quota = {
        "total": "20 TB",
        "lab.Recording": "2 TB",
        "other": {"Scan": 7, "Session": {"Trace": "0"}},
        "lab.*": "5 TB",
    }
    assert parse_settings({**document(), "quota": quota}, "the file").quota == {
        "total": 20 * 10**12,
        "lab.Recording": 10**12,
        "other.Scan": 7,
        "other.Session.Trace": 0,
        "lab.*": 5 * 10**12,
        "subject_id": 5 * 10**9,
    }
    monkeypatch.setenv("DATAJOINT_FILE__QUOTA__SUBJECT_ID", "much")
    assert message_of(document()).startswith(
        "environment variable DATAJOINT_FILE__QUOTA__SUBJECT_ID: [quota] subject_id"
    )
    monkeypatch.delenv("DATAJOINT_FILE__QUOTA__SUBJECT_ID")
    monkeypatch.delenv("DATAJOINT_FILE__QUOTA__LAB.RECORDING")
    for name in ("a b", "lab.*.x", "Subject", "lab.", "a.b.c.d"):
        assert "no quota can be called so" in message_of({**document(), "quota": {name: "1 GB"}})
    assert "it is too small" in message_of({**document(), "quota": {"total": -1}})
