"""The `s2s` command: the table of its commands, and what becomes of their errors."""

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

import typer
import typer.core
import typer.main

from s2scli import __version__
from s2scli.cli.completion import join_words
from s2scli.cli.config_keys import check_keys
from s2scli.cli.known_flags import HELP_NAMES, KnownFlags
from s2scli.cli.options import Flag, Given, flags_of, make_callback, resolve
from s2scli.cli.parser import VerbCommand, spread_words
from s2scli.console import notice
from s2scli.errors import Interrupted, S2SError, UsageError, did_you_mean, is_out_of_memory
from s2scli.registry import Registry
from s2scli.schema import read_toml
from s2scli.streams import columns, open_streams
from s2scli.user_code import load_from_environment, load_user_dir

# What a shell reports for a program that a signal has ended: 128 + its number.
INTERRUPTED, BROKEN_PIPE = 130, 141
# Columns that a message of several lines keeps to, where the terminal has them.
_WIDTH = 80
_LAYOUT: Any = {"initial_indent": "  ", "subsequent_indent": "      ", "break_on_hyphens": False}


@dataclass(frozen=True)
class Command:
    """A command of s2s, as "module:name" of its parts so that listing it imports none of them.

    config: the settings dataclass; run: the function that takes one and returns the result; show: the
    function that prints the result, where `run` has not done so by itself. reads: it opens the checkpoints and the
    dataset that its settings name, which are looked for before it is imported.
    """

    config: str
    run: str
    help: str
    examples: tuple[str, ...] = ()
    show: str = ""
    reads: bool = False


COMMANDS = {
    "preprocess": Command(
        "s2scli.configs.preprocess:PreprocessConfig",
        "s2scli.preprocess:preprocess",
        "Turn raw text into a dataset folder: tokenize it and build the vocabularies.",
        (
            "s2s preprocess --source-lang en --target-lang de --trainpref text/train --validpref text/valid"
            " --destdir data",
        ),
    ),
    "train": Command(
        "s2scli.configs.train:TrainConfig",
        "s2scli.train:train",
        "Train a model on a dataset folder.",
        (
            "s2s train data --arch transformer --save-dir run",
            "s2s train --config run/config.toml --save-dir again",
        ),
        reads=True,
    ),
    "generate": Command(
        "s2scli.configs.generate:GenerateConfig",
        "s2scli.generate:generate",
        "Translate text, or a split of a dataset folder, with a trained model.",
        (
            "s2s generate --path run < source.txt > output.txt",
            "s2s generate data --path run --gen-subset test --beam 5 --format jsonl > output.jsonl",
            "s2s generate --path run --serve translate.sock",
        ),
        reads=True,
    ),
    "chat": Command(
        "s2scli.configs.chat:ChatConfig",
        "s2scli.chat:chat",
        "Talk with a trained model in the terminal, or answer the JSON dialogues of a pipe.",
        (
            "s2s chat --path run",
            "s2s chat --path run --sampling --top-p 0.9 --seed 3",
            "s2s chat --path run --input dialogues.jsonl > answers.jsonl",
        ),
        reads=True,
    ),
    "score": Command(
        "s2scli.configs.score:ScoreConfig",
        "s2scli.score:score",
        "Score output, of one system or several: metrics of all tasks, with error bars and tests of differences.",
        (
            "s2s score --sys output.txt --ref reference.txt",
            "s2s generate --path run < source.txt | s2s score --ref reference.txt --tokenize zh",
            "s2s score --sys base.txt new.txt --ref reference.txt --metrics bleu,rougel --diff --report report.html",
        ),
        show="s2scli.score:show",
    ),
    "average": Command(
        "s2scli.configs.average:AverageConfig",
        "s2scli.average:average",
        "Average the weights of several checkpoints into one.",
        ("s2s average --inputs run --num-epoch-checkpoints 10 --output run/checkpoint_average.safetensors",),
    ),
    "plot": Command(
        "s2scli.configs.plot:PlotConfig",
        "s2scli.plot:plot",
        "Draw the losses, scores, rates and norms of runs: in the terminal, or as a picture.",
        (
            "s2s plot run",
            "s2s plot run other_run --figures loss,bleu --smooth 5 --output curves.svg",
        ),
        show="s2scli.plot:show",
    ),
    "inspect": Command(
        "s2scli.configs.inspect:InspectConfig",
        "s2scli.inspect:inspect",
        "Tell what a dataset folder or a checkpoint holds.",
        (
            "s2s inspect data",
            "s2s inspect data --split test --examples 10 --output lengths.svg",
            "s2s inspect run --format json",
        ),
        show="s2scli.inspect:show",
    ),
}
_CONFIGS = Registry("command", {name: command.config for name, command in COMMANDS.items()})
_VERBS = Registry("command", {name: command.run for name, command in COMMANDS.items()})
_SHOWS = Registry("command", {name: command.show for name, command in COMMANDS.items() if command.show})


