"""What stands in a source beside its line: a tag, lines of its document that go before, turns of its dialogue."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from s2scli.data.dialogue import DialogueForm, dialogue_of
from s2scli.document import check
from s2scli.errors import UsageError
from s2scli.schema import setting
from s2scli.text.normalization import is_blank
from s2scli.text.tokenizer import Tokenizer

_LANGUAGE = re.compile(r"<2[^<>]+>")


def language_symbol(language: str) -> str:
    """The tag of sources whose target is of a language: <2de> (Johnson et al. 2017)."""
    return f"<2{language}>"


@dataclass(frozen=True, kw_only=True)
class SourceForm:
    """Which tags there are, how many lines of context a source may have, and the symbol that separates them.

    A source is "TAG LINE SEPARATOR LINE": a tag if it has one, lines of context, the oldest first, and its own line.
    In dialogues what follows the tag is made of turns instead.
    """

    tags: tuple[str, ...] = ()
    context_lines: int = setting(0, "lines of context", at_least=0)
    separator: str = "<sep>"
    dialogue: DialogueForm | None = None

    CLOSED: ClassVar[bool] = True

    @classmethod
    def from_meta(cls, values: Any) -> Self:
        """Read what `to_meta` gave, or nothing for a plain form; DataError where it is something else."""
        check(values, cls, "source_form")
        dialogue = values.get("dialogue")
        return cls(
            **{
                **values,
                "tags": tuple(values.get("tags", ())),
                "dialogue": DialogueForm.from_meta(dialogue) if dialogue else None,
            }
        )

    def to_meta(self) -> dict[str, Any]:
        """The form as JSON values."""
        values = {**asdict(self), "tags": list(self.tags)}
        del values["dialogue"]
        return values | ({"dialogue": self.dialogue.to_meta()} if self.dialogue else {})

    @property
    def names_languages(self) -> bool:
        """Whether the tags are symbols of several languages, one of which a target is to be of."""
        return len(self.tags) > 1 and all(map(_LANGUAGE.fullmatch, self.tags))

    @property
    def symbols(self) -> tuple[str, ...]:
        """The symbols that must be one token each."""
        of_dialogue = self.dialogue.symbols if self.dialogue else ()
        return (*self.tags, *((self.separator,) if self.context_lines else ()), *of_dialogue)

    def marks(self, tokenizer: Tokenizer) -> frozenset[int]:
        """The ids of those symbols."""
        return frozenset(tokenizer.vocabulary.lookup(symbol) for symbol in self.symbols)

    def line_of(self, text: str) -> tuple[str, str]:
        """The tag of a source, or nothing, and its own line, or turn, without those of its context."""
        tag, _, line = text.partition(" ")
        if tag not in self.tags:
            tag, line = "", text
        if self.dialogue:
            return tag, self.dialogue.last_turn(line)
        return tag, line.rpartition(f" {self.separator} ")[2] if self.context_lines else line

    def cut(self, ids: Sequence[int], limit: int, marks: frozenset[int]) -> Sequence[int]:
        """The ids of a source that is too long, cut at its end, or where it has context after its tag."""
        if not self.context_lines and not self.dialogue:
            return ids[:limit]
        head = 1 if self.tags and ids[0] in marks else 0
        return [*ids[:head], *ids[len(ids) - limit + head :]]

    def is_empty(self, ids: Sequence[int], marks: frozenset[int]) -> bool:
        """Whether the ids of a source have nothing of its own line, or of any turn."""
        if self.dialogue:
            return all(token in marks for token in ids)
        return not ids or ids[-1] in marks


class SourceComposer:
    """Makes the sources of lines that follow each other, and of dialogues.

    A blank line stays as it is, and ends a document: no context reaches beyond it. tag: of all lines, or nothing.
    """

    def __init__(self, form: SourceForm, tag: str = "") -> None:
        if tag and tag not in form.tags:
            known = ", ".join(form.tags) or "none"
            raise UsageError(f"--source-tag {tag}: the model was trained on sources with these tags: {known}")
        self.form = form
        self._join = f" {form.separator} ".join
        self._tag = tag
        self._before: deque[str] = deque(maxlen=form.context_lines)

    @classmethod
    def of_text(cls, form: SourceForm, tag: str, path: Path) -> Self:
        """For text whose sources have no tags; UsageError where the model at a path writes several languages, and the
        tag does not say which."""
        if form.names_languages and not tag:
            raise UsageError(
                f"{path}: writes several languages, and no symbol says which; give --source-tag, one of "
                f"{', '.join(form.tags)}"
            )
        return cls(form, tag)

    def follow(self, lines: Iterable[str]) -> None:
        """Take lines as context for those that come."""
        for line in lines:
            if is_blank(line):
                self._before.clear()
            else:
                self._before.append(line)

    def compose(self, line: str, tag: str = "") -> str:
        """The source of the next line; tag: of this line, in place of that of all."""
        tag = tag or self._tag
        if not tag and not self.form.context_lines:
            return line
        text = line if is_blank(line) else self._join((*self._before, line))
        self.follow([line])
        return f"{tag} {text}" if tag and not is_blank(line) else text

    def compose_dialogue(self, form: DialogueForm, record: Mapping[str, Any]) -> str:
        """The source of what comes next in a dialogue, a JSON record; ValueError and the like where it is none."""
        dialogue = dialogue_of(record, replace=True)
        if record.get("speakers") is None:
            dialogue = form.named(dialogue.turns)
        text = form.compose(
            list(zip(dialogue.speakers, dialogue.turns, strict=False)), form.answering(dialogue)
        )
        return f"{self._tag} {text}" if self._tag and text else text
