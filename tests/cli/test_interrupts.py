"""Ctrl-C, wherever it comes: the process ends, without a traceback."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

# A command whose work, or whose tidying up, takes long; what is printed says that it is at it.
COMMAND = """
import sys, time
from s2scli.cli import app

def run(arguments):
    try:
        print("at work", flush=True)
        time.sleep(60)
    except KeyboardInterrupt:
        print("at its end", flush=True)
        time.sleep(60)
        return 130

app.run = run
app.main()
"""
LOADING = """
import sys, time
class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == "s2scli.cli.app":
            print("loading", flush=True)
            time.sleep(60)
sys.meta_path.insert(0, Slow())
from s2scli.cli.start import main
main()
"""
AFTER = """
import atexit, time
from s2scli.cli import app
def last():
    print("ending", flush=True)
    time.sleep(60)
atexit.register(last)
app.run = lambda arguments: 0
app.main()
"""


@pytest.mark.parametrize(
    ("code", "moments"),
    [(COMMAND, ("at work", "at its end")), (LOADING, ("loading",)), (AFTER, ("ending",))],
    ids=["twice", "loading", "ending"],
)
def test_no_traceback(code: str, moments: tuple[str, ...]) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for moment in moments:
        assert process.stdout.readline() == f"{moment}\n"
        # What it then does begins.
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGINT
    assert errors == ""
