"""A stand-in for `s2s` in scripts: the command runs in a process that is forked from one that has torch loaded.

A script calls it like `s2s` itself: it has the caller's words, folder, environment and standard streams, and its exit
code. What it spares is the start of Python and of torch, which takes longer than most of the commands of the manual do
on little data.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NoReturn

from loaded import forked, take_streams

from s2scli.cli.start import main
from s2scli.sweeping import child

# What is called: it hands over its standard streams, then all else, hands on a request to end to the process that runs
# the command, and waits for an exit code. Without a code that process was killed.
CLIENT = """
import json, os, signal, socket, sys
with socket.socket(socket.AF_UNIX) as connection:
    connection.connect({address!r})
    socket.send_fds(connection, [b"."], [0, 1, 2])
    call = {{"words": sys.argv[1:], "folder": os.getcwd(), "environment": dict(os.environ)}}
    connection.sendall(json.dumps(call).encode())
    connection.shutdown(socket.SHUT_WR)
    answer = connection.makefile("rb")
    process = int(answer.readline())
    signal.signal(signal.SIGTERM, lambda number, frame: os.kill(process, number))
    code = answer.readline()
sys.exit(int(code) if code else "the process of the command was killed")
"""


@contextmanager
def loaded_commands() -> Iterator[Path]:
    """A folder with the stand-in, for the front of a script's PATH; it works until the context ends."""
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        address = str(folder / "socket")
        (folder / "bin").mkdir()
        (folder / "client.py").write_text(CLIENT.format(address=address), encoding="utf-8")
        command = folder / "bin/s2s"
        # -S: what the client imports is Python's own.
        command.write_text(
            f'#!/bin/sh\nexec "{sys.executable}" -IS "{folder}/client.py" "$@"\n', encoding="utf-8"
        )
        command.chmod(0o755)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(address)
        listener.listen()
        server = forked().Process(target=_serve, args=(listener,))
        server.start()
        listener.close()
        try:
            yield command.parent
        finally:
            server.terminate()
            server.join()


def _serve(listener: socket.socket) -> NoReturn:
    """Fork a process for each call, until this one is terminated."""
    while True:
        connection, _ = listener.accept()
        # Takes the ends of those that have ended.
        multiprocessing.active_children()
        multiprocessing.get_context("fork").Process(target=_answer, args=(connection,)).start()
        connection.close()


def _answer(connection: socket.socket) -> None:
    """Be the process of a call: run its command, and tell its exit code."""
    descriptors = socket.recv_fds(connection, 1, 3)[1]
    call = json.loads(b"".join(iter(lambda: connection.recv(1 << 16), b"")))
    connection.sendall(b"%d\n" % os.getpid())
    take_streams(*descriptors)
    # The trials of a search are commands too.
    child.PROGRAM = ("s2s",)
    os.chdir(call["folder"])
    os.environ.clear()
    os.environ.update(call["environment"])
    sys.argv = ["s2s", *call["words"]]
    code: object = 1
    try:
        main()
    except SystemExit as end:
        code = end.code or 0
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        connection.sendall(str(code).encode())
