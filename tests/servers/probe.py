"""One HTTP request, for the servers whose readiness shows in one.

Not a client: whatever is asked of a server in earnest goes through the libraries that users have.
"""

from __future__ import annotations

import urllib.error
import urllib.request

_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def status(url: str, data: bytes | None = None) -> int:
    """Return the status of a GET, or of a POST of JSON, whatever it is; OSError if there is no answer."""
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"} if data else {})
    try:
        with _OPENER.open(request, timeout=5) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
