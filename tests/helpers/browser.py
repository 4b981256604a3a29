"""A browser without a window, as a test has it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

_PROGRAM = Path(__file__).with_name("web_engine.py")
# No screen, and no sandbox, which cannot be had as root; nothing is loaded but what a test wrote.
_ENVIRONMENT = {"QT_QPA_PLATFORM": "offscreen", "QTWEBENGINE_DISABLE_SANDBOX": "1"}


class Browser:
    """Chromium with one page, in a process of its own.

    requests: all that was asked for since the last page was opened, that page first; errors: what its scripts have told
    the console.
    """

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(_PROGRAM)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, **_ENVIRONMENT},
        )
        self.requests: list[str] = []
        self.errors: list[str] = []

    def close(self) -> None:
        """End it."""
        self._process.communicate(timeout=60)

    def load(self, page: Path) -> None:
        """Open a page of a file."""
        found = self._asked(load=page.as_uri())
        self.requests, self.errors = found["requests"], found["errors"]

    def value(self, expression: str) -> Any:
        """The value of some JavaScript there."""
        return self._asked(value=expression)

    def resize(self, width: int) -> None:
        """Make the window so many pixels wide."""
        self._asked(width=width)

    def _asked(self, **asked: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{json.dumps(asked)}\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the browser has ended"
        return json.loads(line)
