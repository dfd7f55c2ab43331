"""ASGI guard: lets in the browser of the person who has started the server, and nobody else on the network or machine.

Whoever has the secret in the address comes in once by it, and by a cookie from then on. Pages of other origins can make
a browser ask for a page of ours, with its cookie even: the fetch metadata tell, and the name that they asked for.
"""

from __future__ import annotations

import secrets
from hmac import compare_digest
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HOST = "127.0.0.1"
ENTRANCE = "/enter"

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
"""What each answer has, whoever gives it."""

_LEAVING = {"Connection": "close"}
"""What an answer has besides, if it is not a page: who is not let in keeps no connection."""

# A redirect would go on in the name of where the browser came from, and a strict cookie would not go with it.
_ONWARD = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="0; url=/">'
    '<link rel="icon" href="/static/icon.svg"><title>Files</title><a href="/">Files</a></html>'
)

_STRANGER = (
    "This page is for who has started `datajoint-file browse`, in the browser that it has opened: open the address "
    "that it has printed.\n"
)


class Guard:
    """Who may come in, and the middleware that sees to it.

    Parameters
    ----------
    port : int
        On which the server listens.
    """

    def __init__(self, port: int) -> None:
        self._hosts = (f"{HOST}:{port}", f"localhost:{port}")
        self._cookie_name = f"datajoint-file-{port}"
        self._secret, self._cookie = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        self._passes: list[str] = []

    def address(self) -> str:
        """Return the address by which its user comes in, typed or pasted, as long as the server runs."""
        return f"http://{self._hosts[0]}{ENTRANCE}?secret={self._secret}"

    def address_for_once(self) -> str:
        """Return an address by which one browser comes in once, from whatever page: one that is opened for it."""
        self._passes.append(secrets.token_urlsafe(32))
        return f"http://{self._hosts[0]}{ENTRANCE}?pass={self._passes[-1]}"

    def around(self, app: ASGIApp) -> ASGIApp:
        """Return *app*, guarded."""

        async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "lifespan":
                await app(scope, receive, send)
                return

            async def send_on(message: Message) -> None:
                if message["type"] == "http.response.start":
                    MutableHeaders(scope=message).update(HEADERS if answer is None else {**HEADERS, **_LEAVING})
                await send(message)

            answer = self._answer(scope)
            await (app if answer is None else answer)(scope, receive, send_on)

        return guarded

    def _answer(self, scope: Scope) -> Response | None:
        """Return the answer to who does not come to the pages; None for who does."""
        if scope["type"] != "http":
            return PlainTextResponse("There is nothing but pages here.\n", 400)
        headers = Headers(scope=scope)
        if headers.getlist("host") not in [[host] for host in self._hosts]:
            return PlainTextResponse("This server is called by another name.\n", 421)
        if scope["method"] not in ("GET", "HEAD"):
            return PlainTextResponse("Nothing can be changed here.\n", 405, {"Allow": "GET, HEAD"})
        if scope["path"] == ENTRANCE:
            return self._enter(scope, headers)
        if not self._is_from_here(headers, "same-origin", "none"):
            return PlainTextResponse("A page of another origin has asked for this.\n", 403)
        return None if self._has_cookie(headers) else PlainTextResponse(_STRANGER, 403)

    def _enter(self, scope: Scope, headers: Headers) -> Response:
        given = parse_qs(scope["query_string"].decode("latin-1"))
        is_known = self._is_from_here(headers, "same-origin", "none") and _equal(given.get("secret"), self._secret)
        if not is_known and headers.get("sec-fetch-mode", "navigate") == "navigate" and scope["method"] == "GET":
            used = next((one for one in self._passes if _equal(given.get("pass"), one)), None)
            if is_known := used is not None:
                self._passes.remove(str(used))
        if not is_known:
            return PlainTextResponse(_STRANGER, 403)
        answer = HTMLResponse(_ONWARD)
        answer.set_cookie(self._cookie_name, self._cookie, path="/", httponly=True, samesite="strict")
        return answer

    def _is_from_here(self, headers: Headers, *sites: str) -> bool:
        origins = [f"http://{host}" for host in self._hosts]
        return headers.get("sec-fetch-site", "none") in sites and headers.get("origin", origins[0]) in origins

    def _has_cookie(self, headers: Headers) -> bool:
        cookies = cookie_parser("; ".join(headers.getlist("cookie")))
        return _equal([cookies.get(self._cookie_name, "")], self._cookie)


def _equal(given: list[str] | None, secret: str) -> bool:
    return compare_digest((given or [""])[0].encode(), secret.encode())
