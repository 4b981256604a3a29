"""Pairs of a source and a target line, and what every corpus of them can do: be read, counted and told from others."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple, Self

from s2scli.data.dialogue import DialogueForm
from s2scli.errors import DataError
from s2scli.features.extraction import Utterance
from s2scli.io import input_name, remedy_for

SIDES = ("source", "target")
MAIN = "main"
# Each tag, and each speaker, is a symbol of the vocabulary.
MOST_SYMBOLS = 1000
BROKEN_TEXT, BROKEN_RECORD = "broken text", "broken record"


class Pair(NamedTuple):
    """A source and a target line, and their tag or nothing; `problem`: why to leave the pair out, or nothing.

    Where there is only target text the source is empty. Of a dialogue's pairs `line` is where it is in its file, and
    `dialogue` tells it from others. Where sources are no text, `utterance` is what one is made of, `source` what it is
    called, and `line` where it is in its manifest.
    """

    source: str
    target: str
    tag: str = ""
    problem: str = ""
    line: int = 0
    dialogue: str = ""
    utterance: Utterance | None = None

    @property
    def sides(self) -> tuple[str, str]:
        """Source and target."""
        return self.source, self.target


Item = tuple[bytes, ...] | Pair
"""What a corpus yields for each pair: a line of each of its files, undecoded, or the pair itself."""


@dataclass(frozen=True, kw_only=True)
class Corpus(ABC):
    """Text of one split, all of it or a part with a name.

    paths: the files, as the user named them. on_broken: what becomes of a pair that is broken: error, replace or skip.
    tag: that of pairs that have none of their own. target_lang: the target's language, where it is said for this text.
    spools: files to read in place of the paths.
    """

    split: str
    paths: tuple[Path, ...]
    on_broken: str = "error"
    name: str = MAIN
    tag: str = ""
    target_lang: str = ""
    spools: tuple[Path, ...] = ()

    # The most that are encoded at once, in one process.
    items_a_chunk: ClassVar[int] = 2000

    @property
    def files(self) -> tuple[Path, ...]:
        """What is read: the files, or what holds the text of those that can be read only once."""
        return self.spools or self.paths

    @property
    def key(self) -> str:
        """What tells it from all others: train/main."""
        return f"{self.split}/{self.name}"

    def location(self, side: int, number: int) -> str:
        """The file and line of a side, for messages."""
        return f"{input_name(self.paths[min(side, len(self.paths) - 1)])}:{number}"

    @abstractmethod
    def items(self) -> Iterator[Item]:
        """Yield what `parse` makes a pair of, for each pair in order; cheap where pairs are to be passed over."""

    @abstractmethod
    def parse(self, item: Item, number: int) -> Pair:
        """The pair of an item, the `number`-th from 1; DataError where it is broken and that is an error."""

    @abstractmethod
    def count(self) -> int:
        """Read the text through; the number of pairs.

        Raises DataError for what is broken, if that is an error, and for text that has no pairs.
        """

    def pairs(self) -> Iterator[Pair]:
        """Yield every pair, in order."""
        for number, item in enumerate(self.items(), start=1):
            yield self.parse(item, number)

    def tags(self) -> set[str]:
        """The tags that pairs have."""
        return {self.tag} - {""}

    def with_form(self, form: DialogueForm | None) -> Self:
        """The same, where it is of dialogues with sources of that form."""
        del form
        return self

    def broken_text(self, location: str, problem: str, raw: bytes) -> DataError:
        """The error for a line that is no text; problem: why not."""
        remedy = remedy_for(raw)
        other = "" if "UTF-16" in remedy else ", or give --encoding-errors replace or skip"
        return DataError(f"{location}: the line {problem}; {remedy}{other}")


def size_of(item: Item) -> int:
    """How much text an item is: the bytes of lines, the characters of a pair."""
    return sum(map(len, item.sides if isinstance(item, Pair) else item))


def is_held_out(pair: Pair, fraction: float) -> bool:
    """Whether a training pair belongs to validation: a hash of its text, so equal pairs stay together.

    So do the pairs of a dialogue.
    """
    text = pair.dialogue or f"{pair.source}\n{pair.target}"
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") < fraction * 2**64
