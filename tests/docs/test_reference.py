"""The reference is complete: every key, option, error and public name of the package is on its page, and none besides.

Whether what is said there is right is for `test_blocks`, and for readers.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import re
from types import ModuleType
from typing import get_args, get_type_hints

import click
import pytest

import datajoint_file
from datajoint_file import errors, testing
from datajoint_file.cli import main as datajoint_file_command
from datajoint_file.config.rules import _KINDS
from datajoint_file.config.settings import (
    CacheSettings,
    DisplaySettings,
    ObjectStorageSettings,
    ProjectSettings,
    ProvenanceSettings,
    ScratchSettings,
    StorageSettings,
)
from datajoint_file.model.metadata import FileMetadata
from datajoint_file.sql.dialect import Unseen
from tests.docs.pages import ROOT, Block, blocks_of, documentation, modules

REFERENCE = ROOT / "docs" / "reference"


def section(page: str, heading: str) -> str:
    """Return what stands below a heading of a reference page."""
    text = (REFERENCE / page).read_text(encoding="utf-8")
    found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"{page} has no section {heading}"
    return found[1]


def first_cells(table: str) -> set[str]:
    """Return the names in backticks of the first column of a table."""
    return set(re.findall(r"^\| `([^`]+)`", table, re.MULTILINE))


@pytest.mark.parametrize(
    ("heading", "model"),
    [
        ("`[project]`", ProjectSettings),
        ("`[storage]`", StorageSettings),
        ("`[object_storage]`", ObjectStorageSettings),
        ("`[cache]`", CacheSettings),
        ("`[scratch]`", ScratchSettings),
        ("`[display]`", DisplaySettings),
        ("`[provenance]`", ProvenanceSettings),
    ],
)
def test_every_key_of_the_configuration_is_listed(heading: str, model: type) -> None:
    assert first_cells(section("configuration.md", heading)) == set(model.model_fields)  # type: ignore[attr-defined]


@pytest.mark.parametrize("backend", ["s3", "gcs", "azure"])
def test_every_credential_is_listed(backend: str) -> None:
    row = next(r for r in section("configuration.md", "`[storage.credentials]`").splitlines() if f"| `{backend}`" in r)
    assert set(re.findall(r"`(\w+)`", row)) - {backend} == set(_KINDS[backend].credentials or ())


@pytest.mark.parametrize("name", sorted(datajoint_file_command.commands))
def test_every_option_of_a_command_is_listed(name: str) -> None:
    command = datajoint_file_command.commands[name]
    options = {option for p in command.params if isinstance(p, click.Option) for option in p.opts}
    text = section("command-line.md", f"datajoint-file {name}")
    assert {option.split()[0] for option in re.findall(r"`(--?\w[^`]*)`", text)} == options


def test_every_command_is_listed() -> None:
    text = (REFERENCE / "command-line.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^## datajoint-file (\w+)", text, re.MULTILINE)) == set(datajoint_file_command.commands)


def test_every_public_name_is_on_the_python_page() -> None:
    text = (REFERENCE / "python.md").read_text(encoding="utf-8")
    assert set(datajoint_file.__all__) <= set(re.findall(r"^## (\w+)$", text, re.MULTILINE))


def test_every_public_name_for_tests_is_listed() -> None:
    listed = re.findall(
        r"^::: datajoint_file\.testing\.(?:conformance\.)?(\w+)$", section("storage.md", "For tests"), re.M
    )
    assert set(listed) == set(testing.__all__)


def test_every_field_of_a_row_is_listed() -> None:
    assert first_cells(section("rows-and-keys.md", "The row")) == set(FileMetadata.__slots__) - {"whole"}  # in no row


@pytest.mark.parametrize("block", [block for block in blocks_of("json") if not block.title], ids=str)
def test_a_row_that_is_shown_could_be_one(block: Block) -> None:
    row = json.loads(block.content)
    assert FileMetadata.from_json(row).to_json() == row


def test_the_family_of_errors_is_drawn_as_it_is() -> None:
    drawn = re.findall(r"(?:[├└]── |^)(\w+Error)\b", section("errors.md", "The family"), re.MULTILINE)
    defined = [
        name
        for name, value in inspect.getmembers(errors, inspect.isclass)
        if issubclass(value, errors.DataJointFileError)
    ]
    assert sorted(drawn) == sorted(defined)
    assert _tree(section("errors.md", "The family")) == _tree(
        re.sub("^    ", "", errors.__doc__ or "", flags=re.MULTILINE)
    )
    listed = re.findall(r"^::: datajoint_file\.errors\.(\w+)$", section("errors.md", "One by one"), re.MULTILINE)
    assert sorted(listed) == sorted(defined)


def _tree(text: str) -> list[str]:
    """Return the lines of a drawn tree, without what is said of each name."""
    return re.findall(r"^[│├└─ ]+── \w+Error(?: \([\w, ]+\))?", text, re.MULTILINE)


def test_names_the_reference_renders_exist() -> None:
    for page in sorted(REFERENCE.glob("*.md")):
        for name in re.findall(r"^::: (\S+)$", page.read_text(encoding="utf-8"), re.MULTILINE):
            module, _, attribute = name.rpartition(".")
            assert inspect.getdoc(getattr(importlib.import_module(module), attribute)), name


def test_errors_named_in_running_text_exist() -> None:
    known = {name for name, _ in inspect.getmembers(errors, inspect.isclass)}
    known |= {"LostConnectionError", "FileNotFoundError", "TypeError", "ValueError", "RecursionError", "DataJointError"}
    for page in documentation():
        named = set(re.findall(r"`(\w+Error)`", page.read_text(encoding="utf-8")))
        assert named <= known, page


def test_relative_links_lead_somewhere() -> None:
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_modules_named_in_the_documentation_exist() -> None:
    known = set(modules())
    for page in documentation():
        for name in re.findall(r"`(datajoint_file(?:\.[a-z_]+)+)`", page.read_text(encoding="utf-8")):
            parent, _, attribute = name.rpartition(".")
            assert name in known or hasattr(importlib.import_module(parent), attribute), f"{page.name}: {name}"


def refusal_kinds() -> set[str]:
    """Return the first argument of every `Refusal` that the package makes, whichever name stands for it there."""
    kinds = {f"hidden-{what}" for what in get_args(get_type_hints(Unseen)["what"])}
    for name in modules():
        module = importlib.import_module(name)
        tree = ast.parse(inspect.getsource(module))
        for call in ast.walk(tree):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "Refusal":
                kinds |= _texts(call.args[0], module, tree)
    return kinds


def _texts(first: ast.expr, module: ModuleType, tree: ast.Module) -> set[str]:
    """Return what an argument may be: itself, a constant of the module, or what is assigned to a variable."""
    if isinstance(first, ast.Constant):
        return {str(first.value)}
    if isinstance(first, ast.JoinedStr):
        assert ast.unparse(first) == "f'hidden-{found.what}'", ast.unparse(first)
        return set()
    assert isinstance(first, ast.Name), ast.unparse(first)
    if hasattr(module, first.id):
        return {str(getattr(module, first.id))}
    found = set[str]()
    for node in ast.walk(tree):
        match node:
            case ast.Assign(targets=[ast.Tuple(elts=names)], value=ast.Tuple(elts=values)):
                pairs = zip(names, values, strict=True)
                found |= {ast.literal_eval(value) for name, value in pairs if ast.unparse(name) == first.id}
    assert found, f"{module.__name__}: {first.id}"
    return found


def test_every_kind_of_refusal_is_listed_once() -> None:
    text = (ROOT / "docs" / "how-to" / "reclaim-storage.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`[^|]+) \|", text[text.index("## When it refuses") :], re.MULTILINE)
    listed = [kind for row in rows for kind in re.findall(r"`([a-z-]+)`", row)]
    assert sorted(listed) == sorted(refusal_kinds())
