"""The examples of the specification, run as they are written, in a process of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.projects import Store, over_local_and_s3, unique

EXAMPLE = '''
import datajoint as dj
import datajoint_file

schema = dj.Schema("{schema}")

@schema
class Recording(dj.Manual):
    definition = """
    subject_id : int
    session_id : int
    ---
    raw_data : file          # managed file storage
    processed : file         # another file attribute
    """

# From file path
Recording.insert1({{
    "subject_id": 123,
    "session_id": 45,
    "raw_data": "{directory}/local/path/to/recording.dat",
    "processed": "{directory}/local/path/to/recording.dat",
}})

# From stream with explicit name
with open("{directory}/local/path/data.bin", "rb") as f:
    Recording.insert1({{
        "subject_id": 123,
        "session_id": 46,
        "raw_data": ("custom_name.dat", f),
        "processed": ("custom_name.dat", b"processed"),
    }})

record = (Recording & {{"session_id": 45}}).fetch1()
file_ref = record["raw_data"]

# Access metadata
print(file_ref.path)           # Full storage path
print(file_ref.size)           # File size in bytes
print(file_ref.hash)           # Content hash
print(file_ref.original_name)  # Original filename

# Read content directly (streams from backend)
content = file_ref.read()      # Returns bytes

# Download to local path
local_path = file_ref.download("{directory}/local/destination/")

# Open as fsspec file object
with file_ref.open() as f:
    data = f.read()

assert content == data == local_path.read_bytes() == b"recording"
assert local_path.name == "recording.dat"
schema.drop(prompt=False)
'''


def toml(store: Store) -> str:
    lines = ["[project]", f'name = "{store.project}"', "[storage]"]
    lines += [f'{key} = "{value}"' for key, value in store.table.items() if key != "credentials"]
    lines += ["[storage.credentials]"]
    lines += [f'{key} = "{value}"' for key, value in store.table.get("credentials", {}).items()]
    lines += ["[object_storage]", 'partition_pattern = "subject{subject_id}/session{session_id}"']
    return "\n".join(lines)


@over_local_and_s3
def test_the_specifications_example_runs_as_written(database: Any, store: Store, tmp_path: Path) -> None:
    (tmp_path / "local" / "path" / "to").mkdir(parents=True)
    (tmp_path / "local" / "path" / "to" / "recording.dat").write_bytes(b"recording")
    (tmp_path / "local" / "path" / "data.bin").write_bytes(b"stream")
    (tmp_path / "datajoint.toml").write_text(toml(store))
    backend = "postgresql" if "postgres" in type(database).__name__.lower() else "mysql"
    environment = {
        **os.environ,
        "DJ_HOST": database.host,
        "DJ_PORT": str(database.port),
        "DJ_USER": database.user,
        "DJ_PASS": database.password,
        "DJ_BACKEND": backend,
        "DJ_USE_TLS": "false",
    }
    code = EXAMPLE.format(schema=unique("lab_ephys"), directory=tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert f"{store.project}/subject123/session45/" in done.stdout
    assert {key.split("/objects/")[0].split("/")[2] for key in store.object_keys()} == {"session45", "session46"}
