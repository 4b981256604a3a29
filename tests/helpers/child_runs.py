"""Runs in processes of their own, which get signals at chosen moments."""

from __future__ import annotations

import fcntl
import importlib
import os
import signal
import sys
import termios
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from loaded import forked, speak_into
from toys import Trainer

from s2scli.cli import app
from s2scli.training import validation
from s2scli.training.step import Updater


def send(number: int, times: int = 1) -> None:
    """Send a signal to this very process."""
    for _ in range(times):
        os.kill(os.getpid(), number)
        # Python runs handlers between two of its own steps.
        time.sleep(0)


def at_call(owner: Any, name: str, when: int, do: Callable[[], None]) -> None:
    """Have something done at the start of the call number `when` of a function."""
    plain, calls = getattr(owner, name), 0

    def replaced(*arguments: Any, **settings: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == when:
            do()
        return plain(*arguments, **settings)

    setattr(owner, name, replaced)


# Where signals come in: a module or class, and the function of it that is called then.
PLACES: dict[str, tuple[str, str]] = {
    "data": ("s2scli.training.building", "plan_batches"),
    "resuming": ("s2scli.training.resume", "load_weights"),
    "update": ("s2scli.training.loop", "make_update"),
    "loss": ("s2scli.training.validation", "load_batch"),
    "translation": ("s2scli.inference.translator.Translator", "translate"),
    "saving": ("s2scli.checkpoint", "save_file"),
}


def find(path: str) -> Any:
    """A module or a class by its path."""
    module, _, name = path.rpartition(".")
    return (
        getattr(importlib.import_module(module), name) if name[0].isupper() else importlib.import_module(path)
    )


def child(words: list[str], errors: str, place: str, when: int, number: int, times: int) -> None:
    """A process that runs a command, and gets signals where a function is called."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whatever the tests were started under
    speak_into(errors)
    # Rounds of a few lines, so that a signal comes in between two of them.
    validation.LINES_A_ROUND = 8
    if place:
        owner, name = PLACES[place]
        at_call(find(owner), name, when, partial(send, number, times))
    sys.exit(app.run(words))


def take_terminal(hangup: signal.Handlers) -> None:
    """Make the terminal of standard input this process's own, and let an update wait for as long as closing it takes.

    hangup: what becomes of SIGHUP, which a terminal sends when it closes.
    """
    plain = Updater.update

    def update(*arguments: Any, **settings: Any) -> Any:
        time.sleep(0.05)
        return plain(*arguments, **settings)

    Updater.update = update  # type: ignore[method-assign]
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGHUP, hangup)


def in_a_process(
    trained: Trainer, words: list[str], place: str = "", when: int = 1, number: int = 0, times: int = 1
) -> tuple[int | None, str]:
    """Run a command in a process of its own; its exit code and the last line of its standard error.

    The processes come from one that has torch loaded already.
    """
    errors = trained.root / "errors.txt"
    errors.write_text("", encoding="utf-8")
    process = forked().Process(target=child, args=(words, str(errors), place, when, number, times))
    process.start()
    process.join(120)
    assert process.exitcode is not None, "the process does not end"
    lines = errors.read_text(encoding="utf-8").splitlines()
    assert not any("Traceback" in line for line in lines), lines
    return process.exitcode, lines[-1]
