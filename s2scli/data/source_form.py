"""What stands in a source beside its line: a tag before it, and lines of its document that go before."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from s2scli.errors import UsageError
from s2scli.text.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class SourceForm:
    """Which tags there are, how many lines of context a source may have, and the symbol that separates them.

    A source is "TAG LINE SEPARATOR LINE": a tag if it has one, lines of context, the oldest first, and its own line.
    """

    tags: tuple[str, ...] = ()
    context_lines: int = 0
    separator: str = "<sep>"

    @classmethod
    def from_meta(cls, values: Mapping[str, Any]) -> Self:
        """Read what `to_meta` gave, or nothing for a plain form."""
        return cls(**{**values, "tags": tuple(values.get("tags", ()))})

    def to_meta(self) -> dict[str, Any]:
        """The form as JSON values."""
        return {**asdict(self), "tags": list(self.tags)}

    @property
    def symbols(self) -> tuple[str, ...]:
        """The symbols that must be one token each."""
        return (*self.tags, *((self.separator,) if self.context_lines else ()))

    def marks(self, tokenizer: Tokenizer) -> frozenset[int]:
        """The ids of those symbols."""
        return frozenset(tokenizer.vocabulary.lookup(symbol) for symbol in self.symbols)

    def line_of(self, text: str) -> tuple[str, str]:
        """The tag of a source, or nothing, and its own line, without those of its context."""
        tag, _, line = text.partition(" ")
        if tag not in self.tags:
            tag, line = "", text
        return tag, line.rpartition(f" {self.separator} ")[2] if self.context_lines else line

    def cut(self, ids: Sequence[int], limit: int, marks: frozenset[int]) -> Sequence[int]:
        """The ids of a source that is too long, cut at its end, or where it has context after its tag."""
        if not self.context_lines:
            return ids[:limit]
        head = 1 if self.tags and ids[0] in marks else 0
        return [*ids[:head], *ids[len(ids) - limit + head :]]


class SourceComposer:
    """Makes the sources of lines that follow each other.

    A blank line stays as it is, and ends a document: no context reaches beyond it. tag: of all lines, or nothing.
    """

    def __init__(self, form: SourceForm, tag: str = "") -> None:
        if tag and tag not in form.tags:
            known = ", ".join(form.tags) or "none"
            raise UsageError(f"--source-tag {tag}: the model was trained on sources with these tags: {known}")
        self._join = f" {form.separator} ".join
        self._tag = tag
        self._before: deque[str] = deque(maxlen=form.context_lines)

    def follow(self, lines: Iterable[str]) -> None:
        """Take lines as context for those that come."""
        for line in lines:
            if line.strip():
                self._before.append(line)
            else:
                self._before.clear()

    def compose(self, line: str, tag: str = "") -> str:
        """The source of the next line; tag: of this line, in place of that of all."""
        text = self._join((*self._before, line)) if line.strip() else line
        self.follow([line])
        tag = tag or self._tag
        return f"{tag} {text}" if tag and line.strip() else text
