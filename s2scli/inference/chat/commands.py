"""What can be typed in a conversation beside turns: /reset, /beam 5 and the like."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from s2scli.console import counted, notice
from s2scli.errors import UsageError, did_you_mean
from s2scli.inference.chat.conversation import Conversation
from s2scli.io import open_text


@dataclass
class Session:
    """A conversation in a terminal, and the files that it has been saved to."""

    conversation: Conversation
    saved: dict[Path, tuple[int, int, int]] = field(default_factory=dict)

    def turn(self, line: str) -> str | None:
        """The turn that a line is or leads to, or None for a command, which is run.

        Raises EOFError for /quit, and S2SError for a command that cannot be run.
        """
        if not line.startswith("/"):
            return line
        if line.startswith("//"):
            return line[1:]
        name, _, argument = line[1:].partition(" ")
        name, argument = _OTHER_NAMES.get(name, name), argument.strip()
        if name not in COMMANDS:
            hint = did_you_mean(name, COMMANDS).replace("did you mean ", "did you mean /")
            raise UsageError(f"/{name}: no such command{hint}; a turn that begins with / is typed with two")
        command = COMMANDS[name]
        if bool(argument) != bool(command.argument) and not command.argument.startswith("["):
            raise UsageError(f"/{name}: wanted: {command.usage(name)}")
        return command.run(self, argument)


@dataclass(frozen=True)
class ChatCommand:
    """What is typed after its name, in [] if it may be left out; run: does it, and gives a turn to answer if any."""

    argument: str
    help: str
    run: Callable[[Session, str], str | None]

    def usage(self, name: str) -> str:
        """How it is typed."""
        return f"/{name} {self.argument}".rstrip()


def _reset(session: Session, _: str) -> None:
    session.conversation.turns.clear()
    notice("a new conversation")


def _undo(session: Session, _: str) -> None:
    text = session.conversation.undo()
    notice("there is no turn to take back" if text is None else f"taken back: {text}")


def _retry(session: Session, _: str) -> str | None:
    conversation = session.conversation
    text = conversation.undo()
    if text is None:
        notice("there is no turn to answer again")
    elif conversation.config.sampling:
        conversation.change("/retry", seed=conversation.config.seed + 1)
    return text


def _history(session: Session, _: str) -> None:
    turns, speakers = session.conversation.dialogue
    if not session.conversation.form.speakers:
        speakers = ["you", "model"] * len(turns)
    for name, turn in zip(speakers, session.conversation.turns, strict=False):
        notice(f"{name}: {turn}")


def _beam(session: Session, argument: str) -> None:
    session.conversation.change("/beam", beam=argument, sampling=False, temperature="1")
    _tell(session)


def _sample(session: Session, argument: str) -> None:
    temperature = {"temperature": argument} if argument else {}
    session.conversation.change("/sample", sampling=True, **temperature)
    _tell(session)


def _seed(session: Session, argument: str) -> None:
    session.conversation.change("/seed", seed=argument)
    _tell(session)


def _set(session: Session, argument: str) -> None:
    name, _, value = argument.partition(" ")
    if name and not value:
        raise UsageError(f"/set {name}: wanted: a name and a value, as in /set lenpen 0.6")
    if name:
        key = name.lstrip("-").replace("-", "_")
        session.conversation.change(f"/set {name}", **{key: value.strip()})
        _tell(session)
        return
    settings = session.conversation.settings
    width = max(map(len, settings))
    for name, (value, usual) in settings.items():
        notice(f"{name:<{width}}  {value}" + ("" if value == usual else f"  (by default {usual})"))


def _tell(session: Session) -> None:
    """Say what the search is."""
    config = session.conversation.config
    search = "sampling" if config.sampling else f"beam {config.beam}"
    changed = session.conversation.changed.items()
    others = (f"{name} {value}" for name, value in changed if name not in ("beam", "sampling"))
    notice(", ".join([search, *others]))


def _save(session: Session, argument: str) -> None:
    try:
        path = Path(argument).expanduser()
        earlier = session.saved.get(path.resolve())
        if path.exists() and earlier is None:
            raise UsageError(f"/save {argument}: is there already; give another name")
        if path.exists() and earlier != _state(path):
            raise UsageError(f"/save {argument}: has been changed since it was saved; give another name")
    except (OSError, RuntimeError) as error:
        # A name that is too long, a home that there is not.
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise UsageError(f"/save {argument}: cannot be written: {reason}; give another name") from None
    with open_text(path) as stream:
        stream.write(f"{session.conversation.to_json()}\n")
    session.saved[path.resolve()] = _state(path)
    anew = "" if earlier is None else ", in place of what /save wrote before"
    notice(f"{path}: {counted(len(session.conversation.turns), 'turn')}{anew}")


def _state(path: Path) -> tuple[int, int, int]:
    """What tells a file from a later one of its name."""
    found = path.stat()
    return found.st_ino, found.st_mtime_ns, found.st_size


def _help(session: Session, _: str) -> None:
    del session
    width = max(len(command.usage(name)) for name, command in COMMANDS.items())
    for name, command in COMMANDS.items():
        notice(f"{command.usage(name):<{width}}  {command.help}")


def _quit(session: Session, _: str) -> None:
    del session
    raise EOFError


COMMANDS = {
    "help": ChatCommand("", "list the commands", _help),
    "reset": ChatCommand("", "begin a new conversation", _reset),
    "undo": ChatCommand("", "take the last turn and its answer back", _undo),
    "retry": ChatCommand("", "answer the last turn again; when sampling, with the next seed", _retry),
    "history": ChatCommand("", "show the turns so far", _history),
    "beam": ChatCommand("N", "search with a beam of N; 1: greedy", _beam),
    "sample": ChatCommand("[T]", "draw answers at random, at the temperature T", _sample),
    "seed": ChatCommand("N", "what is drawn", _seed),
    "set": ChatCommand(
        "[NAME VALUE]", "change a setting of the search, as in /set lenpen 0.6; alone: show all", _set
    ),
    "save": ChatCommand(
        "FILE", "write the conversation as a JSON dialogue, which s2s preprocess reads", _save
    ),
    "quit": ChatCommand("", "end, as Ctrl-D does", _quit),
}
_OTHER_NAMES = {"exit": "quit", "bye": "quit", "h": "help", "?": "help", "q": "quit"}
