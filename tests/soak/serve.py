"""Attack a server in every way that is known, and see what a normal request beside that takes.

    python tests/soak/serve.py [--seconds 8] [--latency 5] [--memory 1500] [--only NAME,NAME] [--seed 1]

For each kind of attack a server with a model of no limits (sinusoidal positions) is started; some
clients attack it for so many seconds, while another one sends one sentence after the other, each over a new connection.
Printed are how many of those were answered, the median and the longest time, the most seconds of a processor that the
server took meanwhile (where the machine does nothing else, these are the longest time), how many megabytes the server
came to have more than at rest, and how long SIGTERM took under attack. Exit code 1 where a normal request failed or the
server took more than `--latency` seconds of a processor for it, where the memory grew by more than `--memory`
megabytes, or where SIGTERM took more than its grace period and `--latency` such seconds. All goes over a Unix socket.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from served import make_model, start_server, wait_until_ready

GRACE = 2
# How long to wait for an answer, or for the end of a server, before it counts as none.
PATIENCE = 90
FLAGS = f"--grace-period {GRACE} --send-timeout 3"
MEGABYTE = 1 << 20
NORMAL = b"ba be bi da\n"


def post(body: bytes, headers: bytes = b"", query: bytes = b"", length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    return b"POST /%b HTTP/1.1\r\nHost: localhost\r\n%bContent-Length: %d\r\n\r\n%b" % (
        query,
        headers,
        size,
        body,
    )


@dataclass
class Attacker:
    """One of the clients of an attack."""

    place: Path
    over: threading.Event
    draw: random.Random

    def connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(5)
        connection.connect(str(self.place))
        return connection

    def ask(self, data: bytes, *, wait: bool = True) -> None:
        """Send a request, and read the answer unless it is to be left unread."""
        with self.connect() as connection:
            connection.sendall(data)
            if wait:
                while connection.recv(1 << 16) and not self.over.is_set():
                    pass

    def again(self, once: Callable[[], object]) -> None:
        """Do something again and again, whatever becomes of it."""
        while not self.over.is_set():
            with suppress(OSError):
                once()
            self.over.wait(0.01)


def long_line(attacker: Attacker) -> None:
    data = post(b"ba " * (20 * MEGABYTE // 3))
    attacker.again(lambda: attacker.ask(data))


def longest_lines(attacker: Attacker) -> None:
    """As long as lines may be, in words and in one word."""
    data = post(b"ba " * 4_000 + b"\n" + b"a" * (64 << 10))
    attacker.again(lambda: attacker.ask(data))


def many_lines(attacker: Attacker) -> None:
    data = post(b"ba be bi\n" * (60 * MEGABYTE // 9))
    attacker.again(lambda: attacker.ask(data))


def many_records(attacker: Attacker) -> None:
    data = post(b'{"source": "ba be"}\n' * (60 * MEGABYTE // 20), b"Content-Type: application/json\r\n")
    attacker.again(lambda: attacker.ask(data))


def blank_lines(attacker: Attacker) -> None:
    data = post(b"\n" * (60 * MEGABYTE))
    attacker.again(lambda: attacker.ask(data))


def unfinished_bodies(attacker: Attacker) -> None:
    data = post(b"ba\n" * (60 * MEGABYTE // 3), length=60 * MEGABYTE + 99)

    def once() -> None:
        with attacker.connect() as connection:
            connection.sendall(data)
            attacker.over.wait(5)

    attacker.again(once)


def idle_connections(attacker: Attacker) -> None:
    connections = []
    while not attacker.over.is_set():
        with suppress(OSError):
            connections.append(attacker.connect())
            connections[-1].sendall(attacker.draw.choice((b"", b"POST ", b"POST / HTTP/1.1\r\nX: y\r\n")))
        if len(connections) > 100:
            connections.pop(0).close()
        attacker.over.wait(0.005)


def trickle(attacker: Attacker) -> None:
    def once() -> None:
        with attacker.connect() as connection:
            for byte in post(b"ba\n" * 5000):
                connection.send(bytes([byte]))
                if attacker.over.wait(0.05):
                    return

    attacker.again(once)


def unread_answers(attacker: Attacker) -> None:
    data = post(b"ba be bi da de di ga ge gi ka\n" * 40_000)

    def once() -> None:
        with attacker.connect() as connection:
            connection.sendall(data)
            attacker.over.wait(10)

    attacker.again(once)


def leaving(attacker: Attacker) -> None:
    data = post(NORMAL * 3000)
    attacker.again(lambda: attacker.ask(data, wait=False))


def wide_beams(attacker: Attacker) -> None:
    data = post(NORMAL * 300, query=b"?beam=20&nbest=20")
    attacker.again(lambda: attacker.ask(data))


def many_settings(attacker: Attacker) -> None:
    attacker.again(
        lambda: attacker.ask(
            post(NORMAL * 3, query=b"?lenpen=%.9f" % attacker.draw.random(), headers=b"Connection: close\r\n")
        )
    )


def nonsense(attacker: Attacker) -> None:
    kinds = (
        attacker.draw.randbytes(1000),
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0x6\r\nba be\n\r\n0\r\n\r\n",
        post(b"ba\n", b"Content-Length: 3\r\n"),
        b"GET / HTTP/1.1\r\nContent-Length: 3\r\n\r\nba\n",
        b"GET /" + b"a" * MEGABYTE,
        post(b"[" * 60_000, b"Content-Type: application/json\r\n"),
        post(b'{"source": ' * 5000, b"Content-Type: application/json\r\n"),
    )
    attacker.again(lambda: attacker.ask(attacker.draw.choice(kinds)))


# What each attack is, and how many clients make it.
ATTACKS: dict[str, tuple[Callable[[Attacker], None], int]] = {
    "none": (nonsense, 0),
    "a line of 20 MB": (long_line, 2),
    "the longest lines": (longest_lines, 2),
    "60 MB of lines": (many_lines, 2),
    "60 MB of records": (many_records, 2),
    "60 MB of blank lines": (blank_lines, 2),
    "unfinished bodies": (unfinished_bodies, 30),
    "idle connections": (idle_connections, 6),
    "byte after byte": (trickle, 30),
    "unread answers": (unread_answers, 8),
    "leaving": (leaving, 4),
    "wide beams": (wide_beams, 4),
    "settings": (many_settings, 4),
    "nonsense": (nonsense, 4),
}


def memory_of(process: int) -> float:
    """The megabytes of a process that are in memory."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def processor_time_of(process: int) -> float:
    """The seconds of a processor that a process has taken."""
    stat = Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2].split()
    return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")


