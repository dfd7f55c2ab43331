"""The pages in a real browser: what people do there, and what pages of others cannot."""

from __future__ import annotations

import http.server
import io
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

import datajoint_file
from datajoint_file.browse.address import Address
from datajoint_file.browse.guard import HOST, Guard
from datajoint_file.browse.server import _door
from tests.projects import over_mysql
from tests.servers.chromium import chromium, resize
from tests.tables import recording_of

pytestmark = over_mysql
PATIENCE_SECONDS = 30
FETCH = "fetch(arguments[0], {credentials: 'include'}).then(() => arguments[1]('read'), () => arguments[1]('refused'))"
MARKUP = "<img src=x onerror=\"document.title='run'\"><svg onload=\"document.title='run'\">'&.csv"


@pytest.fixture(scope="module")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("browser")


@pytest.fixture(scope="module")
def browser(downloads: Path) -> Iterator[Chrome]:
    with chromium(downloads) as made:
        yield made


@pytest.fixture
def inside(browser: Chrome, served: tuple[str, Guard], tmp_path: Path) -> Chrome:
    """A browser that was sent on by the private file, as the command opens it."""
    resize(browser, 1280, 900)
    browser.get(_door(tmp_path, served[1].address_for_once()).as_uri())
    wait(browser, lambda: browser.find_elements(By.LINK_TEXT, "Usage"))
    return browser


def wait(browser: Chrome, what: Any) -> Any:
    return WebDriverWait(browser, PATIENCE_SECONDS, poll_frequency=0.05).until(lambda _: what())


def click(browser: Chrome, text: str) -> None:
    browser.find_element(By.PARTIAL_LINK_TEXT, text).click()


def test_walking_copying_and_downloading(inside: Chrome, table: Any, downloads: Path) -> None:
    table.insert1({"id": 7, "raw": ("trials.csv", b"trial,outcome\n1,hit\n"), "extra": None})
    inside.refresh()
    click(inside, table.database)
    wait(inside, lambda: "1 file, 20 B" in inside.find_element(By.TAG_NAME, "main").text)
    click(inside, "raw")
    inside.find_element(By.TAG_NAME, "summary").click()
    inside.find_element(By.NAME, "name").send_keys("*.csv", Keys.ENTER)
    wait(inside, lambda: "name=%2A.csv" in inside.current_url or "name=*.csv" in inside.current_url)
    click(inside, "trials.csv")
    grant = {
        "origin": inside.execute_script("return origin"),
        "permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"],
    }
    inside.execute_cdp_cmd("Browser.grantPermissions", grant)
    for number, copied in enumerate(
        (table.fetch1("raw").full_path, f"dj.virtual_schema('{table.database}').Recording")
    ):
        button = inside.find_elements(By.CSS_SELECTOR, "button.copy")[number]
        button.click()
        wait(inside, lambda: button.text == "Copied")  # noqa: B023 - it waits here
        assert copied in inside.execute_async_script("navigator.clipboard.readText().then(arguments[0])")
    click(inside, "Download")
    arrived = downloads / "trials.csv"
    wait(inside, arrived.exists)
    assert arrived.read_bytes() == b"trial,outcome\n1,hit\n"
    logged: list[dict[str, Any]] = inside.get_log("browser")  # type: ignore[no-untyped-call]
    assert not [entry for entry in logged if entry["level"] == "SEVERE"]


def test_a_browser_takes_a_damaged_file_for_a_failure(inside: Chrome, table: Any, store: Any) -> None:
    table.insert1({"id": 1, "raw": ("large.dat", b"x" * 5 * 2**20), "extra": None})
    store.damage(table.fetch1("raw").path, b"x" * (5 * 2**20 - 1) + b"y")
    reads = "fetch(arguments[0]).then(a => a.blob()).then(() => arguments[1]('whole'), () => arguments[1]('failed'))"
    url = Address(table.database, "Recording", "raw").url("download", (1,))
    assert inside.execute_async_script(reads, url) == "failed"


def test_markup_in_names_keys_titles_and_files_runs_nothing(inside: Chrome, schema: Any) -> None:
    table = recording_of(schema, "name : varchar(120)\n---\nraw : file", "Named")
    content = f"{MARKUP},b\n{MARKUP},<script>document.title='run'</script>\n".encode()
    table.insert1({"name": MARKUP, "raw": datajoint_file.File(content, name=MARKUP, title=MARKUP)})
    listed = Address(schema.database, "Named", "raw").url("files")
    inside.get(inside.current_url.rstrip("/") + listed)
    pages = [inside.page_source]
    assert MARKUP in inside.find_element(By.TAG_NAME, "main").text
    inside.find_element(By.CSS_SELECTOR, "td.name a").click()
    assert MARKUP in inside.find_element(By.TAG_NAME, "h1").text
    pages.append(inside.page_source)
    inside.find_element(By.NAME, "q").send_keys("onerror", Keys.ENTER)
    wait(inside, lambda: "/search" in inside.current_url)
    pages.append(inside.page_source)
    for page in pages:
        assert "<img src=x" not in page
        assert "<svg" not in page
    script = "const s = document.createElement('script'); s.textContent = 'document.title = 1'; document.head.append(s)"
    inside.execute_script(script)
    assert inside.title == "Search", "and no script would, if one had come in"


