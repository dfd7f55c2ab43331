"""Which connection uses which configuration: bound once, read late, never mixed."""

from __future__ import annotations

import gc
import shutil
import threading
from pathlib import Path

import pytest

from datajoint_file.config import bindings, parse_settings
from datajoint_file.config.bindings import Binding, bind, binding_of
from datajoint_file.errors import ConfigurationError, ConfigurationNotFoundError


class Owner:
    """Stands for a connection's configuration or adapter, which are opaque to bindings."""


def written(directory: Path, project: str = "lab") -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "datajoint.toml"
    path.write_text(f'[project]\nname = "{project}"\n[storage]\nbackend = "file"\npath = "objects"\n')
    return path


@pytest.fixture
def one(tmp_path: Path) -> Path:
    return written(tmp_path / "one", "project_one")


@pytest.fixture
def two(tmp_path: Path) -> Path:
    return written(tmp_path / "two", "project_two")


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    (tmp_path / "empty").mkdir()
    return tmp_path / "empty"


def test_configuration_is_that_of_the_working_directory_at_bind_time(
    one: Path, two: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = Owner()
    monkeypatch.chdir(one.parent)
    binding = bind(owner)
    monkeypatch.chdir(two.parent)
    assert binding_of(owner) is binding
    assert binding.name == str(one)
    assert binding.settings().project.name == "project_one"
    assert binding.settings().storage.path == str(one.parent / "objects")


def test_file_is_read_when_it_is_needed_and_once(one: Path) -> None:
    binding = Binding(one.parent)
    assert binding._settings is None
    one.write_text(one.read_text().replace("project_one", "renamed"))
    first = binding.settings()
    one.write_text("broken [")
    assert first.project.name == "renamed"
    assert binding.settings() is first
    assert binding._settings is not None


def test_who_only_looks_decides_nothing(one: Path, empty: Path) -> None:
    binding = Binding(one.parent)
    found = binding.peek()
    assert found is not None
    assert found.project.name == "project_one"
    other = parse_settings({"project": {"name": "b"}, "storage": {"backend": "file", "path": "/b"}}, "the test")
    binding.configure(other, "b")
    assert binding.peek() is other
    assert Binding(empty).peek() is None


def test_broken_file_fails_nothing_before_it_is_needed(one: Path) -> None:
    one.write_text("broken [")
    binding = Binding(one.parent)
    binding.meet("schema", one.parent)
    with pytest.raises(ConfigurationError, match="is not valid TOML"):
        binding.settings()


def test_file_that_anybody_may_write_fails_nothing_before_it_is_needed(one: Path) -> None:
    one.chmod(0o666)
    binding = Binding(one.parent)
    binding.meet("schema", one.parent)
    with pytest.raises(ConfigurationError, match="writable by others"):
        binding.settings()


def test_file_that_anybody_may_write_is_used_if_it_is_named(one: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one.chmod(0o666)
    monkeypatch.setenv("DATAJOINT_TOML", str(one))
    assert Binding(one.parent).settings().project.name == "project_one"


def test_dangling_file_of_a_second_schema_is_a_rival(one: Path, two: Path) -> None:
    two.unlink()
    two.symlink_to("nowhere")
    binding = Binding(one.parent)
    binding.meet("second", two.parent)
    with pytest.raises(ConfigurationError, match="one pipeline"):
        binding.settings("second")


def test_broken_file_can_be_mended(one: Path) -> None:
    text = one.read_text()
    one.write_text("broken [")
    binding = Binding(one.parent)
    with pytest.raises(ConfigurationError):
        binding.settings()
    one.write_text(text)
    assert binding.settings().project.name == "project_one"


def test_missing_file_is_an_error_with_every_way_out(empty: Path) -> None:
    with pytest.raises(ConfigurationNotFoundError) as caught:
        Binding(empty).settings()
    for way in (str(empty), "DATAJOINT_TOML", "`datajoint-file init`", "DATAJOINT_FILE__", "datajoint_file.configure"):
        assert way in str(caught.value)


def test_file_written_after_the_first_failure_is_found(empty: Path) -> None:
    binding = Binding(empty)
    with pytest.raises(ConfigurationNotFoundError):
        binding.settings()
    path = written(empty)
    assert binding.settings().project.name == "lab"
    assert binding.name == str(path)


def test_variable_of_bind_time_counts(one: Path, two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATAJOINT_TOML", str(one))
    binding = Binding(two.parent)
    monkeypatch.setenv("DATAJOINT_TOML", str(two))
    assert binding.settings().project.name == "project_one"


def test_removed_working_directory_fails_nothing(tmp_path: Path, one: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    shutil.rmtree(tmp_path / "gone")
    with pytest.raises(ConfigurationNotFoundError):
        binding_of(Owner()).settings()
    monkeypatch.setenv("DATAJOINT_TOML", str(one))
    assert binding_of(Owner()).settings().project.name == "project_one"


# a second schema


def test_schema_activated_below_another_file_is_refused_with_both_files_named(one: Path, two: Path) -> None:
    binding = Binding(one.parent)
    binding.meet("first", one.parent)
    binding.meet("second", two.parent)
    with pytest.raises(ConfigurationError) as caught:
        binding.settings("second")
    for part in ("'second'", str(one), str(two), "dj.Instance", "DATAJOINT_TOML", "configure"):
        assert part in str(caught.value)


def test_rival_file_of_one_schema_leaves_the_others_alone(one: Path, two: Path) -> None:
    binding = Binding(one.parent)
    binding.meet("second", two.parent)
    assert binding.settings("first").project.name == "project_one"
    assert binding.settings().project.name == "project_one"


def test_rival_is_forgotten_when_the_schema_is_activated_where_it_belongs(one: Path, two: Path) -> None:
    binding = Binding(one.parent)
    binding.meet("schema", two.parent)
    binding.meet("schema", one.parent)
    assert binding.settings("schema").project.name == "project_one"


def test_rival_is_refused_after_the_settings_were_read_too(one: Path, two: Path) -> None:
    binding = Binding(one.parent)
    binding.settings("first")
    binding.meet("second", two.parent)
    with pytest.raises(ConfigurationError, match="one pipeline"):
        binding.settings("second")


def test_schema_activated_where_there_is_no_file_shares_the_connections(one: Path) -> None:
    binding = Binding(one.parent)
    binding.meet("second", Path("/"))
    assert binding.settings("second").project.name == "project_one"


def test_connection_without_a_file_takes_that_of_its_next_schema(empty: Path, one: Path) -> None:
    binding = Binding(empty)
    binding.meet("first", empty)
    binding.meet("second", one.parent)
    assert binding.name == str(one)
    assert binding.settings("first").project.name == "project_one"


def test_relative_variable_means_the_same_file_after_a_chdir(
    one: Path, empty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATAJOINT_TOML", "datajoint.toml")
    binding = Binding(one.parent)
    binding.meet("second", empty)
    assert binding.settings("second").project.name == "project_one"


# by hand


def test_settings_given_by_hand_win_over_files(one: Path, two: Path) -> None:
    binding = Binding(one.parent)
    binding.meet("schema", two.parent)
    settings = parse_settings({"project": {"name": "x"}, "storage": {"backend": "memory", "path": "/x"}}, "test")
    binding.configure(settings, "by hand")
    binding.meet("other", two.parent)
    assert binding.name == "by hand"
    assert binding.settings("schema") is settings
    assert binding.settings("other") is settings


def test_other_settings_after_use_are_refused_with_the_way_out(one: Path) -> None:
    binding = Binding(one.parent)
    before = binding.settings()
    settings = parse_settings({"project": {"name": "x"}, "storage": {"backend": "memory", "path": "/x"}}, "test")
    with pytest.raises(ConfigurationError, match=r"already uses the pipeline 'project_one' .* 'x' .* dj\.Instance"):
        binding.configure(settings, "by hand")
    assert binding.settings() is before
    assert binding.name == str(one)


def test_other_settings_of_the_same_name_are_refused_too(one: Path) -> None:
    binding = Binding(one.parent)
    first = parse_settings({"project": {"name": "x"}, "storage": {"backend": "memory", "path": "/x"}}, "test")
    second = parse_settings({"project": {"name": "x"}, "storage": {"backend": "memory", "path": "/y"}}, "test")
    binding.configure(first, "by hand")
    binding.configure(first, "by hand")
    with pytest.raises(ConfigurationError, match="already uses the pipeline"):
        binding.configure(second, "by hand")
    with pytest.raises(ConfigurationError, match="already uses the pipeline"):
        binding.configure(first, "by another hand")


def test_connection_without_a_file_has_no_name(empty: Path) -> None:
    assert Binding(empty).name == ""


def test_the_same_settings_may_be_given_again(one: Path) -> None:
    binding = Binding(one.parent)
    binding.configure(binding.settings(), str(one))
    assert binding.name == str(one)


# owners


def test_owners_bound_together_share_one_binding(one: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(one.parent)
    config, adapter, other = Owner(), Owner(), Owner()
    binding = bind(config, adapter)
    assert binding_of(config) is binding_of(adapter) is binding
    assert binding_of(other) is not binding


def test_new_owner_joins_the_binding_of_a_known_one(one: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(one.parent)
    config, first, second = Owner(), Owner(), Owner()
    assert bind(config, first) is bind(config, second) is binding_of(second)


def test_owners_are_forgotten_when_they_are_gone(one: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(one.parent)
    gc.collect()  # owners of earlier tests
    before = len(bindings._bindings._values)
    owners = [Owner() for _ in range(100)]
    for owner in owners:
        bind(owner)
    assert len(bindings._bindings._values) == before + 100
    del owner, owners
    gc.collect()
    assert len(bindings._bindings._values) == before


def test_owner_at_the_address_of_a_dead_one_starts_afresh(
    one: Path, two: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(50):
        monkeypatch.chdir(one.parent)
        owner = Owner()
        assert binding_of(owner).settings().project.name == "project_one"
        del owner
        monkeypatch.chdir(two.parent)
        owner = Owner()
        assert binding_of(owner).settings().project.name == "project_two"
        del owner


def test_threads_that_need_the_settings_at_once_get_the_same(one: Path) -> None:
    binding, found = Binding(one.parent), []
    barrier = threading.Barrier(8)

    def ask() -> None:
        barrier.wait()
        found.append(binding.settings())

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(settings) for settings in found}) == 1
