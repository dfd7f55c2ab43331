"""Few file descriptors (`ulimit -n`): as many files as one likes go up and come down, on a disk and over a network."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.projects import Store, connect, over_local_and_s3, unique
from tests.tables import drop_schema

LIMIT = 64
CHILD = """
import json, os, sys
from pathlib import Path
import datajoint as dj
import datajoint_file
from tests.projects import connect

directory, name, sizes, database, configuration = json.load(sys.stdin)
os.chdir(directory)
instance = connect(type("Postgresql", (), database)())
datajoint_file.configure(configuration, connection=instance)

@instance.Schema(name)
class Recording(dj.Manual):
    definition = "session : int32\\n---\\nraw : file"

contents = {number: bytes([number % 251]) * size for number, size in enumerate(sizes)}
for number, content in contents.items():
    Path(f"{number}.dat").write_bytes(content)
Recording.insert((number, f"{number}.dat") for number in contents)
paths = datajoint_file.download(Recording, "down")
assert {int(path.stem): path.read_bytes() for path in paths} == contents
with datajoint_file.prefetch(Recording) as rows:
    assert {row["session"]: row["raw"].read_bytes() for row in rows} == contents
assert datajoint_file.verify(Recording, progress=False)
print(len(paths))
"""


@over_local_and_s3
def test_any_number_of_files_goes_through_few_descriptors(postgresql: Any, store: Store, tmp_path: Path) -> None:
    sizes = [100] * 100 + [20 * 2**20] * 2
    name = unique("schema")
    address = {key: getattr(postgresql, key) for key in ("host", "port", "user", "password")}
    try:
        result = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", CHILD],
            input=json.dumps([str(tmp_path), name, sizes, address, store.configuration()]),
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (LIMIT, LIMIT)),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (result.returncode, result.stdout.split()[-1:]) == (0, [str(len(sizes))]), result.stderr[-3000:]
    finally:
        instance = connect(postgresql)
        drop_schema(instance.connection, name)
        instance.connection.close()