@dataclass(frozen=True)
class Call:
    """A command line that has been read but not yet run."""

    name: str
    flags: list[Flag]
    given: Given

    def run(self) -> None:
        """Resolve the config, run the command, and print its result."""
        kind, path = _CONFIGS[self.name], self.given.config
        file = read_toml(path) if path else {}
        vocabulary = KnownFlags(self.name, self.flags, _commands_with)
        check_keys(kind, file, str(path), vocabulary)
        check_keys(kind, self.given.set_by_key, "--set", vocabulary, dotted=True)
        config = resolve(kind, self.flags, self.given, file)
        if COMMANDS[self.name].reads:
            from s2scli.cli.early import check_inputs  # numpy and safetensors, which help has no use for

            check_inputs(config)
        result = _VERBS[self.name](config)
        if self.name in _SHOWS:
            _SHOWS[self.name](config, result)


class CommandGroup(typer.core.TyperGroup):
    """The commands: listed from the table, and imported only when one is called."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Make the typer command that the first word names, and prepare the words after it."""
        name, *words = args
        if name not in COMMANDS:
            if ctx.resilient_parsing:
                return None, None, words
            raise UsageError(f"no such command: {name}{did_you_mean(name, COMMANDS)}")
        flags = flags_of(_CONFIGS[name])
        # While the shell completes a line, it is not finished and so not to be judged.
        if not ctx.resilient_parsing:
            words = spread_words(words, KnownFlags(name, flags, _commands_with))
        return name, make_command(name, flags), words


def _commands_with(flag: str) -> list[str]:
    """The commands that have a flag."""
    return [
        name
        for name in COMMANDS
        if any(flag in known.declaration.split("/") for known in flags_of(_CONFIGS[name]))
    ]


def make_command(name: str, flags: list[Flag]) -> Any:
    """Make the typer command of a table entry; calling it returns a Call."""
    command = COMMANDS[name]
    app = typer.Typer(rich_markup_mode=None, add_completion=False)
    examples = "\b\nExamples:\n" + "\n".join(f"  {example}" for example in command.examples)
    app.command(
        name,
        cls=VerbCommand,
        help=f"{command.help}\n\n{examples}",
        context_settings={"help_option_names": HELP_NAMES},
    )(make_callback(flags, lambda given: Call(name, flags, given)))
    return typer.main.get_command(app)


def make_app() -> Any:
    """Make the typer command `s2s` with everything under it."""
    app = typer.Typer(
        cls=CommandGroup,
        rich_markup_mode=None,
        help="Train and run sequence-to-sequence models.",
        context_settings={"help_option_names": HELP_NAMES},
    )

    @app.callback(invoke_without_command=True)
    def start(
        context: typer.Context,
        version: bool = typer.Option(False, "--version", help="Print the version."),
    ) -> None:
        if version:
            print(f"s2s {__version__}")
            raise typer.Exit
        if context.invoked_subcommand is None:
            print(context.get_help())

    for name, command in COMMANDS.items():
        # Listed with its help only; CommandGroup makes the real one when it is called.
        app.command(name, help=command.help, short_help=command.help)(lambda: None)
    return typer.main.get_command(app)


def run(arguments: Sequence[str]) -> int:
    """Run a command line and return its exit code; an error is one line on standard error."""
    label = "s2s " + arguments[0] if arguments and arguments[0] in COMMANDS else "s2s"
    try:
        _load_user_code(arguments)
        outcome = make_app().main(list(arguments), prog_name="s2s", standalone_mode=False)
        if isinstance(outcome, Call):
            outcome.run()
            outcome = 0
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
    return outcome if isinstance(outcome, int) else 0


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
    if isinstance(error, typer.TyperException):
        message = " ".join(error.format_message().split()).rstrip(".")
        return message[:1].lower() + message[1:], error.exit_code
    if isinstance(error, typer.Abort):
        return "aborted", 1
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
