"""End a server by SIGTERM while clients keep it busy: it must end each time, soon, with 143, and leave no socket.

    python tests/soak/stop_server.py [--tries 200] [--clients 6] [--seed 1] [--seconds 20]

The signal comes at a moment drawn evenly from the second after the server is ready, and in every fourth try while it
still loads its model. The clients ask short and long requests without a pause, open connections that stay idle, and
half of them leave before they have their answer. Exit code 1 where a server went on.
"""

from __future__ import annotations

import argparse
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

from served import make_model, make_tries, start_server, wait_until_ready

GRACE = 2


def keep_busy(place: Path, over: threading.Event, draw: random.Random) -> None:
    """Be a client, until it is over."""
    while not over.is_set():
        with suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5)
            connection.connect(str(place))
            body = b"ba be bi da\n" * draw.choice((0, 1, 1, 20, 2000))
            if body:
                connection.sendall(b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
            if draw.random() < 0.5:
                connection.recv(1 << 16)
        over.wait(0.005)


def stop_once(
    process: subprocess.Popen[bytes], place: Path, moment: float, *, while_loading: bool, seconds: float
) -> tuple[int | None, float]:
    """End a server by a signal; its exit code, if it has ended, and after how many seconds."""
    if while_loading:
        # Its handlers are there as soon as there is a socket.
        while not place.exists() and process.poll() is None:
            time.sleep(0.01)
    else:
        wait_until_ready(process, place.with_name("errors"))
    time.sleep(moment)
    process.send_signal(signal.SIGTERM)
    sent = time.monotonic()
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=seconds)
    return process.poll(), time.monotonic() - sent


def main() -> int:
    """Make the tries and print what came of them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tries", type=int, default=200)
    parser.add_argument("--clients", type=int, default=6)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=20)
    options = parser.parse_args()
    draw = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        run, place, errors = make_model(folder), folder / "a.sock", folder / "errors"

        def once(number: int) -> tuple[str, float]:
            process = start_server(run, place, errors, f"--grace-period {GRACE}")
            over = threading.Event()
            draws = [random.Random(draw.random()) for _ in range(options.clients)]
            clients = [threading.Thread(target=keep_busy, args=(place, over, item)) for item in draws]
            for client in clients:
                client.start()
            code, took = stop_once(
                process, place, draw.uniform(0, 1), while_loading=number % 4 == 3, seconds=options.seconds
            )
            problem = ""
            if code != 128 + signal.SIGTERM or place.exists():
                problem = f"exit code {code} after {took:.1f} s; {errors.read_text()[-300:]}"
                process.kill()
                process.wait()
            over.set()
            for client in clients:
                client.join()
            place.unlink(missing_ok=True)
            return problem, took

        wrong, slowest = make_tries(options.tries, once)
    print(f"stop_server: {options.tries} times SIGTERM, {wrong} wrong, the slowest end took {slowest:.1f} s")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
