"""Make the pictures of ``docs/how-to/browse.md``: pages of `datajoint-file browse` on a small laboratory, made up here.

    python docs/site/browsing.py [DIRECTORY]        needs Chromium, and the database that tests need

Into a DIRECTORY go more pages than those that the documentation shows, also for a narrow window and in dark colours.
Months are spread over a year by hand; all else is what the package shows.
"""

from __future__ import annotations

import io
import os
import socket
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

import datajoint as dj  # noqa: E402 - the root is where the servers of the tests are
import numpy as np  # noqa: E402
from PIL import Image  # noqa: E402

import datajoint_file  # noqa: E402
from datajoint_file.browse.address import Address  # noqa: E402
from datajoint_file.browse.archive import Archive  # noqa: E402
from datajoint_file.browse.guard import HOST, Guard  # noqa: E402
from datajoint_file.browse.pages import application  # noqa: E402
from datajoint_file.browse.server import server_of  # noqa: E402
from tests.servers import Servers  # noqa: E402
from tests.servers.chromium import chromium, resize  # noqa: E402

TABLES = {
    "Recording": "subject_id : int32\nsession_id : int32\n---\nraw_data : file\nnotes = null : file",
    "Behavior": "subject_id : int32\nsession_id : int32\n---\ntrials : file",
    "Histology": "subject_id : int32\nslice : int32\n---\nimage : file",
    "SpikeSorting": "subject_id : int32\nsession_id : int32\nsorter : varchar(32)\n---\nresult : file",
}

ASSETS = ROOT / "docs" / "assets"
SHOWN = ("browse-files.png", "browse-file.png", "browse-usage-narrow.png")
KINDS = {"": (1080, 720, False), "-narrow": (390, 844, False), "-dark": (1080, 720, True)}
"""Widths and heights of windows, and whether their user likes it dark."""

COUNTED = """
const done = arguments[0];
const counts = () => [...document.querySelectorAll(".sum")].some(e => e.textContent === "…" || e.tagName === "A");
const look = () => counts() ? setTimeout(look, 50) : done();
look();
"""


def main(directory: Path) -> None:
    """Fill a laboratory, and take pictures of its pages."""
    with tempfile.TemporaryDirectory() as made:
        servers = Servers(Path(made) / "servers", os.getpid())
        try:
            _take(directory, Path(made), servers.mysql())
        finally:
            servers.stop_all()


def _take(directory: Path, made: Path, database: Any) -> None:
    (made / "store").mkdir()
    (made / "browser").mkdir()

    def connect() -> Any:
        where: dict[str, Any] = {"port": database.port, "use_tls": False}
        instance = dj.Instance(database.host, database.user, database.password, **where)
        document = {"project": {"name": "ephys"}, "storage": {"backend": "file", "path": str(made / "store")}}
        datajoint_file.configure(document, connection=instance)
        return instance

    _fill(connect(), made)
    archive = Archive(lambda: connect().connection)
    with socket.create_server((HOST, 0)) as listening, chromium(made / "browser") as browser:
        guard = Guard(listening.getsockname()[1])
        server = server_of(guard.around(application(archive)))
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            browser.get(guard.address())
            _pictures(directory, browser, guard.address().partition("/enter")[0])
        finally:
            server.should_exit = True
            thread.join()
            archive.close()


def _pictures(directory: Path, browser: Any, site: str) -> None:
    recordings = Address("lab_ephys", "Recording", "raw_data")
    pages = {
        "schemas": "/",
        "tables": Address("lab_ephys").url("tables"),
        "files": recordings.url("files", name="*.dat", size=">1 MB"),
        "file": Address("lab_ephys", "Histology", "image").url("file", (104, 3)),
        "table": Address("lab_ephys", "Behavior", "trials").url("file", (104, 2)),
        "directory": Address("lab_ephys", "SpikeSorting", "result").url("file", (104, 2, "kilosort4")),
        "usage": Address("lab_ephys").url("usage", by="month"),
        "search": "/search?q=histology",
        "nothing": recordings.url("files", size="many"),
    }
    browser.execute_cdp_cmd("Emulation.setScrollbarsHidden", {"hidden": True})
    for kind, (width, height, is_dark) in KINDS.items():
        resize(browser, width, height, is_dark=is_dark)
        for name, url in pages.items():
            path = directory / f"browse-{name}{kind}.png"
            if directory == ASSETS and path.name not in SHOWN:
                continue
            browser.get(site + url)
            browser.execute_async_script(COUNTED)
            picture = Image.open(io.BytesIO(browser.get_screenshot_as_png())).convert("RGB")
            picture.quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)


