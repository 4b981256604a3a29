"""`s2s chat`: a conversation with a model in the terminal, or dialogues from a pipe, each with its answer."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import TextIOWrapper
from itertools import chain

from s2scli.configs.chat import ChatConfig
from s2scli.configs.generate import GenerateConfig
from s2scli.console import counted, notice, warn
from s2scli.data.dialogue import one_line
from s2scli.data.source_form import SourceComposer
from s2scli.errors import Interrupted, S2SError
from s2scli.inference.chat.commands import COMMANDS, Session
from s2scli.inference.chat.conversation import Conversation, for_dialogues
from s2scli.inference.formats import format_record
from s2scli.inference.input import input_format, json_lines
from s2scli.inference.loading import make_translator
from s2scli.inference.records import summarized
from s2scli.inference.signals import InterruptSignals
from s2scli.inference.translator import Translator
from s2scli.io import STDIN, input_name, read_lines
from s2scli.needs import note_needs
from s2scli.notes import TELLS_EACH, Summary
from s2scli.record import NOT_TEXT, Record
from s2scli.streams import is_open_terminal
from s2scli.text.normalization import is_blank

_PROMPT = "> "


@dataclass(frozen=True, kw_only=True)
class ChatResult:
    """How many turns were answered, those that were taken back among them."""

    answers: int


def chat(config: ChatConfig) -> ChatResult:
    """Answer turns as they are typed, or dialogues as they come through a pipe, one by one.

    In a terminal Ctrl-C stops an answer, and at the prompt, as Ctrl-D does, the conversation.
    """
    note_needs(config)
    settings = config.of_generate()
    translator = for_dialogues(make_translator(settings), config.path, config.context_turns, config.speaker)
    if config.input == STDIN and is_open_terminal(sys.stdin):
        with _interruptible():
            return ChatResult(answers=_converse(Conversation(translator, settings)))
    number = 0
    with InterruptSignals().caught() as signals:
        try:
            for text in _answered(config, settings, translator):
                with signals.whole():
                    sys.stdout.write(f"{text}\n")
                    sys.stdout.flush()
                    number += 1
        except Interrupted as stop:
            raise Interrupted(f"interrupted after {counted(number, 'answer')}", stop.number) from None
    return ChatResult(answers=number)


def _answered(config: ChatConfig, settings: GenerateConfig, translator: Translator) -> Iterator[str]:
    """The answers to what comes through a pipe, a line for a line, each as soon as its line is there."""
    name, summary = input_name(config.input), Summary(verbose=config.verbose)
    of_text = Summary(verbose=config.verbose, name=name, remedy=TELLS_EACH)
    texts = read_lines(config.input, replace=True, summary=of_text)
    kind = config.input_format
    if kind == "auto":
        first = next(texts, None)
        texts = texts if first is None else chain([first], texts)
        is_json = input_format(config.input) == "jsonl" or (first or "").lstrip().startswith("{")
        kind = "dialogue" if is_json else "text"
    if config.format == "auto":
        settings = config.of_generate(format="jsonl" if kind == "dialogue" else "text")
    if kind == "dialogue":
        composer = SourceComposer.of_text(translator.form, config.source_tag, config.path)
        lines = json_lines(texts, name, composer)
        records = translator.records(lines, window=1)
    else:
        records = _answers_to_turns(Conversation(translator, settings), texts)
    yield from (format_record(record, settings) for record in summarized(records, summary))


def _answers_to_turns(conversation: Conversation, texts: Iterable[str]) -> Iterator[Record]:
    """The answers to the turns of one conversation, where a blank line begins another."""
    for number, text in enumerate(texts):
        if not is_blank(text):
            yield conversation.answer(text, number)
        else:
            conversation.turns.clear()
            yield Record(id=number, source=text)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let every Ctrl-C in here be a KeyboardInterrupt; elsewhere only the first one of a process is."""
    previous = signal.getsignal(signal.SIGINT)
    if previous != signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def _converse(conversation: Conversation) -> int:
    """Answer what is typed until Ctrl-D, /quit, or Ctrl-C at the prompt; the number of answers."""
    session = Session(conversation)
    _prepare_typing()
    form = conversation.form
    notice(f"answers to the last {counted(form.context_turns, 'turn')}; /help lists commands, Ctrl-D ends")
    number = 0
    while True:
        try:
            line = _read()
        except (EOFError, KeyboardInterrupt):
            notice("")
            return number
        try:
            turn = session.turn(line) if not is_blank(line) else None
            if turn is not None:
                record = conversation.answer(turn)
                for note in record.notes:
                    warn(note.text)
                print(format_record(record, conversation.config), flush=True)
                number += 1
        except EOFError:
            return number
        except KeyboardInterrupt:
            notice("stopped; the turn is taken back")
        except S2SError as error:
            notice(" ".join(str(error).split()))


def _prepare_typing() -> None:
    """Let lines be edited and commands be completed, where Python can, and let what is no UTF-8 in."""
    if isinstance(sys.stdin, TextIOWrapper):
        sys.stdin.reconfigure(encoding="utf-8", errors="surrogateescape")
    with suppress(ImportError):
        import readline

        def complete(text: str, state: int) -> str | None:
            return [*(f"/{name}" for name in COMMANDS if f"/{name}".startswith(text)), None][state]

        readline.set_completer(complete)
        readline.set_completer_delims(" ")
        readline.parse_and_bind("tab: complete")


def _read() -> str:
    """A line as it was typed; EOFError at the end."""
    if is_open_terminal(sys.stdout):
        line = input(_PROMPT)
    else:
        # Standard output has answers only.
        sys.stderr.write(_PROMPT)
        sys.stderr.flush()
        line = sys.stdin.readline()
        if not line:
            raise EOFError
    line = one_line(line.removesuffix("\n"))
    if NOT_TEXT.search(line):
        warn("not UTF-8, or NUL; replaced by U+FFFD")
    return NOT_TEXT.sub("\ufffd", line)
