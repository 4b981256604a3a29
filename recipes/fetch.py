"""Download files that a table lists, and check their sizes and checksums.

    python fetch.py --table multi30k.tsv --base-url URL --out DIR [NAME …]

A line of the table is `path <tab> bytes <tab> sha256`; the path is relative to the base URL, and the file
lands in DIR under the path's last part. Files that are there and right are left alone: repeating the command
takes up an interrupted download. A file appears under its name only when it is whole and right. Only the
standard library is needed. Exit code 1 with one line on standard error if anything is not as listed.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path, PurePosixPath

TIMEOUT = 60  # seconds without a byte


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


def read_table(path: Path) -> list[Entry]:
    """Read the table; empty lines and lines that begin with '#' are comments."""
    entries = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise FetchError(f"{path}: cannot read: {error.strerror}") from None
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        fields = line.split("\t")
        if len(fields) != 3 or not fields[1].isdecimal() or len(fields[2]) != 64:
            raise FetchError(f"{path}:{number}: not 'path <tab> bytes <tab> sha256': {line!r}")
        entries.append(Entry(fields[0], int(fields[1]), fields[2].lower()))
    return entries


def problem_of(path: Path, entry: Entry) -> str:
    """Say what is wrong with a file, or return an empty string."""
    size = path.stat().st_size
    if size != entry.size:
        return f"has {size} bytes, {entry.size} are listed"
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return "" if digest == entry.sha256 else f"has sha256 {digest}, {entry.sha256} is listed"


def fetch(entry: Entry, base_url: str, folder: Path) -> bool:
    """Bring one file into the folder; False if it was already there and right.

    Raises FetchError if it cannot be had or is not as listed; then no file appears under its name.
    """
    target = folder / entry.name
    if target.is_file() and not problem_of(target, entry):
        return False
    url = f"{base_url.rstrip('/')}/{entry.path}"
    temporary = folder / f".{entry.name}.{os.getpid()}.tmp"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with urllib.request.urlopen(url, timeout=TIMEOUT) as answer, temporary.open("wb") as stream:
            # One byte more than listed is enough to see that a file is too long.
            while stream.tell() <= entry.size and (block := answer.read(1 << 16)):
                stream.write(block)
        if problem := problem_of(temporary, entry):
            raise FetchError(f"{url}: {problem}; repeat the command, or check the table")
        temporary.replace(target)
    except urllib.error.HTTPError as error:
        raise FetchError(f"{url}: the server answered {error.code} {error.reason}") from None
    except urllib.error.URLError as error:
        raise FetchError(f"{url}: cannot reach the server: {error.reason}") from None
    except (HTTPException, TimeoutError, ConnectionError) as error:
        raise FetchError(f"{url}: the download broke off ({error or type(error).__name__})") from None
    except ValueError as error:
        raise FetchError(f"{url}: not a URL that can be fetched: {error}") from None
    except OSError as error:
        raise FetchError(f"{target}: cannot write: {error.strerror or error}") from None
    finally:
        temporary.unlink(missing_ok=True)
    return True


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
            print(f"{options.out / entry.name}: {'fetched' if new else 'is there'}", file=sys.stderr)
    except FetchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
