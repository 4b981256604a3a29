"""The `s2s` command: how a command line becomes a call of one of its commands, and what becomes of their errors."""

from __future__ import annotations

import errno
import os
import signal
import sys
import textwrap
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from s2scli.cli.commands import COMMANDS, CONFIGS, SHOWS, VERBS, commands_with
from s2scli.cli.completion import is_completing, join_words
from s2scli.cli.config_keys import check_keys
from s2scli.cli.help import full_help, short_help
from s2scli.cli.known_flags import KnownFlags
from s2scli.cli.options import Flag, Given, flags_of, given_of, resolve
from s2scli.cli.pager import page
from s2scli.cli.parser import read_words, spread_words
from s2scli.console import notice
from s2scli.errors import Interrupted, S2SError, UsageError, did_you_mean, is_out_of_memory
from s2scli.schema import as_dict
from s2scli.streams import columns, open_streams
from s2scli.toml import read_toml, to_toml
from s2scli.user_code import load_from_environment, load_user_dir

# What a shell reports for a program that a signal has ended: 128 + its number.
INTERRUPTED, BROKEN_PIPE = 130, 141
# Columns that a message of several lines keeps to, where the terminal has them.
_WIDTH = 80
_LAYOUT: Any = {"initial_indent": "  ", "subsequent_indent": "      ", "break_on_hyphens": False}


@dataclass(frozen=True)
class Call:
    """A command line that has been read but not yet run."""

    name: str
    flags: list[Flag]
    given: Given

    def run(self) -> None:
        """Resolve the config, run the command, and print its result; or print what is asked for in place of that."""
        kind, path = CONFIGS[self.name], self.given.config
        file = read_toml(path) if path else {}
        if self.given.asks & {"--help", "--help-all"}:
            help_of = full_help if "--help-all" in self.given.asks else short_help
            page(help_of(self.name, self.given, file, columns(sys.stdout)))
            return
        vocabulary = KnownFlags(self.name, self.flags, commands_with)
        check_keys(kind, file, str(path), vocabulary)
        check_keys(kind, self.given.set_by_key, "--set", vocabulary, dotted=True)
        config = resolve(kind, self.flags, self.given, file)
        if "--show-config" in self.given.asks:
            print(to_toml(as_dict(config)), end="")
            return
        if COMMANDS[self.name].reads:
            from s2scli.cli.early import check_inputs  # safetensors, which help has no use for

            check_inputs(config)
        result = VERBS[self.name](config)
        if self.name in SHOWS:
            SHOWS[self.name](config, result)


def read_call(name: str, words: Sequence[str]) -> Call:
    """Read the words of a command line behind its first, a command's name; UsageError for what they cannot be."""
    flags = flags_of(CONFIGS[name])
    vocabulary = KnownFlags(name, flags, commands_with)
    return Call(name, flags, given_of(read_words(spread_words(words, vocabulary), vocabulary), flags))


def run(arguments: Sequence[str]) -> int:
    """Run a command line and return its exit code; an error is one line on standard error."""
    label = "s2s " + arguments[0] if arguments and arguments[0] in (*COMMANDS, "help") else "s2s"
    try:
        _load_user_code(arguments)
        if arguments and arguments[0] in COMMANDS and not is_completing():
            read_call(arguments[0], arguments[1:]).run()
        elif _is_unknown(arguments) and not is_completing():
            raise UsageError(
                f"no such command: {arguments[0]}{did_you_mean(arguments[0], (*COMMANDS, 'help'))}"
            )
        else:
            # typer, which takes as long to load as all the rest.
            from s2scli.cli.shell import run_program

            run_program(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        return _close_stdout()
    except KeyboardInterrupt:
        return _fail(label, "interrupted", INTERRUPTED)
    except Interrupted as stop:
        return _fail(label, str(stop), stop.exit_code)
    except Exception as error:
        if "--debug" in arguments:
            notice(traceback.format_exc().rstrip())
        message, code = explain(error)
        details = error.details if isinstance(error, S2SError) else ()
        return _fail(label, f"error: {message}", code, details)
    return 0


def _is_unknown(arguments: Sequence[str]) -> bool:
    """Whether a line begins with a word that is no command, nor an option of s2s itself."""
    return bool(arguments) and arguments[0][:1] != "-" and arguments[0] not in (*COMMANDS, "help")


def _load_user_code(arguments: Sequence[str]) -> None:
    """Add the user's own components before there are flags, whose names and choices they extend.

    What --user-dir names and is not there is told when the line has been read.
    """
    load_from_environment()
    words = list(arguments[: arguments.index("--")] if "--" in arguments else arguments)
    for word, value in zip(words, [*words, ""][1:], strict=True):
        name, equals, attached = word.partition("=")
        if name == "--user-dir" and (path := Path(attached if equals else value)).exists():
            load_user_dir(path)


def explain(error: Exception) -> tuple[str, int]:
    """Put an error into a line for the user, and choose the exit code."""
    text = " ".join(str(error).split())
    if isinstance(error, S2SError):
        return text, error.exit_code
    if is_out_of_memory(error):
        return f"out of memory ({text.partition('. ')[0] or 'no details'}); make the batches smaller", 1
    if isinstance(error, OSError) and error.strerror:
        place = f"{error.filename}: " if error.filename else ""
        remedy = "; free some space and repeat the command" if error.errno == errno.ENOSPC else ""
        return f"{place}{error.strerror}{remedy}", 1
    return f"internal error: {type(error).__name__}: {text}; run again with --debug for the traceback", 1


def _fail(label: str, message: str, code: int, details: Sequence[str] = ()) -> int:
    notice(f"{label}: {message}{':' if details else ''}")
    for detail in details:
        notice(textwrap.fill(detail, min(_WIDTH, columns(sys.stderr)), **_LAYOUT))
    return code


def _close_stdout() -> int:
    """End quietly when the reader of standard output has gone, as in `s2s … | head`."""
    # Python flushes stdout again at exit; what is left has to go somewhere.
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, sys.stdout.fileno())
    os.close(devnull)
    return BROKEN_PIPE


def main() -> NoReturn:
    """Run the command line of this process.

    Ctrl-C ends a command in its own way, and comes out as one line; a second one ends the process at once, wherever it
    comes: in what a command does at its end, in the line itself, or in what Python does after it.
    """
    open_streams()
    join_words()
    # A shell has it ignored in what runs in the background, and so it stays.
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        signal.signal(signal.SIGINT, _interrupt)
    try:
        code = run(sys.argv[1:])
    except KeyboardInterrupt:
        code = INTERRUPTED
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(code)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    del frame
    signal.signal(number, signal.SIG_DFL)
    raise KeyboardInterrupt