class _Elsewhere(http.server.BaseHTTPRequestHandler):
    """A page of another origin, which is what its address says."""

    def do_GET(self) -> None:
        target = self.path.partition("?")[2]
        page = f'<title>elsewhere</title><a href="{target}">there</a><img src="{target}"><iframe src="{target}">'
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(page.encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def elsewhere() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer((HOST, 0), _Elsewhere)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"http://{HOST}:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_pages_of_other_origins_do_not_come_in(inside: Chrome, served: tuple[str, Guard], elsewhere: str) -> None:
    """Another port of this machine is the same site, to which the cookie goes."""
    for host in (elsewhere, elsewhere.replace(HOST, "localhost")):
        for target in (f"{served[0]}/", served[1].address()):
            inside.get(f"{host}/?{target}")
            assert inside.title == "elsewhere"
            assert inside.execute_async_script(FETCH, target) == "refused"
            assert not inside.execute_script("return document.images[0].naturalWidth")
            inside.find_element(By.TAG_NAME, "a").click()
            wait(inside, lambda: inside.current_url.startswith(served[0]))
            assert "Schemas" not in inside.page_source
            assert "origin" in inside.page_source or "for who has started" in inside.page_source
    inside.get(served[0])
    assert "Schemas" in inside.page_source


@pytest.mark.parametrize(("width", "height"), [(1280, 900), (390, 844)])
def test_no_page_is_wider_than_its_window(
    inside: Chrome, served: tuple[str, Guard], schema: Any, width: int, height: int, tmp_path: Path
) -> None:
    definition = "subject_id : int32\nsession_id : int32\n---\nraw_data : file\nframe = null : file"
    table = recording_of(schema, definition)
    long = "a_name_without_any_place_to_break_it_" * 5
    picture = io.BytesIO()
    Image.fromarray(np.zeros((600, 900), "uint8")).save(picture, "PNG")
    wide = (
        ",".join(f"channel_{n}" for n in range(40)) + "\n" + ",".join("0.123456789" for n in range(40)) + "\n"
    ).encode()
    table.insert1(
        {"subject_id": 1, "session_id": 1, "raw_data": (f"{long}.csv", wide), "frame": ("a.png", picture.getvalue())}
    )
    table.insert1({"subject_id": 1, "session_id": 2, "raw_data": ("a.dat", bytes(300)), "frame": None})
    (tmp_path / "run" / long).mkdir(parents=True)
    (tmp_path / "run" / long / "a.txt").write_bytes(b"x" * 1000)
    table.insert1({"subject_id": 2, "session_id": 1, "raw_data": tmp_path / "run", "frame": None})
    address = Address(schema.database, "Recording", "raw_data")
    urls = [
        "/",
        address.url("tables"),
        address.url("files"),
        address.url("files", size="wrong" * 30),
        "/usage",
        "/search?q=a*",
    ]
    urls += [address.url("file", (1, n)) for n in (1, 2)] + [
        address.of("frame").url("file", (1, 1)),
        address.url("file", (2, 1)),
    ]
    urls += [
        address.url("file", (2, 1), member=long),
        "/nothing",
        Address(schema.database).url("usage", by="subject_id, month"),
    ]
    resize(inside, width, height)
    for url in urls:
        inside.get(served[0] + url)
        assert inside.execute_script("return innerWidth") == width
        assert inside.execute_script("return document.documentElement.scrollWidth") <= width, url


def test_the_keyboard_is_enough(inside: Chrome, table: Any) -> None:
    table.insert1({"id": 1, "raw": ("a.dat", b"1"), "extra": None})
    inside.get(inside.current_url.rstrip("/") + Address(table.database, "Recording", "raw").url("files"))
    reached = list[str]()
    for _ in range(30):
        inside.switch_to.active_element.send_keys(Keys.TAB)
        reached.append(
            inside.execute_script("return document.activeElement.textContent || document.activeElement.name")
        )
        if "a.dat" in reached:
            break
    assert reached[0] == "To the content"
    assert {"Usage", "Search", "Filter", "a.dat"} <= {text.strip() for text in reached}
    inside.switch_to.active_element.send_keys(Keys.ENTER)
    wait(inside, lambda: inside.find_elements(By.CSS_SELECTOR, "button.copy"))
