"""From lines of text to the token ids that an engine reads, within the lengths that its model was made for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from s2scli.data.source_form import SourceForm
from s2scli.errors import UsageError
from s2scli.inference.engine import Engine
from s2scli.inference.lines import EncodedLine, Line
from s2scli.notes import Note
from s2scli.record import AttendedFrames
from s2scli.text.normalization import is_blank
from s2scli.text.tokenizer import Tokenizer
from s2scli.text.words import extend

if TYPE_CHECKING:
    # Few models copy, and numpy takes a while to load.
    from s2scli.data.copying import Copying


# Of more texts than these that are counted before they are encoded the ids are not kept.
_MOST_COUNTED = 8192


class LineEncoder:
    """Encodes lines for an engine with an encoder, which reads them as sources.

    tokenizers: by side. limits: of the dataset that the model was trained on, `max_SIDE_length` in tokens, 0 for none,
    and `on_long`, what becomes of longer lines. form: that of the sources in training.
    """

    side: ClassVar[str] = "source"
    """Which vocabulary a line is encoded in."""
    unit: ClassVar[str] = "source token"
    """What a line is long in."""

    def __init__(
        self, engine: Engine, tokenizers: Mapping[str, Tokenizer], limits: Mapping[str, Any], form: SourceForm
    ) -> None:
        self.form = form
        self._tokenizers, self._limits = tokenizers, limits
        self._positions = self._positions_of(engine)
        # The most tokens of a line in training, 0 for any number, and with what there are positions for.
        self._limit: int = limits.get(f"max_{self.side}_length", 0)
        both = (self._limit, self._positions - 1 if self._positions else 0)
        self._longest = min((limit for limit in both if limit), default=None)
        # The ids of texts that were read ahead, or whose tokens were counted, until they are encoded.
        self._counted: dict[str, list[int]] = {}
        self._copying: Copying | None = None
        if engine.copies:
            from s2scli.data.copying import Copying

            self._copying = Copying(tokenizers["source"], tokenizers["target"])

    def _positions_of(self, engine: Engine) -> int | None:
        """The most tokens of a line, end symbol counted, that the model has positions for; None: any number."""
        return engine.max_source_positions

    @property
    def longest(self) -> int | None:
        """The most tokens of a line that the model was trained on and has positions for; None: any number."""
        return self._longest

    def read_ahead(self, lines: Sequence[Line]) -> None:
        """Split lines into tokens, all at once, before each is counted and encoded; earlier ones are forgotten."""
        texts = [line.text for line in lines]
        self._counted = dict(zip(texts, self._tokenizers[self.side].encode_all(texts), strict=True))

    def recorded(self, line: Line, on_long: str | None) -> list[Line] | None:
        """The pieces of a line that names a recording; None: it is text, and its length is a matter of its tokens."""
        del line, on_long
        return None

    def num_tokens(self, text: str) -> int:
        """How many tokens a text has, the end symbol not counted."""
        ids = self._counted.get(text)
        if ids is None:
            ids = self._tokenizers[self.side].encode(text)
            # A longer one is split or refused: kept until it is encoded, it would be kept for good.
            if self.longest is None or len(ids) <= self.longest:
                if len(self._counted) >= _MOST_COUNTED:
                    self._counted.clear()
                self._counted[text] = ids
        return len(ids)

    def encode(self, line: Line) -> EncodedLine:
        """A line as the engine reads it, cut where it is too long for the model."""
        ids, notes = self._ids(line)
        if self._copying is None or not ids:
            return EncodedLine(line.text, ids, notes=notes)
        extended, words = self._copying.source(ids, line.text)
        return EncodedLine(line.text, ids, extended, tuple(words), notes)

    def attended_frames(self, source: EncodedLine, positions: int) -> AttendedFrames | None:
        """What so many positions of the encoder stand for, where a source is frames; None: it is text."""
        del source, positions
        return None

    def has_output(self, source: EncodedLine) -> bool:
        """Whether there is an output for a line: of a source without tokens there is none."""
        return bool(source.ids)

    def prefixes(
        self, prefix: Sequence[int], sources: Sequence[EncodedLine], *, right_to_left: bool
    ) -> Sequence[Sequence[int]]:
        """The ids that the output of each line begins with, where they are not `prefix` for all; else empty."""
        del prefix, sources, right_to_left
        return ()

    def with_reference(self, line: Line) -> Line:
        """The line with the reference that is scored for it."""
        return line

    def encode_pair(self, line: Line) -> tuple[EncodedLine, list[int]]:
        """A line as the engine reads it, and the ids of its reference; UsageError where it has none."""
        source = self.encode(line)
        return source, self.encode_reference(line, source.words)

    def has_score(self, line: Line, source: EncodedLine) -> bool:
        """Whether there is anything to score of a line and what it was encoded to."""
        return not is_blank(line.text) and bool(source.ids)

    def encode_reference(self, line: Line, words: Sequence[str] = ()) -> list[int]:
        """The ids of a line's reference, with those of its source's own words; UsageError where it has none."""
        if line.reference is None:
            raise UsageError(
                f"line {line.id + 1} has no reference to score; give a dataset folder, or JSON lines with "
                '"reference"'
            )
        target = self._tokenizers["target"]
        return extend(target, line.reference, target.encode(line.reference), words)

    def _ids(self, line: Line) -> tuple[list[int], list[Note]]:
        """The ids of a line, and notes of its being too long."""
        notes: list[Note] = []
        if is_blank(line.text):
            return [], notes
        ids = self._counted.pop(line.text, None)
        if ids is None:
            ids = self._tokenizers[self.side].encode(line.text)
        limit, positions = self._limit, self._positions
        if limit and len(ids) > limit:
            cut = self._limits["on_long"] == "truncate"
            notes.append(self._note_of_length(len(ids), cut, f"the {limit}", "that the model was trained on"))
            ids = self._cut(ids, limit) if cut else ids
        if positions and len(ids) >= positions:
            notes.append(
                self._note_of_length(
                    len(ids), True, f"the {positions - 1}", "that the model has positions for"
                )
            )
            ids = self._cut(ids, positions - 1)
        return ids, notes

    def _note_of_length(self, length: int, cut: bool, limit: str, which: str) -> Note:
        verb = "cut to" if cut else "more than"
        kind = f"{'are' if cut else 'have'} {verb} {limit} {self.unit}s {which}"
        return Note(kind, f"{length} {self.unit}s, {verb} {limit} {which}")

    def _cut(self, ids: list[int], limit: int) -> list[int]:
        return list(self.form.cut(ids, limit, self.form.marks(self._tokenizers[self.side])))


class PrefixEncoder(LineEncoder):
    """Encodes lines for a language model, which reads no source: a line is the beginning of its own output."""

    side: ClassVar[str] = "target"
    unit: ClassVar[str] = "target token"

    def _positions_of(self, engine: Engine) -> int | None:
        return engine.max_target_positions

    def has_output(self, source: EncodedLine) -> bool:
        """Always: an empty beginning is one, too."""
        del source
        return True

    def prefixes(
        self, prefix: Sequence[int], sources: Sequence[EncodedLine], *, right_to_left: bool
    ) -> Sequence[Sequence[int]]:
        """`prefix` and then the line, in the order in which the model writes."""
        both = [[*prefix, *source.ids] for source in sources]
        return [ids[::-1] for ids in both] if right_to_left else both

    def with_reference(self, line: Line) -> Line:
        """The line, whose text is scored where it has no reference."""
        return line if line.reference else replace(line, reference=line.text)

    def encode_pair(self, line: Line) -> tuple[EncodedLine, list[int]]:
        """An empty source, and the ids of the line's reference."""
        return EncodedLine("", ()), self.encode_reference(line)

    def has_score(self, line: Line, source: EncodedLine) -> bool:
        """Whether the reference is not blank."""
        del source
        return not is_blank(line.reference or "")


def check_prefix(prefix: str, target: Tokenizer, path: Path, *, right_to_left: bool) -> None:
    """UsageError for a --target-prefix that no output of the checkpoint at a path can begin with."""
    if prefix and right_to_left:
        raise UsageError(f"--target-prefix {prefix}: {path} writes from right to left, and begins at the end")
    unknown = target.special.unknown
    if unknown in target.encode(prefix):
        words = [word for word in prefix.split() if unknown in target.encode(word)]
        raise UsageError(
            f"--target-prefix {prefix}: {path} has no token for {', '.join(words) or prefix}, and so no output begins "
            "with it"
        )
