"""The few HTTP requests that the lab makes itself: is a server up?"""

import http.client
import ssl
import urllib.error
import urllib.request


def answers(url: str, *, context: ssl.SSLContext | None = None, timeout: float = 2.0) -> bool:
    """Return whether a GET of ``url`` is answered with a status of 200 to 299."""
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    )
    try:
        with opener.open(url, timeout=timeout) as response:
            response.read()
            return bool(200 <= response.status < 300)
    except (urllib.error.URLError, OSError, http.client.HTTPException):
        return False
