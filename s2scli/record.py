"""The one record that generate, score and reports exchange, as a line of JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Hypothesis:
    """One output for a source line.

    score: its log-probability, length-normalized as the search ranks it.
    tokens, token_scores: its pieces with the end symbol, and the log-probability (base e) of each.
    """

    text: str
    score: float
    tokens: list[str]
    token_scores: list[float]


@dataclass(frozen=True, kw_only=True)
class Record:
    """A source line, numbered from 0, with its hypotheses, best first, and its reference if there is one."""

    id: int
    source: str
    hypotheses: list[Hypothesis] = field(default_factory=list)
    reference: str | None = None

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
            }
        if len(self.hypotheses) > 1:
            fields["nbest"] = [{"text": item.text, "score": round(item.score, 6)} for item in self.hypotheses]
        return json.dumps(fields, ensure_ascii=False)
