"""A server that keeps a model loaded: requests over HTTP, at a Unix socket or at a port of this machine."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from socketserver import BaseServer, TCPServer, ThreadingMixIn
from typing import Any, NoReturn

from s2scli.configs.address import parse_address
from s2scli.configs.generate import GenerateConfig
from s2scli.console import counted, notice, warn
from s2scli.errors import Interrupted
from s2scli.inference.engine import Engine
from s2scli.inference.handler import Handler
from s2scli.inference.listening import listening, name_of
from s2scli.inference.output import Signals
from s2scli.inference.service import Service

_POLL_SECONDS = 0.1


class Server(ThreadingMixIn, TCPServer):
    """Gives each connection to a socket that listens already a thread of its own."""

    daemon_threads = True

    def __init__(self, listener: socket.socket, handler: type[Handler]) -> None:
        # What TCPServer adds to this is making the socket.
        BaseServer.__init__(self, listener.getsockname(), handler)
        self.socket = listener

    def get_request(self) -> tuple[Any, Any]:
        """Accept a connection."""
        try:
            return super().get_request()
        except OSError:
            # Of too many open files there will be fewer.
            time.sleep(_POLL_SECONDS)
            raise

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has gone is no error; of any other there is one line, and the server goes on."""
        del request, client_address
        error = sys.exception()
        if not isinstance(error, OSError):
            warn(f"a connection failed: {type(error).__name__}: {error}")


def serve(config: GenerateConfig, make_engine: Callable[[GenerateConfig], Engine]) -> NoReturn:
    """Answer requests until a signal, and then those that have begun; a second signal ends it at once.

    Raises Interrupted in the end, and S2SError where there is no place to listen.
    """
    assert config.serve is not None
    with Signals().caught(), listening(parse_address(config.serve)) as listener:
        # Clients that connect from here on wait until the model is loaded.
        with serving(listener, Service(make_engine(config), config)) as service:
            notice(f"{name_of(listener)}: ready")
            try:
                threading.Event().wait()
            except Interrupted as stop:
                number = stop.number
        raise Interrupted(f"interrupted after {counted(service.num_answered, 'request')}", number)


@contextmanager
def serving(listener: socket.socket, service: Service) -> Iterator[Service]:
    """Answer in other threads what comes to a socket; in the end close it, and wait for what has begun."""
    server = Server(listener, type("ServiceHandler", (Handler,), {"service": service}))
    thread = threading.Thread(target=server.serve_forever, args=(_POLL_SECONDS,), daemon=True)
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()
        service.end()
