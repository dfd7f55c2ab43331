"""The site builds without a warning, and a reader's browser fetches nothing from elsewhere.

What the pages say is tested beside this.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import ROOT

FETCHED = re.compile(r'<(?:script|img|link|iframe|source)\b[^>]*\b(?:src|href)="?(https?:)?//[^>]*>', re.IGNORECASE)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(directory)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return directory


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        assert not FETCHED.search(page.read_text(encoding="utf-8")), page
    for style in site.rglob("*.css"):
        assert not re.search(r"(@import|url\()\s*[\"']?(https?:)?//", style.read_text(encoding="utf-8")), style


def test_every_page_can_be_reached_from_the_navigation(site: Path) -> None:
    start = (site / "index.html").read_text(encoding="utf-8")
    for page in site.rglob("*.html"):
        name = page.relative_to(site).as_posix()
        assert name in ("index.html", "404.html") or f'href="{name}"' in start, name


def test_decisions_that_later_ones_replaced_say_so_in_the_navigation(site: Path) -> None:
    start = " ".join((site / "index.html").read_text(encoding="utf-8").split())
    assert "Rooms the plan did not have (superseded by 21)" in start
    assert "(extended by 11)" in start


def test_the_decisions_are_in_the_navigation(site: Path) -> None:
    start = (site / "index.html").read_text(encoding="utf-8")
    records = sorted((ROOT / "docs" / "adr").glob("*.md"))
    assert records
    assert all(f'href="adr/{record.stem}.html"' in start for record in records)


def test_the_reference_has_what_docstrings_say(site: Path) -> None:
    text = (site / "reference" / "python.html").read_text(encoding="utf-8")
    assert "verified against its hash" in text
    assert "DestinationExistsError" in text


def test_a_site_opened_from_a_disk_has_a_search(site: Path) -> None:
    index = (site / "search" / "search_index.js").read_text(encoding="utf-8")
    assert index.startswith("var __index = {")
    assert "Reclaim storage" in index
    assert (site / "assets" / "iframe-worker.js").is_file()
    for page in site.rglob("*.html"):  # browsers allow such pages no worker, so each brings a stand-in
        assert re.search(r'<script src="[./]*/?assets/iframe-worker.js"', page.read_text(encoding="utf-8")), page


def test_the_notebook_is_a_page_with_its_outputs(site: Path) -> None:
    page = (site / "notebook.html").read_text(encoding="utf-8")
    assert re.search(r'<div class="output">.*microaneurysms\.png.*<img src="data:image/png;base64,', page, re.DOTALL)
    assert "SigningError" in page
    assert 'id="take-back-a-change"' in page
