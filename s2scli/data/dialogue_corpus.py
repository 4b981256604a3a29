"""Corpora of dialogues: a JSON line has the turns of one, and each turn that is an answer makes a pair."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

from s2scli.data.corpus import BROKEN_RECORD, BROKEN_TEXT, MOST_SYMBOLS, Corpus, Item, Pair
from s2scli.data.dialogue import Dialogue, DialogueForm, exchanges, read_dialogue
from s2scli.data.record_fields import why_no_record
from s2scli.errors import DataError, did_you_mean
from s2scli.io import decode, read_raw_lines

LAYOUT = "dialogue"


@dataclass(frozen=True, kw_only=True)
class DialogueCorpus(Corpus):
    """Text of one split: a file with a dialogue a line; form: how sources are made of turns."""

    form: DialogueForm = field(default_factory=DialogueForm)

    def with_form(self, form: DialogueForm | None) -> Self:
        """The same with sources of another form; None: of the usual one."""
        return replace(self, form=form or DialogueForm())

    def dialogues(self) -> Iterator[tuple[int, Dialogue | str]]:
        """The number of each line, and its dialogue or why it is left out; DataError where that is an error."""
        for number, raw in enumerate(read_raw_lines(self.files[0]), start=1):
            text, problem = decode(raw)
            if problem and self.on_broken == "error":
                raise self.broken_text(self.location(0, number), problem, raw)
            if problem and self.on_broken == "skip":
                yield number, BROKEN_TEXT
                continue
            try:
                yield number, read_dialogue(text, replace=self.on_broken == "replace")
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                if self.on_broken != "skip":
                    why = why_no_record(error, LAYOUT)
                    raise DataError(
                        f'{self.location(0, number)}: {why}; wanted: {{"turns": ["…", "…"]}}, perhaps with "speakers"'
                    ) from None
                yield number, BROKEN_RECORD

    def pairs(self) -> Iterator[Pair]:
        """Yield the pairs of all dialogues, in order; for a broken one that is left out a pair with its problem."""
        for number, dialogue in self.dialogues():
            if isinstance(dialogue, str):
                yield Pair("", "", problem=dialogue, line=number)
                continue
            key = dialogue.key
            for before, speaker, turn in exchanges(dialogue, self.form):
                source = self.form.compose(before, speaker)
                yield Pair(source, self.form.plain(turn), self.tag, line=number, dialogue=key)

    def items(self) -> Iterator[Item]:
        """Yield the pairs themselves: how many a line has is known only when it is read."""
        return self.pairs()

    def parse(self, item: Item, number: int) -> Pair:
        """The pair that the item is."""
        del number
        assert isinstance(item, Pair)
        return item

    def count(self) -> int:
        """Read the dialogues through; the number of pairs, DataError where there are none."""
        count = sum(1 for _ in self.pairs())
        if not count and self.form.targets:
            name = self.form.targets[0]
            hint = did_you_mean(name, find_speakers([self]))
            raise DataError(
                f"{self.paths[0]}: --target-speaker {name}: answers nothing in the dialogues{hint}"
            )
        if not count:
            raise DataError(f"{self.paths[0]}: no dialogue has a second turn, which could be an answer")
        return count


def find_speakers(corpora: Sequence[DialogueCorpus]) -> tuple[str, ...]:
    """Who speaks in the dialogues of some corpora, in the order in which they first do; reads them through."""
    speakers: dict[str, None] = {}
    for corpus in corpora:
        for number, dialogue in corpus.dialogues():
            if not isinstance(dialogue, str):
                speakers |= dict.fromkeys(dialogue.speakers)
            if len(speakers) > MOST_SYMBOLS:
                raise DataError(
                    f"{corpus.location(0, number)}: more than {MOST_SYMBOLS} speakers so far; leave --speakers out"
                )
    return tuple(speakers)
