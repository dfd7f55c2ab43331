"""Threads that work on when the main thread has ended: Python's own pools take no more work then."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.projects import Store, over_local_and_s3, unique

SCRIPT = """
import io, json, os, sys, threading
import datajoint as dj
import datajoint_file
from tests.tables import recording_of

address, configuration, name, directory = json.loads(sys.argv[1])
instance = dj.Instance(**address, use_tls=False, backend="postgresql")
instance.config.safemode = False
datajoint_file.configure(configuration, connection=instance)
schema = instance.Schema(name)
table = recording_of(schema)
content = os.urandom(12_000_000)
with open(f"{directory}/large.dat", "wb") as file:
    file.write(content)

def work():
    threading.main_thread().join()
    sources = [("a", content), f"{directory}/large.dat", io.BytesIO(content), ("small", b"1")]
    for number, source in enumerate(sources):
        table.insert1({"id": number, "raw": source})
    assert (table & "id = 2").fetch1("raw").read() == content
    assert datajoint_file.verify(table, progress=False)
    assert len(datajoint_file.download(table, f"{directory}/out", layout="key")) == 4
    with datajoint_file.prefetch(table, directory=directory) as rows:
        assert len(list(rows)) == 4
    schema.drop(prompt=False)
    print("done")

threading.Thread(target=work).start()
"""


@over_local_and_s3
@pytest.mark.parametrize("engine", ["auto", "fsspec"])
def test_a_thread_stores_and_reads_on_when_the_main_thread_has_ended(
    postgresql: Any, store: Store, engine: str, tmp_path: Path
) -> None:
    keys = ("host", "user", "password", "port")
    address = {name: getattr(postgresql, name) for name in keys}
    if not store.is_local:
        store.table = {**store.table, "engine": engine}
    given = json.dumps([address, store.configuration(), unique("schema"), str(tmp_path)])
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT, given]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert result.stdout.endswith("done\n"), result.stderr[-3000:]
    assert result.returncode == 0
