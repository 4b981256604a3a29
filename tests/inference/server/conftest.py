"""A server of the toy Transformer, and its clients."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from clients import CLIENTS, SEARCH, Client
from generating import Generator

from s2scli.configs.address import parse_address
from s2scli.configs.generate import GenerateConfig
from s2scli.generate import make_translator
from s2scli.inference.server.serve import serving
from s2scli.inference.server.service import Service
from s2scli.inference.server.sockets import open_listener
from s2scli.schema import build


@pytest.fixture
def run(transformer: Generator) -> Generator:
    """`generate` with the model that the server has."""
    return transformer


@pytest.fixture
def exported(toy_export: Path, generating: Callable[[Path], Generator]) -> Generator:
    """`generate` with that model as CTranslate2 runs it; a server gets it as `path`."""
    return generating(toy_export)


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """Close the connections that a test has left open."""
    yield
    while CLIENTS:
        CLIENTS.pop().close()


@pytest.fixture
def start(run: Generator, tmp_path: Path) -> Iterator[Callable[..., Client]]:
    """Starts a server with some settings, at a new Unix socket or at a port, and gives a client of it."""
    with ExitStack() as resources:

        def started(place: str = "", **settings: Any) -> Client:
            number = len(list(tmp_path.glob("*.sock")))
            address = place or str(tmp_path / f"{number}.sock")
            config = build(GenerateConfig, {"path": run.path, "serve": address} | SEARCH | settings)
            listener = resources.enter_context(open_listener(parse_address(address)))
            resources.enter_context(serving(listener, Service(make_translator(config), config)))
            name = listener.getsockname()
            return Client(name if place else Path(name))

        yield started
