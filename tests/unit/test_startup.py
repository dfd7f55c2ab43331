"""What is loaded, and when: `import datajoint_file` and the help of the command are paid by everybody, every time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import datajoint_file

CLOUD = ("adlfs", "aiobotocore", "aiohttp", "azure", "boto3", "botocore", "gcsfs", "google", "obstore", "s3fs")
"""Clients of stores: each takes longer to load than all of DataJoint may."""

LATER = (
    *("sqlite3", "puremagic", "dask", "distributed"),
    *("datajoint_file.gc", "datajoint_file.collector", "datajoint_file.verification", "datajoint_file.doctor"),
    *(
        "datajoint_file.pipeline.pipeline",
        "datajoint_file.storage",
        "datajoint_file.insert.table_hooks",
        "datajoint_file.verification.verify",
    ),
    *("datajoint_file.cli", "datajoint_file.testing"),
)
"""What is needed to insert, read, verify or collect, and not to declare a table or to fetch."""

LISTED = "print('LOADED', *sys.modules)"


def loaded_by(code: str, program: str = "") -> set[str]:
    """Return the modules that a fresh process has loaded after *code*, run as the program of this name."""
    script = f"import sys; sys.argv = [{program!r}]\n{code}\n"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("LOADED"))
    return set(line.split()[1:])


def among(modules: set[str], names: tuple[str, ...]) -> set[str]:
    return {module for module in modules if any(f"{module}.".startswith(f"{name}.") for name in names)}


@pytest.fixture(scope="module")
def of_datajoint() -> set[str]:
    """What DataJoint itself loads, which differs from version to version."""
    return loaded_by(f"import datajoint\n{LISTED}")


@pytest.fixture(scope="module")
def of_the_package() -> set[str]:
    return loaded_by(f"import datajoint_file\n{LISTED}")


def test_import_loads_no_client_of_a_store(of_datajoint: set[str], of_the_package: set[str]) -> None:
    assert among(of_the_package - of_datajoint, CLOUD) == set()


def test_import_loads_nothing_that_is_needed_later(of_datajoint: set[str], of_the_package: set[str]) -> None:
    assert among(of_the_package - of_datajoint, LATER) == set()


def test_import_hooks_into_datajoint_at_once() -> None:
    hooked = "from datajoint.table import Table; assert hasattr(Table.insert, '_datajoint_file_original')"
    known = "import datajoint.codecs as codecs; assert 'file' in codecs._codec_registry"
    assert "datajoint_file.hooks.codec" in loaded_by(f"import datajoint_file\n{hooked}\n{known}\n{LISTED}")


def test_script_that_is_called_like_the_command_is_hooked_too() -> None:
    hooked = "from datajoint.table import Table; assert hasattr(Table.insert, '_datajoint_file_original')"
    assert loaded_by(f"import datajoint_file\n{hooked}\n{LISTED}", program="/home/lab/datajoint-file.py")


def test_references_are_made_shown_and_compared_without_a_store() -> None:
    row = {
        "path": "lab/x/y",
        "size": 3,
        "hash": f"sha256:{'0' * 64}",
        "original_name": "y",
        "timestamp": "2025-01-15T10:30:00Z",
    }
    code = f"from datajoint_file import FileRef\nref = FileRef.from_row({row!r}, '')\nassert ref.size == 3, repr(ref)"
    assert "datajoint_file.storage" not in loaded_by(f"{code}\n{LISTED}")


@pytest.mark.parametrize("arguments", ["--help", "-h", "--version"])
def test_help_and_version_of_the_command_need_no_datajoint(arguments: str) -> None:
    code = f"from datajoint_file.cli import main\nmain([{arguments!r}], standalone_mode=False)\n{LISTED}"
    loaded = loaded_by(code, program="/usr/bin/datajoint-file")
    assert (
        among(loaded, ("datajoint", "numpy", "pandas", "rich", *CLOUD, *LATER))
        - {
            "datajoint_file.cli",
            "datajoint_file.cli.exit_codes",
            "datajoint_file.cli.main",
        }
        == set()
    )


def test_command_hooks_into_datajoint_before_it_runs() -> None:
    hooked = "from datajoint.table import Table; assert hasattr(Table.insert, '_datajoint_file_original')"
    code = f"from datajoint_file.cli import main\nmain(['gc', '--help'], standalone_mode=False)\n{hooked}\n{LISTED}"
    assert "datajoint_file.cli.gc" in loaded_by(code, program="datajoint-file")


def test_public_names_are_there_however_they_are_asked_for() -> None:
    everything = "from datajoint_file import *\nimport datajoint_file"
    code = f"{everything}\nassert not set(datajoint_file.__all__) - set(globals()), globals()\n{LISTED}"
    assert "datajoint_file.verification" in loaded_by(code)
    assert set(datajoint_file.__all__) <= set(dir(datajoint_file))
    for name in datajoint_file.__all__:
        assert getattr(datajoint_file, name) is getattr(datajoint_file, name)


def test_name_that_is_not_public_is_missing() -> None:
    with pytest.raises(AttributeError, match="'datajoint_file' has no attribute 'nothing'"):
        _ = datajoint_file.nothing
    assert not hasattr(datajoint_file, "nothing")


def test_public_names_are_those_that_type_checkers_see() -> None:
    source = Path(datajoint_file.__file__).read_text(encoding="utf-8")
    guarded = source.split("if TYPE_CHECKING:")[1].split("\n\n")[0]
    seen = {name.strip(",") for line in guarded.splitlines() for name in line.partition(" import ")[2].split()}
    assert seen == set(datajoint_file.__all__)
    for line in guarded.strip().splitlines():
        home, _, names = line.strip().removeprefix("from ").partition(" import ")
        for name in names.split(", "):
            if home != "datajoint_file":
                assert datajoint_file._HOMES[name] == home.removeprefix("datajoint_file."), name
