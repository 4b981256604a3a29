"""What typer does for s2s: completion in a shell, and what stands before a command, as --help and --version.

The words of a command itself are read by parser.py; here it has flags only so that they can be completed.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Sequence
from typing import Any

import typer
import typer.core
import typer.main

from s2scli import __version__
from s2scli.cli.commands import COMMANDS, CONFIGS
from s2scli.cli.completion import complete
from s2scli.cli.help import listed_commands, program_help
from s2scli.cli.options import OWN_FLAGS, SET, Flag, flags_of
from s2scli.cli.topics import show_topic, topics
from s2scli.errors import S2SError, UsageError
from s2scli.streams import columns

_HELP_NAMES = ["--help", "-h"]


def run_program(arguments: Sequence[str]) -> None:
    """Run a line that does not begin with a command's name; what typer finds wrong with it is a UsageError."""
    try:
        _make_app().main(list(arguments), prog_name="s2s", standalone_mode=False)
    except typer.TyperException as error:
        message = " ".join(error.format_message().split()).rstrip(".")
        raise UsageError(message[:1].lower() + message[1:]) from None
    except typer.Abort:
        raise S2SError("aborted") from None


class CommandGroup(typer.core.TyperGroup):
    """The commands: listed from the table, each with its flags only where it is to be completed."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Make the typer command that the first word names."""
        del ctx
        name, *words = args
        if name == "help":
            return name, _make_help_command(), words
        if name not in COMMANDS:
            return None, None, words
        return name, _make_completed(name, flags_of(CONFIGS[name])), words

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write what s2s is, its commands, its options, and where to read on."""
        records = [parameter.get_help_record(ctx) for parameter in self.get_params(ctx)]
        formatter.write(program_help([record for record in records if record], columns(sys.stdout)))


def _make_completed(name: str, flags: list[Flag]) -> Any:
    """Make the typer command that a command's words are completed by."""
    app = typer.Typer(rich_markup_mode=None, add_completion=False)
    # Help is a flag like others, so that it can know those beside it: s2s train --arch fconv --help.
    app.command(name, context_settings={"help_option_names": []})(_with_flags(flags))
    return typer.main.get_command(app)


def _with_flags(flags: list[Flag]) -> Callable[..., None]:
    """A function whose signature is the flags, for typer to read."""
    named = {f"flag_{flag.name.lstrip('-').replace('-', '_').lower()}": flag for flag in (*flags, *OWN_FLAGS)}
    if len(named) != len(flags) + len(OWN_FLAGS):
        raise ValueError("two flags have the same name")

    def command(**typed: Any) -> None:
        del typed

    parameters = [_parameter(name, flag) for name, flag in named.items()]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    # typer reads the signature, not the code; functions have this attribute by PEP 362.
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return command


def _parameter(name: str, flag: Flag) -> inspect.Parameter:
    """One flag as a parameter that typer understands: text or nothing."""
    kind: Any = (
        bool | None if flag.switch else list[str] | None if flag.many or flag.name == SET else str | None
    )
    shown: dict[str, Any] = {"help": flag.help, "show_default": False}
    if flag.choices:
        shown["autocompletion"] = lambda incomplete: complete(flag.choices, incomplete, many=flag.many)
    if flag.argument:
        return _keyword(name, kind, typer.Argument(None, metavar=flag.name, **shown))
    if not flag.switch:
        shown["metavar"] = flag.metavar
    short = [flag.short] if flag.short else []
    # What every command has is not undone: it has no --no- form.
    declaration = flag.declaration if flag.key else flag.name
    return _keyword(name, kind, typer.Option(None, declaration, *short, **shown))


def _keyword(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)


def _make_help_command() -> Any:
    """Make the typer command `s2s help`."""
    app = typer.Typer(rich_markup_mode=None, add_completion=False)

    def complete_topic(incomplete: str) -> list[str]:
        return [topic for topic in topics() if topic.startswith(incomplete)]

    @app.command("help", context_settings={"help_option_names": _HELP_NAMES})
    def show(topic: str = typer.Argument("", metavar="TOPIC", autocompletion=complete_topic)) -> None:
        """Show a chapter of the manual, or list them."""
        show_topic(topic)

    return typer.main.get_command(app)


def _make_app() -> Any:
    """Make the typer command `s2s` with everything under it."""
    app = typer.Typer(
        cls=CommandGroup, rich_markup_mode=None, context_settings={"help_option_names": _HELP_NAMES}
    )

    @app.callback(invoke_without_command=True)
    def start(
        context: typer.Context,
        version: bool = typer.Option(False, "--version", help="print the version"),
    ) -> None:
        if version:
            print(f"s2s {__version__}")
            raise typer.Exit
        if context.invoked_subcommand is None:
            print(context.get_help())

    for name, text in listed_commands():
        # Listed with its help only; CommandGroup makes the real one where its words are completed.
        app.command(name, help=text, short_help=text)(lambda: None)
    return typer.main.get_command(app)
