"""Dialogues: reading their turns, and how the turns before an answer make its source."""

from __future__ import annotations

import hashlib
import unicodedata
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import cycle, islice
from typing import Any, ClassVar, NamedTuple, Self

from s2scli.record import NOT_TEXT, read_json
from s2scli.schema import setting
from s2scli.text.normalization import is_blank

# Who speaks where a dialogue does not say: two who take turns.
UNNAMED = ("A", "B")


class Dialogue(NamedTuple):
    """Turns, and who says each of them; perhaps one speaker more, who is to speak next."""

    turns: list[str]
    speakers: list[str]

    @property
    def key(self) -> str:
        """A short hash of what is said."""
        return hashlib.blake2b("\n".join(self.turns).encode(), digest_size=8).hexdigest()


class Exchange(NamedTuple):
    """A turn, who says it, and the turns before it that are not blank, with who says those."""

    before: list[tuple[str, str]]
    speaker: str
    turn: str


@dataclass(frozen=True, kw_only=True)
class DialogueForm:
    """How the last turns before an answer, at most `context_turns` of them, make its source.

    "TURN <turn> TURN", the oldest first; where there are speakers, "<A> TURN <turn> <B> TURN <turn> <A>", the last
    being who answers. Blank turns are left out. symbol: what is between turns, or nothing for a space.

    speakers: the names of all, in the order in which they first spoke; none where sources do not tell who speaks.
    targets: those whose turns are answers; none: all.
    """

    context_turns: int = setting(3, "turns before an answer", at_least=0)
    symbol: str = "<turn>"
    speakers: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()

    CLOSED: ClassVar[bool] = True

    @classmethod
    def from_meta(cls, values: Mapping[str, Any]) -> Self:
        """Read what `to_meta` gave."""
        names = {name: tuple(values.get(name, ())) for name in ("speakers", "targets")}
        return cls(**{**values, **names})

    def to_meta(self) -> dict[str, Any]:
        """The form as JSON values."""
        return asdict(self) | {"speakers": list(self.speakers), "targets": list(self.targets)}

    @property
    def symbols(self) -> tuple[str, ...]:
        """The symbols that must be one token each."""
        return (*([self.symbol] if self.symbol else []), *dict.fromkeys(map(speaker_symbol, self.speakers)))

    @property
    def _between(self) -> str:
        return f" {self.symbol} " if self.symbol else " "

    def plain(self, text: str) -> str:
        """A text that holds none of the symbols: one that somebody typed gets a space, `< turn>`.

        Nor does it hold one when normalization has rewritten it.
        """
        seen = _folded(text)
        for symbol in self.symbols:
            if _folded(symbol) in seen:
                first = _folded(symbol[0])
                text = "".join(f"{letter} " if _folded(letter) == first else letter for letter in text)
                seen = _folded(text)
        return text

    def compose(self, before: Sequence[tuple[str, str]], speaker: str) -> str:
        """The source of what a speaker answers to some turns and their speakers; nothing where all are blank."""
        said = [(who, self.plain(turn)) for who, turn in before if not is_blank(turn)][-self.context_turns :]
        if not said:
            return ""
        if not self.speakers:
            return self._between.join(turn for _, turn in said)
        parts = [f"{speaker_symbol(who)} {turn}" for who, turn in said]
        return self._between.join([*parts, speaker_symbol(speaker)])

    def last_turn(self, source: str) -> str:
        """The last turn of a source, without who says it."""
        if not self.symbol:
            return source
        marks = {speaker_symbol(name) for name in self.speakers}
        *turns, last = source.split(self._between)
        if turns and last in marks:
            last = turns[-1]
        mark, _, turn = last.partition(" ")
        return turn if mark in marks else last

    def answering(self, dialogue: Dialogue) -> str:
        """Who speaks next in a dialogue: who it says, or else who answers, or whoever has not spoken last."""
        turns, speakers = dialogue
        if len(speakers) > len(turns):
            return speakers[-1]
        others = [name for name in self.targets or self.speakers if name not in speakers[-1:]]
        return (others or self.targets or UNNAMED)[0]

    def named(self, turns: Sequence[str], speaker: str = "") -> Dialogue:
        """Turns by two who take turns, and who is next: a speaker if one is given, or who answers in training."""
        first, second, *_ = (*self.speakers, *UNNAMED) if len(self.speakers) != 1 else UNNAMED
        if not speaker and self.targets:
            speaker = self.targets[0]
        if speaker:
            other = next((name for name in (first, second) if name != speaker), second)
            order = [speaker, other] if len(turns) % 2 == 0 else [other, speaker]
        else:
            order = [first, second]
        return Dialogue(list(turns), list(islice(cycle(order), len(turns) + 1)))


def speaker_symbol(name: str) -> str:
    """The symbol of a speaker: USER and <USER> have <USER>, Li Hua has <Li_Hua>."""
    name = "_".join(name.split())
    return name if name.startswith("<") and name.endswith(">") else f"<{name}>"


def one_line(text: str) -> str:
    """A text without line ends: a sentence is a line wherever it goes."""
    return text.replace("\r\n", " ").replace("\n", " ").replace("\r", " ")


def read_dialogue(text: str, *, replace: bool = False) -> Dialogue:
    """The dialogue of a JSON line.

    Raises ValueError, KeyError or TypeError for a line that is none. replace: put U+FFFD for what is no text.
    """
    record = read_json(text)
    if not isinstance(record, dict):
        raise TypeError("JSON is no object")
    return dialogue_of(record, replace=replace)


def dialogue_of(record: Mapping[str, Any], *, replace: bool = False) -> Dialogue:
    """The dialogue of a JSON record, see `read_dialogue`; without "speakers" those are two who take turns."""
    turns = _texts(record["turns"], "turns", replace=replace)
    if record.get("speakers") is None:
        return Dialogue(turns, list(islice(cycle(UNNAMED), len(turns))))
    speakers = _texts(record["speakers"], "speakers", replace=replace)
    if len(speakers) not in (len(turns), len(turns) + 1):
        raise TypeError(f"speakers are {len(speakers)}, and its turns {len(turns)}")
    for number, name in enumerate(speakers):
        if not name.strip():
            raise TypeError(f"speakers[{number}] is blank")
    return Dialogue(turns, speakers)


def _texts(values: Any, name: str, *, replace: bool) -> list[str]:
    if not isinstance(values, list):
        raise TypeError(f"{name} is no list of texts")
    for number, value in enumerate(values):
        if not isinstance(value, str):
            raise TypeError(f"{name}[{number}] is not text")
        if not replace and NOT_TEXT.search(value):
            raise TypeError(f"{name}[{number}] holds a NUL character or half of a character")
    return [one_line(NOT_TEXT.sub("\ufffd", value)) for value in values]


def exchanges(dialogue: Dialogue, form: DialogueForm) -> Iterator[Exchange]:
    """The turns of a dialogue that are answers: all but the first, or those of the speakers whose turns are."""
    before: deque[tuple[str, str]] = deque(maxlen=form.context_turns)
    for number, (turn, speaker) in enumerate(zip(*dialogue, strict=False)):
        if number and (not form.targets or speaker in form.targets):
            yield Exchange(list(before), speaker, turn)
        if not is_blank(turn):
            before.append((speaker, turn))


def _folded(text: str) -> str:
    """What a text may become when it is normalized, as far as letters are told apart by it."""
    return unicodedata.normalize("NFKC", text).casefold()
