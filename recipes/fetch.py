"""Download files that a table lists, and check their sizes and checksums.

    python fetch.py --table multi30k.tsv --base-url URL --out DIR [NAME …]

A line of the table is `path <tab> bytes <tab> sha256`; the path is relative to the base URL, and the file
lands in DIR under the path's last part. Files that are there and right are left alone: repeating the command
takes up an interrupted download. A file appears under its name only when it is whole and right; a download that
is slower than 1 KB a second ends. A user name and password in the base URL are sent to its server alone, and not
shown. Only the standard library is needed. Exit code 1 with one line on standard error if anything is not as listed.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import os
import re
import signal
import sys
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from types import FrameType
from typing import Any, NoReturn

TIMEOUT = 60  # seconds without a byte, and for a file besides those that it takes at the slowest rate
SLOWEST = 1024  # bytes a second
LARGEST_TABLE = 16 << 20  # bytes
_SIZE = re.compile("[0-9]{1,15}")
_SHA256 = re.compile("[0-9a-fA-F]{64}")
_LONGEST_NAME, _LONGEST_SHOWN = 200, 300


class FetchError(Exception):
    """A file that could not be had as the table lists it."""


@dataclass(frozen=True)
class Entry:
    """One line of the table."""

    path: str
    size: int
    sha256: str

    @property
    def name(self) -> str:
        """The file's name without its folders."""
        return PurePosixPath(self.path).name


def visible(text: object) -> str:
    """A text as one line that steers no terminal, whoever wrote it."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in str(text))


def shown(text: object) -> str:
    """A text of others as one line that is not long, see `visible`."""
    line = visible(text)
    return line if len(line) <= _LONGEST_SHOWN else f"{line[:_LONGEST_SHOWN]}…"


def read_table(path: Path) -> list[Entry]:
    """Read the table; empty lines and lines that begin with '#' are comments."""
    try:
        with path.open("rb") as stream:
            content = stream.read(LARGEST_TABLE + 1)
    except OSError as error:
        raise FetchError(f"{path}: cannot read: {error.strerror}") from None
    if len(content) > LARGEST_TABLE:
        raise FetchError(f"{path}: is larger than {LARGEST_TABLE >> 20} MB; is it a table?")
    entries: dict[str, Entry] = {}
    for number, raw in enumerate(content.split(b"\n"), start=1):
        try:
            line = raw.removesuffix(b"\r").decode("utf-8")
        except UnicodeDecodeError:
            raise FetchError(f"{path}:{number}: the line is not UTF-8") from None
        if not line.strip() or line.startswith("#"):
            continue
        fields = line.split("\t")
        if len(fields) != 3 or not _SIZE.fullmatch(fields[1]) or not _SHA256.fullmatch(fields[2]):
            raise FetchError(f"{path}:{number}: not 'path <tab> bytes <tab> sha256': {shown(line)!r}")
        if problem := problem_of_name(fields[0]):
            raise FetchError(f"{path}:{number}: {shown(fields[0])!r} {problem}")
        entry = Entry(fields[0], int(fields[1]), fields[2].lower())
        if entries.setdefault(entry.name, entry) != entry:
            raise FetchError(f"{path}:{number}: a second file of the name {entry.name}")
    return list(entries.values())


def problem_of_name(path: str) -> str:
    """Say why a listed path is not one below the base URL whose last part can be a file's name, or return nothing."""
    if not path.isprintable() or "\\" in path:
        return "holds what no path of a table does"
    if any(part in ("", ".", "..") for part in path.split("/")):
        return "is not a plain path below the base URL, as in data/train.gz"
    if len(path.rpartition("/")[2].encode()) > _LONGEST_NAME:
        return "is too long a name"
    return ""


def problem_of(path: Path, entry: Entry) -> str:
    """Say what is wrong with a file, or return an empty string."""
    size = path.stat().st_size
    if size != entry.size:
        return f"has {size} bytes, {entry.size} are listed"
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return "" if digest == entry.sha256 else f"has sha256 {digest}, {entry.sha256} is listed"


def split_login(url: str) -> tuple[str, str]:
    """A URL without the user name and password in it, and those as HTTP's Authorization, or nothing."""
    scheme, slashes, rest = url.partition("://")
    place, slash, path = rest.partition("/")
    login, at, host = place.rpartition("@")
    if not at:
        return url, ""
    code = base64.b64encode(urllib.parse.unquote_to_bytes(login)).decode("ascii")
    return f"{scheme}{slashes}{host}{slash}{path}", f"Basic {code}"


