"""Who may ask: this machine, or who has the token; never another site.

The first of these to object answers; nothing behind it is reached.
"""

import hmac
import ipaddress
from http.cookies import SimpleCookie
from urllib.parse import parse_qsl, urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse

COOKIE = "geoimages"
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "media-src blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
# What a form of another site can send without being asked first.
_FORMS = ("application/x-www-form-urlencoded", "multipart/form-data", "text/plain")


class Guard:
    """ASGI middleware that refuses strangers and adds the headers of every answer.

    Parameters
    ----------
    app : ASGI application
    hosts : list of str
        Names under which the page may be asked for, without the port: another one may
        have been made to point here (DNS rebinding). ``"*"`` allows any numeric address.
    port : int
        The port that it listens on.
    token : str, optional
        What a visitor must show once, in the address.
    """

    def __init__(self, app, hosts, port, token=None):
        self.app, self.hosts, self.port, self.token = app, set(hosts), port, token

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return

        async def send_with_headers(message):
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        answer = self._refusal(scope) or self.app
        await answer(scope, receive, send_with_headers)

    def _refusal(self, scope):
        """The answer to who may not ask, or None."""
        headers = Headers(scope=scope)
        if not self._is_known(headers.getlist("host")):
            return _refused(
                421, "This page answers under its own address only; open that one."
            )
        if self._is_foreign(headers, scope["method"]):
            return _refused(
                403,
                "Another site asked for this page; paste its address into the address "
                "bar instead.",
            )
        if self.token is None or scope["path"] == "/healthz":
            return None
        query = parse_qsl(scope["query_string"].decode("latin-1"))
        given = dict(query).get("token", "")
        if given and self._is_token(given):
            rest = urlencode([pair for pair in query if pair[0] != "token"])
            # Of this page only, whatever follows the slashes of the path.
            path = "/" + scope["path"].lstrip("/\\")
            answer = RedirectResponse(path + (f"?{rest}" if rest else ""), 303)
            answer.set_cookie(COOKIE, self.token, httponly=True, samesite="strict")
            return answer
        cookie = SimpleCookie()
        try:
            cookie.load(headers.get("cookie", ""))
        except Exception:  # a malformed cookie is none
            cookie.clear()
        if COOKIE in cookie and self._is_token(cookie[COOKIE].value):
            return None
        return _refused(
            401, "This page needs the address with its token, printed where it started."
        )

    def _is_token(self, given):
        return hmac.compare_digest(given.encode(), self.token.encode())

    def _is_known(self, hosts):
        if len(hosts) != 1:
            return False
        name, _, port = hosts[0].lower().rpartition(":")
        if not name or port.endswith("]"):
            name, port = hosts[0].lower(), "80"
        if port != str(self.port):
            return False
        return name in self.hosts or ("*" in self.hosts and _is_numeric(name))

    def _is_foreign(self, headers, method):
        site = headers.get("sec-fetch-site", "none")
        if site not in ("same-origin", "none"):
            return True
        origin = headers.get("origin")
        if origin is not None and origin != f"http://{headers['host']}":
            return True
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        return method not in ("GET", "HEAD") and kind in _FORMS


def _is_numeric(name):
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def _refused(status, sentence):
    return PlainTextResponse(f"{sentence}\n", status)