def _fill(instance: Any, made: Path) -> None:
    schema, numbers = instance.Schema("lab_ephys"), np.random.default_rng(7)
    tables = {name: schema(type(name, (dj.Manual,), {"definition": text})) for name, text in TABLES.items()}
    for subject in range(101, 109):
        for session in range(1, 5):
            key, day = {"subject_id": subject, "session_id": session}, f"2026-0{1 + (subject + session) % 8}-1{session}"
            raw = numbers.integers(-200, 200, numbers.integers(300_000, 1_500_000), "int16").tobytes()
            note = datajoint_file.File(
                b"Good unit yield.\nProbe at 2.1 mm.\n", name=f"{day}.txt", title="Surgeon's notes"
            )
            tables["Recording"].insert1(
                {**key, "raw_data": (f"m{subject}_{day}_g0_t0.imec0.ap.dat", raw), "notes": note}
            )
            tables["Behavior"].insert1({**key, "trials": (f"m{subject}_{day}_trials.csv", _trials(numbers))})
        for piece in range(1, 5):
            image = (f"histology_m{subject}_s{piece}.png", _slice(numbers))
            tables["Histology"].insert1({"subject_id": subject, "slice": piece, "image": image})
    result = made / "kilosort4"
    result.mkdir()
    np.save(result / "templates.npy", np.zeros((40, 61, 32), "float32"))
    np.save(result / "spike_times.npy", np.arange(90_000))
    (result / "cluster_group.tsv").write_text("cluster_id\tgroup\n0\tgood\n1\tmua\n")
    (result / "params.py").write_text("n_channels_dat = 384\nsample_rate = 30000.0\n")
    for session in range(1, 5):
        tables["SpikeSorting"].insert1(
            {"subject_id": 104, "session_id": session, "sorter": "kilosort4", "result": result}
        )
    datajoint_file.tag(tables["Histology"] & "subject_id = 104", "checked")
    month = "LPAD(1 + (subject_id + session_id) MOD 8, 2, '0')"
    session = f"CONCAT('2026-', {month}, '-1', session_id, 'T10:3', subject_id MOD 10, ':00Z')"
    for name, attribute in (("Recording", "raw_data"), ("Recording", "notes"), ("Behavior", "trials")):
        _date(tables[name], attribute, session)
    for name, attribute in (("Histology", "image"), ("SpikeSorting", "result")):
        _date(tables[name], attribute, "CONCAT('2026-08-2', subject_id MOD 10, 'T16:05:00Z')")


def _date(table: Any, attribute: str, stored: str) -> None:
    changed = f"{attribute} = JSON_SET({attribute}, '$.timestamp', {stored})"
    table.connection.query(f"UPDATE {table.full_table_name} SET {changed}")  # noqa: S608 - all of it is from here


def _trials(numbers: Any) -> bytes:
    rows = (
        f"{n},{'left' if side else 'right'},{'hit' if hit else 'miss'},{time:.3f}"
        for n, (side, hit, time) in enumerate(
            zip(numbers.random(60) < 0.5, numbers.random(60) < 0.7, numbers.gamma(4, 0.1, 60), strict=True), 1
        )
    )
    return "\n".join(["trial,stimulus,outcome,reaction_time_s", *rows, ""]).encode()


def _slice(numbers: Any) -> bytes:
    """Return a picture that has the look of cells in a slice."""
    side = 360
    y, x = np.mgrid[0:side, 0:side]
    shape = ((x - 180) / 165) ** 2 + ((y - 180) / 150) ** 2 < 1
    layers = 26 + 18 * np.cos(np.hypot(x - 180, y - 180) / 17)
    picture = np.zeros((side, side, 3))
    picture[..., 2] = shape * (layers + 40)
    for _ in range(260):
        cx, cy, width = numbers.uniform(30, 330), numbers.uniform(40, 320), numbers.uniform(1.5, 3)
        cell = np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * width**2)) * shape
        picture[..., 1] += cell * numbers.uniform(80, 220)
        picture[..., 0] += cell * (numbers.random() < 0.15) * 220
    into = io.BytesIO()
    Image.fromarray(picture.clip(0, 255).astype("uint8")).save(into, "PNG")
    return into.getvalue()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ASSETS)