def fetch(entry: Entry, base_url: str, folder: Path) -> bool:
    """Bring one file into the folder; False if it was already there and right.

    Raises FetchError if it cannot be had or is not as listed; then no file appears under its name.
    """
    target = folder / entry.name
    try:
        if target.is_file() and not problem_of(target, entry):
            return False
        folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(target)
    except OSError as error:
        raise FetchError(f"{target}: cannot write: {error.strerror or error}") from None
    base, login = split_login(base_url)
    url = f"{base.rstrip('/')}/{urllib.parse.quote(entry.path, safe='/%~+,;=@:!$&()')}"
    temporary = folder / f".{entry.name}.{os.getpid()}.tmp"
    try:
        with ends_after(TIMEOUT + entry.size / SLOWEST):
            download(url, login, temporary, entry.size)
        if problem := problem_of(temporary, entry):
            raise FetchError(f"{shown(url)}: {problem}; repeat the command, or check the table")
        temporary.replace(target)
    except urllib.error.HTTPError as error:
        error.close()
        raise FetchError(f"{shown(url)}: the server answered {error.code} {shown(error.reason)}") from None
    except urllib.error.URLError as error:
        raise FetchError(f"{shown(url)}: cannot reach the server: {shown(error.reason)}") from None
    except (HTTPException, TimeoutError, ConnectionError) as error:
        reason = shown(error) or type(error).__name__
        raise FetchError(f"{shown(url)}: the download broke off ({reason})") from None
    except ValueError as error:
        raise FetchError(f"{shown(url)}: not a URL that can be fetched: {shown(error)}") from None
    except OSError as error:
        raise FetchError(f"{target}: cannot write: {error.strerror or error}") from None
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    return True


def download(url: str, login: str, path: Path, size: int) -> None:
    """Write what a URL answers to a new file, but hardly more bytes than wanted."""
    request = urllib.request.Request(url)
    if login:
        # Another server that this one names does not get it.
        request.add_unredirected_header("Authorization", login)
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer, path.open("xb") as stream:
        # One byte more than listed is enough to see that a file is too long.
        while stream.tell() <= size and (block := answer.read(1 << 16)):
            stream.write(block)


def remove_leftovers(target: Path) -> None:
    """Remove what processes that were killed while they fetched a file have left."""
    for leftover in target.parent.iterdir():
        match = re.fullmatch(rf"\.{re.escape(target.name)}\.([0-9]{{1,9}})\.tmp", leftover.name)
        if match and (int(match[1]) == os.getpid() or not is_alive(int(match[1]))):
            leftover.unlink(missing_ok=True)


def is_alive(process: int) -> bool:
    """Whether there is a process of a number."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


@contextmanager
def ends_after(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in here after some seconds, whatever is waited for; in the main thread only."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: FrameType | None) -> NoReturn:
        del number, frame
        raise TimeoutError(f"not there after {seconds:.0f} seconds")

    previous: Any = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def main(arguments: Sequence[str] | None = None) -> int:
    """Fetch what the command line asks for."""
    parser = argparse.ArgumentParser(description="Download the files of a table and check them.")
    parser.add_argument("--table", type=Path, required=True, help="lines of: path, bytes, sha256")
    parser.add_argument("--base-url", required=True, help="what the paths are relative to")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to; made if missing")
    parser.add_argument(
        "names", nargs="*", help="names of files to fetch; all of the table when none is given"
    )
    options = parser.parse_args(arguments)
    try:
        entries = read_table(options.table)
        listed = {entry.name for entry in entries}
        for name in options.names:
            if name not in listed:
                raise FetchError(
                    f"{name} is not listed in {options.table}; listed: {', '.join(sorted(listed))}"
                )
        for entry in entries:
            if options.names and entry.name not in options.names:
                continue
            new = fetch(entry, options.base_url, options.out)
            print(f"{visible(options.out / entry.name)}: {'fetched' if new else 'is there'}", file=sys.stderr)
    except FetchError as error:
        print(f"error: {visible(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


def _end(number: int, frame: FrameType | None) -> NoReturn:
    """A request to end leaves nothing half behind."""
    del frame
    sys.exit(128 + number)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _end)
    sys.exit(main())
