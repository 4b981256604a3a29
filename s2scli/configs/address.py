"""Where a server listens: a Unix socket, or a port that only this machine can reach."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path

from s2scli.errors import UsageError

_ALLOWED = "allowed: a socket's path (with a /, ending in .sock, or unix:PATH), a port, localhost:PORT, 127.0.0.1:PORT"


def parse_address(text: str) -> Path | tuple[str, int]:
    """The path of a socket, or host and port; UsageError for what is neither, or for a host other machines reach."""
    if text.startswith("unix:"):
        path = text.removeprefix("unix:").removeprefix("//")
        if path:
            return Path(path)
    elif "/" in text or text.endswith(".sock"):
        return Path(text)
    match = re.fullmatch(r"(?:(.+):)?([0-9]{1,5})", text)
    if match is None or int(match[2]) > 65535:
        raise UsageError(f"--serve {text}: no address to listen at; {_ALLOWED}")
    host = _loopback((match[1] or "localhost").strip("[]"))
    if not host:
        raise UsageError(
            f"--serve {text}: other machines could reach it; {_ALLOWED} (ssh -L brings it to another machine)"
        )
    return host, int(match[2])


def is_loopback(host: str) -> bool:
    """Whether a name or an address is this machine's own, which other machines cannot reach."""
    return bool(_loopback(host.lower()))


def _loopback(host: str) -> str:
    """The address of a host that is this machine alone, or nothing."""
    if host == "localhost":
        return "127.0.0.1"
    try:
        return host if ipaddress.ip_address(host).is_loopback else ""
    except ValueError:
        return ""
