"""Make the pictures of ``docs/assets``: the card of a notebook, and ``datajoint-file doctor`` in a terminal.

    python docs/site/pictures.py            needs Chromium on the PATH, and the package

What is shown is what the package gives; only the frame around it, and the name of a directory, are made up.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from html import escape
from pathlib import Path

from datajoint_file import FileRef

ASSETS = Path(__file__).parents[1] / "assets"
CHROMIUM = ("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run")
QUIET = ("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic")

ROW = {
    "path": "my_project/subject123/lab_ephys/objects/Recording-raw_data/"
    "ddq6nm2gkpc2oyrh-3frw5qpe6jx2k5ycz7a4mhtvbi/recording.dat",
    "size": 102_400,
    "hash": "sha256:7f8fb5bd0c1c2b5a9f3e0f4f6f8ff7a4d9c3d7fbd1f8c7d6a2f6a3e4cb5a9d10",
    "original_name": "recording.dat",
    "timestamp": "2025-01-15T10:30:00Z",
    "mime_type": "application/octet-stream",
}

CONFIGURATION = """
[project]
name = "place_cells"

[storage]
backend = "file"
path = "store"

[projects.ephys]
backend = "s3"
bucket = "ephys"

[projects.ephys.credentials]
key = "AKIDEXAMPLE"
secret = "${env:EPHYS_SECRET}"
"""

NOTEBOOK = """
<body style="margin:0;background:#fff;font:14px/1.5 system-ui,sans-serif;color:#111">
<div style="padding:16px;display:grid;grid-template-columns:64px 1fr;gap:8px 10px">
<code style="color:#307fc1;text-align:right;padding-top:7px">[3]:</code>
<pre style="margin:0;padding:7px 10px;background:#f5f5f5;border:1px solid #e0e0e0;border-radius:2px">\
(Recording &amp; {{<span style="color:#ba2121">"subject_id"</span>: <span style="color:#080">123</span>}})\
.fetch1(<span style="color:#ba2121">"raw_data"</span>)</pre>
<code style="color:#d84315;text-align:right;padding-top:7px">[3]:</code>
<div style="font-size:12.5px">{card}</div></div></body>
"""

TERMINAL = """
<body style="margin:0;background:#fff"><pre style="margin:0;padding:16px 20px;background:#1e2227;color:#d7dae0;\
border-radius:8px;white-space:pre-wrap;font:13.5px/1.55 'DejaVu Sans Mono',Menlo,Consolas,monospace">{text}\
</pre></body>
"""


def card() -> str:
    """Return the page of a notebook's cell with a `FileRef`."""
    return NOTEBOOK.format(card=FileRef.from_row(ROW, "")._repr_html_())


def terminal() -> str:
    """Return the page of a terminal in which the doctor has found something."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, "datajoint.toml").write_text(CONFIGURATION)
        Path(directory, "store").mkdir()
        program = str(Path(sys.executable).with_name("datajoint-file"))
        environment = {**os.environ, "FORCE_COLOR": "1", "COLUMNS": "100", "PYTHONWARNINGS": "ignore"}
        command = [program, "doctor", "--skip", "database"]
        done = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True)  # noqa: S603
        shown = _left_standing(done.stdout).replace(directory, "~/place_cells")
    return TERMINAL.format(text=_coloured(f"$ datajoint-file doctor --skip database\n{shown}"))


def _left_standing(output: str) -> str:
    """Return what a terminal shows in the end of lines that were written over."""
    lines = (re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line.rpartition("\x1b[2K")[2]) for line in output.split("\n"))
    text = "\n".join(line for line in lines if "checking the" not in line)
    return re.sub(r"\n{3,}", "\n\n", text).strip()


def _coloured(text: str) -> str:
    text = escape(text, quote=False)
    text = re.sub(r"✓", '<span style="color:#7ec77a">✓</span>', text)
    text = re.sub(r"✗|fix:", lambda match: f'<b style="color:#ef7a78">{match[0]}</b>', text)
    return re.sub(r"^(\$ .*|\w+|\d+ checks.*)$", r"<b>\1</b>", text, flags=re.MULTILINE)


def photograph(page: str, picture: Path, width: int, height: int) -> None:
    """Render *page* as a PNG of twice as many pixels as it has."""
    with tempfile.TemporaryDirectory() as directory:
        source = Path(directory, "page.html")
        source.write_text(f"<!doctype html><meta charset='utf-8'>{page}", encoding="utf-8")
        options = [f"--user-data-dir={directory}/profile", "--force-device-scale-factor=2"]
        frame = [f"--window-size={width},{height}", f"--screenshot={picture}", source.as_uri()]
        subprocess.run([*CHROMIUM, *QUIET, *options, *frame], check=True, capture_output=True)  # noqa: S603


if __name__ == "__main__":
    photograph(card(), ASSETS / "card.png", 860, 250)
    photograph(terminal(), ASSETS / "doctor.png", 840, 478)
