"""Settings of a server: where it listens, and how much of it a client may take."""

from __future__ import annotations

from dataclasses import dataclass

from s2scli.schema import setting

_PANEL = "Server"
_DAY = 86_400


@dataclass(frozen=True, kw_only=True)
class ServerConfig:
    """Where to listen, and the bounds of requests, connections and times."""

    serve: str | None = setting(
        None,
        "in place of translating --input, answer requests over HTTP at a Unix socket (its path, or unix:PATH) or a "
        "port of this machine (8080, localhost:8080; 0: any) until a signal ends it",
        panel=_PANEL,
        common=True,
        decides=False,
    )
    max_request_bytes: int = setting(
        64 << 20,
        "longest body of a request; a longer one is refused",
        unit="bytes",
        at_least=1,
        panel=_PANEL,
        needs="serve",
        decides=False,
    )
    max_line_bytes: int = setting(
        64 << 10,
        "longest line of a request; one with a longer line is refused",
        unit="bytes",
        at_least=1,
        panel=_PANEL,
        needs="serve",
        decides=False,
    )
    max_line_tokens: int = setting(
        4096,
        "most tokens of a line of a request, or of a part of one with --on-long split, since the work for a line rises "
        "faster than its length; one with more is refused",
        unit="tokens",
        at_least=1,
        panel=_PANEL,
        needs="serve",
        decides=False,
    )
    max_pending_bytes: int = setting(
        128 << 20,
        "bytes of all requests that are read or answered at a time, but for the first --max-line-bytes of each; beyond "
        "it that which has sent most of those not yet read is refused",
        unit="bytes",
        at_least=1,
        panel=_PANEL,
        needs="serve",
        decides=False,
    )
    max_connections: int = setting(
        256,
        "connections at a time, fewer where the system allows fewer open files; beyond it the one is closed that has "
        "waited longest without a whole request",
        at_least=1,
        panel=_PANEL,
        needs="serve",
        decides=False,
    )
    max_beam: int = setting(
        20,
        "widest beam, and most outputs and candidates, that a request may ask for if the server itself has no more",
        at_least=1,
        panel=_PANEL,
        needs="serve",
        decides=False,
    )
    idle_timeout: float = setting(
        60,
        "how long a connection may wait for a request",
        unit="seconds",
        above=0,
        at_most=_DAY,
        panel=_PANEL,
        needs="serve",
        decides=False,
    )
    request_timeout: float = setting(
        60,
        "how long a request may take from its first byte to its last",
        unit="seconds",
        above=0,
        at_most=_DAY,
        panel=_PANEL,
        needs="serve",
        decides=False,
    )
    send_timeout: float = setting(
        30,
        "how long a client may take to read a part of its answer; one that does not is dropped",
        unit="seconds",
        above=0,
        at_most=_DAY,
        panel=_PANEL,
        needs="serve",
        decides=False,
    )
    grace_period: float = setting(
        30,
        "how long what is being answered when a signal ends the server may take",
        unit="seconds",
        at_least=0,
        at_most=_DAY,
        panel=_PANEL,
        needs="serve",
        decides=False,
    )
