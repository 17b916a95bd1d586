"""The server of the page, on this machine unless another address is asked for."""

import asyncio
import contextlib
import errno
import secrets
import socket
import threading
import webbrowser

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from .app import make_app
from .safety import LOOPBACK
from .tasks import Preparing

_SECONDS_OF_HEADERS = 10
_MOST_CONNECTIONS = 256


class ImpatientProtocol(H11Protocol):
    """HTTP/1.1 that hangs up on who opens a connection, or begins to ask, and no more."""

    seconds, _clock = _SECONDS_OF_HEADERS, None

    def connection_made(self, transport):
        super().connection_made(transport)
        self._watch()

    def data_received(self, data):
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc):
        self._stop()
        super().connection_lost(exc)

    def _watch(self):
        """Let the clock run while headers are awaited, the first or those that follow."""
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop()
        elif self._clock is None:
            self._clock = self.loop.call_later(self.seconds, self.transport.close)

    def _stop(self):
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None


def listen(host, port):
    """Return a socket that listens, or raise an OSError in one line."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        taken = error.errno in (errno.EADDRINUSE, errno.EACCES)
        raise OSError(
            f"The page cannot listen on {host}, port {port} ({error.strerror}); choose "
            f"another {'port with --port' if taken else 'address with --host'}."
        ) from None
    listener.listen(128)
    return listener


def make_server(desk, listener, host="127.0.0.1", **limits):
    """Return a server for a socket, the address of the page and its token, if any.

    Parameters
    ----------
    desk : Desk
        What the page works with.
    listener : socket
        Bound.
    host : str
        The address that was asked for.
    **limits
        Of `Page`.
    """
    port, token = listener.getsockname()[1], None
    name = f"[{host}]" if ":" in host else host
    hosts = [*LOOPBACK]
    if host not in ("127.0.0.1", "localhost", "::1"):
        token = secrets.token_urlsafe(24)
        hosts.append(name)
        if host in ("0.0.0.0", "::"):  # whatever addresses this machine has
            hosts += ["*", socket.gethostname().lower()]
            name = socket.gethostname()
    config = uvicorn.Config(
        make_app(desk, hosts, port, token, **limits),
        http=ImpatientProtocol,
        ws="none",
        lifespan="off",
        access_log=False,
        log_level="error",
        server_header=False,
        proxy_headers=False,
        limit_concurrency=_MOST_CONNECTIONS,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=2,
    )
    address = f"http://{name}:{port}/" + (f"?token={token}" if token else "")
    return uvicorn.Server(config), address


def serve(desk, host="127.0.0.1", port=8765, *, browser=True, echo=print):
    """Serve the page until it is interrupted.

    Parameters
    ----------
    desk : Desk
        What it works with.
    host : str, default="127.0.0.1"
        The address to listen on. Any but this machine's own needs a token, which is a
        part of the address that is printed.
    port : int, default=8765
        0 takes a free one.
    browser : bool, default=True
        Whether to open a browser.
    echo : callable, default=print
        Called with what a person should read.
    """
    listener = listen(host, port)
    server, address = make_server(desk, listener, host)
    echo(f"The page of {desk.path.name} is at {address}")
    if host not in ("127.0.0.1", "localhost", "::1"):
        echo("Whoever has this address can see the collection, and vote and label.")
    echo("Ctrl+C ends it.")
    if browser:
        threading.Thread(target=webbrowser.open, args=[address], daemon=True).start()
    with contextlib.suppress(Preparing):
        desk.prepare()  # before anyone asks
    try:
        asyncio.run(server.serve(sockets=[listener]))
    finally:
        desk.close()
        listener.close()