def answer_time(place: Path) -> float | None:
    """How long a normal request takes; None where it has no answer."""
    began = time.monotonic()
    found = b""
    with suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(str(place))
        connection.sendall(post(NORMAL, b"Connection: close\r\n"))
        while block := connection.recv(1 << 16):
            found += block
    return time.monotonic() - began if found.startswith(b"HTTP/1.1 200") else None


@dataclass(frozen=True)
class Bounds:
    """What an attack may come to: seconds, and megabytes."""

    seconds: float
    latency: float
    memory: float


def attack(name: str, run: Path, folder: Path, bounds: Bounds, draw: random.Random) -> bool:
    """Make one attack and print what it came to; whether that is within the bounds."""
    make, number = ATTACKS[name]
    place, errors = folder / "a.sock", folder / "errors"
    process = start_server(run, place, errors, FLAGS)
    wait_until_ready(process, errors)
    for _ in range(5):
        answer_time(place)
    rest = highest = memory_of(process.pid)
    over = threading.Event()
    attackers = [Attacker(place, over, random.Random(draw.random())) for _ in range(number)]
    threads = [threading.Thread(target=make, args=(attacker,), daemon=True) for attacker in attackers]
    for thread in threads:
        thread.start()
    times, failed, work = [], 0, 0.0
    end = time.monotonic() + bounds.seconds
    while time.monotonic() < end:
        before = processor_time_of(process.pid)
        took = answer_time(place)
        work = max(work, processor_time_of(process.pid) - before)
        failed += took is None
        times += [took] if took is not None else []
        highest = max(highest, memory_of(process.pid))
        time.sleep(0.02)
    before = processor_time_of(process.pid)
    process.send_signal(signal.SIGTERM)
    sent = time.monotonic()
    ending = 0.0
    while process.poll() is None and time.monotonic() < sent + PATIENCE:
        ending = max(ending, processor_time_of(process.pid) - before)
        time.sleep(0.02)
    took, code = time.monotonic() - sent, process.poll()
    over.set()
    process.kill()
    process.wait()
    for thread in threads:
        thread.join(timeout=10)
    longest = max(times, default=float("inf"))
    is_well = failed == 0 and work <= bounds.latency and highest - rest <= bounds.memory
    is_well = is_well and code == 128 + signal.SIGTERM and ending <= GRACE + bounds.latency
    answered = f"{len(times):5} answered {failed:3} not"
    latency = f"median {median(times or [0]):.3f} s, longest {longest:.3f} s ({work:.2f} s of work)"
    memory = f"{rest:.0f} + {highest - rest:.0f} MB"
    note = "" if is_well else "  WRONG"
    stopped = f"SIGTERM {took:.2f} s ({ending:.2f} s of work), code {code}"
    print(f"{name:21} {answered}; {latency}; {memory}; {stopped}{note}", flush=True)
    return is_well


def main() -> int:
    """Make the attacks and print what they came to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--latency", type=float, default=5)
    parser.add_argument("--memory", type=float, default=1500)
    parser.add_argument("--only", default=",".join(ATTACKS))
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    draw = random.Random(options.seed)
    bounds = Bounds(options.seconds, options.latency, options.memory)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        run = make_model(folder)
        names = options.only.split(",")
        wrong = [name for name in names if not attack(name, run, folder, bounds, draw)]
    print(f"serve: {len(names)} attacks, {len(wrong)} beyond the bounds ({', '.join(wrong) or 'none'})")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
