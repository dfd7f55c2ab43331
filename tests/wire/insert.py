"""Inserts one file, or downloads it, in a process of its own, which trusts the certificate that its environment names.

Run as ``python -m tests.wire.insert`` with a JSON document as its argument. Prints what came of it, as JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datajoint as dj

import datajoint_file
from tests.projects import connect


def main(order: dict[str, Any]) -> dict[str, str]:
    """Do what is ordered and tell the error's class, or nothing."""
    instance = connect(SimpleNamespace(**order["database"]))  # of MySQL: nothing says otherwise
    datajoint_file.configure(order["configuration"], connection=instance)
    schema = instance.Schema(order["schema"])

    @schema
    class Recording(dj.Manual):  # type: ignore[misc]
        definition = """
        recording_id : int32
        ---
        raw_data : file
        """

    try:
        if order["verb"] == "insert":
            Recording.insert1({"recording_id": 1, "raw_data": order["path"]})
        else:
            Recording.fetch1("raw_data").download(Path(order["path"]))
    except Exception as error:  # the test looks at what it is
        return {"error": type(error).__name__, "said": str(error)}
    return {"error": "", "said": ""}


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))), flush=True)
