"""The one record that generate, score and reports exchange, as a line of JSON."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

VERSION = 1
# NUL, and the halves of characters, which JSON can hold and a line of text cannot.
NOT_TEXT = re.compile("[\0\ud800-\udfff]")
Alignment = list[tuple[int, int]]
"""Pairs of a source and a target place, from 0, by target place."""
# The names of a record's own fields; what an input has under them is not passed through.
FIELDS = {
    "version",
    "id",
    "source",
    "source_tokens",
    "text",
    "reference",
    "score",
    "tokens",
    "token_scores",
    "nbest",
    "attention",
    "alignment",
}


@dataclass(frozen=True, kw_only=True)
class Hypothesis:
    """One output for a source line.

    score: its log-probability, length-normalized as the search ranks it.
    tokens, token_scores: its pieces with the end symbol, and the log-probability (base e) of each.
    alignment, attention, where they were asked for: the source's word, or token, that each of its own attends to most;
    how much each piece attends to each of the record's `attended`.
    """

    text: str
    score: float
    tokens: list[str]
    token_scores: list[float]
    alignment: Alignment | None = None
    attention: list[list[float]] | None = None

    @property
    def pieces(self) -> str:
        """Its pieces, without the end symbol, with a space between each two."""
        return " ".join(self.tokens[:-1])

    @property
    def pharaoh(self) -> str:
        """The alignment as text, 0-0 1-2, the source's place before the target's."""
        return " ".join(f"{source}-{target}" for source, target in self.alignment or ())


@dataclass(frozen=True, kw_only=True)
class Record:
    """A source line, numbered from 0, with its hypotheses, best first, and its reference if there is one.

    given_reference: the reference as the input has it, where that is in pieces of words; reference has whole words.
    source_tokens, reference_tokens: the pieces that source, as the model saw it, and reference are made of.
    attended: those of the source with the end symbol, where the hypotheses have their attention over them.
    extra: fields of the input that go into the JSON as they are, but for those with the name of one of ours.
    """

    id: int
    source: str
    hypotheses: list[Hypothesis] = field(default_factory=list)
    reference: str | None = None
    given_reference: str | None = None
    source_tokens: list[str] = field(default_factory=list)
    reference_tokens: list[str] = field(default_factory=list)
    attended: list[str] = field(default_factory=list)
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The best hypothesis as text; the empty line for an empty source."""
        return self.hypotheses[0].text if self.hypotheses else ""

    def to_json(self) -> str:
        """The record as one line of JSON; `nbest` is there when there is more than one hypothesis."""
        fields: dict[str, Any] = {"version": VERSION, "id": self.id, "source": self.source, "text": self.text}
        if self.reference is not None:
            fields["reference"] = self.reference
        if self.hypotheses:
            best = self.hypotheses[0]
            fields |= {
                "score": round(best.score, 6),
                "tokens": best.tokens,
                "token_scores": [round(score, 6) for score in best.token_scores],
            } | self._attention(best)
        if len(self.hypotheses) > 1:
            fields["nbest"] = [
                {"text": item.text, "score": round(item.score, 6)}
                | ({"tokens": item.tokens} if item.attention is not None else {})
                | self._attention(item, with_source=False)
                for item in self.hypotheses
            ]
        fields |= {name: value for name, value in self.extra.items() if name not in FIELDS}
        return to_line(fields)

    def _attention(self, item: Hypothesis, *, with_source: bool = True) -> dict[str, Any]:
        """What was asked for of a hypothesis's attention."""
        fields: dict[str, Any] = {} if item.alignment is None else {"alignment": item.pharaoh}
        if item.attention is not None:
            fields |= {"source_tokens": self.attended} if with_source else {}
            fields["attention"] = item.attention
        return fields

    def to_fairseq(self) -> str:
        """The record as fairseq-generate prints it, its scores in base 2.

        S-id source pieces, T-id reference pieces, and for each hypothesis H-id score and pieces, D-id score and text,
        P-id the score of each piece and of the end, A-id the alignment where it was asked for.
        """
        lines = [f"S-{self.id}\t{' '.join(self.source_tokens)}"]
        if self.reference is not None:
            lines.append(f"T-{self.id}\t{' '.join(self.reference_tokens)}")
        for item in self.hypotheses:
            score = round(item.score / math.log(2), 6)
            token_scores = (f"{token_score / math.log(2):.4f}" for token_score in item.token_scores)
            lines += [
                f"H-{self.id}\t{score}\t{item.pieces}",
                f"D-{self.id}\t{score}\t{item.text}",
                f"P-{self.id}\t{' '.join(token_scores)}",
            ]
            if item.alignment is not None:
                lines.append(f"A-{self.id}\t{item.pharaoh}")
        return "\n".join(lines)


def to_line(fields: Mapping[str, Any]) -> str:
    """Values as one line of JSON."""
    text = json.dumps(fields, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        # Half of a character, which JSON may hold, and UTF-8 may not: it goes out escaped as it came in.
        return json.dumps(fields)
    return text
