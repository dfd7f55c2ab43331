"""DataJoint connections and tables for contenders, ours and DataJoint's own alike.

A table is called by its attribute type; the schema is made by the first who asks for it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datajoint as dj

import datajoint_file
from benchmarks.values import Task

STORE = "bench"
PROJECT = "bench"
OF_DATAJOINT = "of-datajoint"
"""Its store lies beside ours: the two may not overlap."""

ATTRIBUTES = {
    "file": "file",
    "object": f"<object@{STORE}>",
    "attach": f"<attach@{STORE}>",
    "json": "json",
}


def connect(task: Task) -> dj.Instance:
    """Connect, with the task's store as this package's and as DataJoint's own."""
    address = task.database
    instance = dj.Instance(
        address["host"], address["user"], address["password"], port=address["port"], use_tls=False, backend="mysql"
    )
    instance.config.stores[STORE] = _datajoint_store(task.storage)
    storage = {**task.storage, **task.options.get("storage", {})}
    datajoint_file.configure({"project": {"name": PROJECT}, "storage": storage}, connection=instance)
    return instance


def _datajoint_store(storage: dict[str, Any]) -> dict[str, Any]:
    if storage["backend"] == "file":
        directory = Path(storage["path"]).with_name(OF_DATAJOINT)
        directory.mkdir(exist_ok=True)
        return {"protocol": "file", "location": str(directory)}
    return {
        "protocol": "s3",
        "endpoint": storage["endpoint_url"].removeprefix("http://"),
        "secure": False,
        "bucket": storage["bucket"],
        "access_key": storage["credentials"]["key"],
        "secret_key": storage["credentials"]["secret"],
        "location": OF_DATAJOINT,
    }


def table(instance: dj.Instance, task: Task, attribute: str) -> Any:
    """Declare the table of an attribute type, or find it declared."""
    definition = f"id : int32\n---\ndata : {ATTRIBUTES[attribute]}"
    declared = type(f"{attribute.capitalize()}Sample", (dj.Manual,), {"definition": definition})
    samples = instance.Schema(task.schema)(declared)()
    if attribute == "attach":
        _mark_as_json(samples.heading)
    return samples


def _mark_as_json(heading: Any) -> None:
    """Do for ``<attach@>`` on MariaDB what DataJoint does for ``<object@>``; it cannot insert otherwise."""
    heading._attributes["data"] = heading.attributes["data"]._replace(json=True)
