"""Who is let in, and what is said to everybody else."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import httpx
import pytest
from starlette.responses import PlainTextResponse

from datajoint_file.browse import server
from datajoint_file.browse.guard import HEADERS, Guard
from tests.integration.browse.conftest import running


@pytest.fixture(scope="module")
def guarded() -> Iterator[tuple[str, Guard]]:
    """A server with one page, which says that somebody has come to it."""
    with running(lambda guard: guard.around(PlainTextResponse("come in"))) as address:
        yield address


@pytest.fixture
def client(guarded: tuple[str, Guard]) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=guarded[0]) as made:
        yield made


@pytest.fixture
def inside(client: httpx.Client, guarded: tuple[str, Guard]) -> httpx.Client:
    assert client.get(guarded[1].address()).status_code == 200
    assert client.get("/").text == "come in"
    return client


def test_without_the_secret_nobody_comes_in(client: httpx.Client, guarded: tuple[str, Guard]) -> None:
    name = f"datajoint-file-{guarded[0].rpartition(':')[2]}"
    for url in (
        "/",
        "/enter",
        "/enter?secret=",
        "/enter?secret=x",
        "/enter?pass=",
        "/enter?secret=%00é",
        "/static/copy.js",
    ):
        answer = client.get(url)
        assert (answer.status_code, "set-cookie" in answer.headers) == (403, False), url
    for cookie in (f"{name}=", f"{name}=x", f"{name}", "=", 'a="', f"other={guarded[1]._cookie}", "é=ü"):
        assert client.get("/", headers={b"Cookie": cookie.encode()}).status_code == 403, cookie


def test_the_cookie_is_for_this_server_and_no_script(client: httpx.Client, guarded: tuple[str, Guard]) -> None:
    answer = client.get(guarded[1].address())
    said = answer.headers["set-cookie"]
    assert said.startswith(f"datajoint-file-{guarded[0].rpartition(':')[2]}=")
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(said.split("; "))
    assert "Domain" not in said
    assert guarded[1]._secret not in said + answer.text, "what opens the door is not what keeps it open"


def test_the_secret_of_one_server_does_not_open_another(inside: httpx.Client) -> None:
    other = Guard(1)
    assert inside.get(f"/enter?secret={other._secret}").status_code == 403


def test_an_address_for_once_is_good_once_from_whatever_page(client: httpx.Client, guarded: tuple[str, Guard]) -> None:
    url, headers = guarded[1].address_for_once(), {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert client.get(url, headers={**headers, "Sec-Fetch-Mode": "no-cors"}).status_code == 403
    assert client.head(url, headers=headers).status_code == 403
    assert client.get(url, headers=headers).status_code == 200
    assert client.get(url, headers=headers).status_code == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site", "unheard-of"])
def test_pages_of_other_origins_get_nothing(inside: httpx.Client, guarded: tuple[str, Guard], site: str) -> None:
    for mode in ("navigate", "no-cors", "cors"):
        headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode}
        assert inside.get("/", headers=headers).status_code == 403
        assert inside.get(guarded[1].address(), headers=headers).status_code == 403
    assert inside.get("/", headers={"Sec-Fetch-Site": "same-origin"}).status_code == 200
    assert inside.get("/", headers={"Sec-Fetch-Site": "none"}).status_code == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1", "https://127.0.0.1:{port}"])
def test_other_origins_are_refused(inside: httpx.Client, guarded: tuple[str, Guard], origin: str) -> None:
    origin = origin.format(port=guarded[0].rpartition(":")[2])
    assert inside.get("/", headers={"Origin": origin}).status_code == 403
    assert inside.get("/", headers={"Origin": guarded[0]}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example:{port}",
        "evil.example",
        "127.0.0.1",
        "127.0.0.1:1",
        "127.0.0.1.evil.example:{port}",
        "",
        "[::1]:{port}",
    ],
)
def test_a_name_that_was_bound_to_this_machine_is_refused(
    inside: httpx.Client, guarded: tuple[str, Guard], host: str
) -> None:
    port = guarded[0].rpartition(":")[2]
    assert inside.get("/", headers={"Host": host.format(port=port)}).status_code == 421
    assert inside.get(guarded[1].address(), headers={"Host": host.format(port=port)}).status_code == 421
    assert inside.get("/", headers={"Host": f"localhost:{port}"}).status_code == 200, "through a tunnel, say"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"])
def test_nothing_but_get_and_head_is_taken(inside: httpx.Client, guarded: tuple[str, Guard], method: str) -> None:
    for url in ("/", guarded[1].address()):
        answer = inside.request(method, url)
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")


def test_every_answer_tells_browsers_what_not_to_do(inside: httpx.Client, guarded: tuple[str, Guard]) -> None:
    answers = [inside.get("/"), inside.head("/"), inside.post("/"), inside.get("/", headers={"Host": "x"})]
    answers += [inside.get(guarded[1].address()), inside.get("/", headers={"Origin": "null"})]
    for answer in answers:
        assert {name: answer.headers[name] for name in HEADERS} == HEADERS
        assert "server" not in answer.headers
    policy = answers[0].headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy


def test_who_does_not_ask_or_is_not_let_in_keeps_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_SECONDS_TO_ASK", 0.2)
    with running(lambda guard: guard.around(PlainTextResponse("come in"))) as (url, guard):
        host = url.removeprefix("http://")
        for sent in (b"", b"G", b"GET / HTTP/1.1\r\nHost: ", f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()):
            with socket.create_connection(("127.0.0.1", int(host.partition(":")[2])), timeout=20) as connection:
                connection.sendall(sent)
                with connection.makefile("rb") as answer:
                    assert b"come in" not in answer.read(), "it ends"
        with httpx.Client() as client:
            assert client.get(guard.address()).headers["connection"] == "close"
            assert "connection" not in client.get(url).headers, "whose pages come faster by it"


def test_sockets_of_the_web_are_refused(inside: httpx.Client) -> None:
    headers = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "eA==",
    }
    assert inside.get("/", headers={**headers, "Cookie": ""}).status_code in (400, 403, 426)


def test_no_secret_is_in_a_repr() -> None:
    guard = Guard(1)
    assert guard._secret not in repr(guard) + repr(guard.around(PlainTextResponse("")))
