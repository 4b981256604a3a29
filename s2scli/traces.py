"""What a beam search did, step by step, and what it made of an output that was wished for: without torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from s2scli.notes import Note
from s2scli.record import to_line

VERSION = 1
# What may become of an extension, and what that means.
KEPT, ENDED, BEAM, LATE, RULE, OVER = "kept", "ended", "beam", "late", "rule", "over"
FATES = {
    KEPT: "is extended further",
    ENDED: "ended, and is an output",
    BEAM: "pruned: not among the best of the beam",
    LATE: "pruned: ended, but not among the best of the beam",
    RULE: "pruned: by a rule, as --min-len, --no-repeat-ngram-size or --exclude",
    OVER: "pruned: the search was over",
}
Names = Callable[[Sequence[int]], list[str]]
"""The pieces that ids are."""


@dataclass(frozen=True)
class TracedExtension:
    """An extension of a hypothesis by a token.

    parent: which of the step before it extends, by its index among `extensions`; -1: there was none before. score: the
    sum of its tokens' log-probabilities. fate: one of FATES. behind: of one that the beam pruned, how far its score is
    behind the last that was kept.
    """

    parent: int
    token: int
    score: float
    fate: str
    behind: float = 0.0


@dataclass(frozen=True)
class TracedStep:
    """The best extensions of all hypotheses by one token, best first: twice as many as the beam is wide, or more."""

    extensions: list[TracedExtension]

    @property
    def kept(self) -> list[TracedExtension]:
        """Those that are extended further."""
        return [item for item in self.extensions if item.fate == KEPT]


@dataclass(frozen=True)
class ForcedToken:
    """A token of an output that is given, or one that is asked for in its place, as the model sees it there.

    rank: its place among all tokens, from 1, the most probable first and of equals the lower id; log_p: its
    log-probability, and best and best_log_p: the most probable token.
    """

    token: int
    rank: int
    log_p: float
    best: int
    best_log_p: float

    @property
    def cost(self) -> float:
        """What is lost by it against the most probable token, in nats."""
        return self.best_log_p - self.log_p


@dataclass(frozen=True)
class Wished:
    """An output that was wished for: its tokens, and its score as outputs have theirs.

    left: the step, from 0, at which its beginning was pruned, with the fate it had, None where it was among the
    candidates no more; None: never.
    """

    tokens: list[ForcedToken]
    score: float
    left: int | None = None
    fate: str | None = None


@dataclass(frozen=True)
class BeamTrace:
    """What a search did. outputs: ids with the end symbol and score, best first. wished: see Wished.

    word: of each token of the best output, and of what comes after it, a word in its place.
    """

    beam: int
    steps: list[TracedStep] = field(default_factory=list)
    outputs: list[tuple[list[int], float]] = field(default_factory=list)
    wished: Wished | None = None
    word: list[ForcedToken] = field(default_factory=list)

    def tokens_at(self, step: int, index: int) -> list[int]:
        """The tokens of an extension, by its step and its index there."""
        ids: list[int] = []
        while index >= 0:
            item = self.steps[step].extensions[index]
            ids.append(item.token)
            step, index = step - 1, item.parent
        return ids[::-1]

    @property
    def verdict(self) -> str:
        """What is to blame where the wished output is not the best: "search", "model", or "" where there is none.

        A search error is one where the model gives the wished output a better score than to what was found (Stahlberg
        and Byrne 2019); otherwise the model prefers what was found. "none": it was found.
        """
        if self.wished is None or not self.outputs:
            return ""
        ids, score = self.outputs[0]
        if ids == [item.token for item in self.wished.tokens]:
            return "none"
        return "search" if self.wished.score > score else "model"


@dataclass(frozen=True, kw_only=True)
class TracedLine:
    """A line with what the search for its output did.

    names: the pieces that ids are. word: what was asked for. notes: what is to be said of the line, as that it was cut;
    `warnings` in JSON, where there are any.
    """

    id: int
    source: str
    text: str
    trace: BeamTrace
    names: Names
    word: str = ""
    notes: Sequence[Note] = ()

    def to_json(self) -> str:
        """The whole trace as one line of JSON."""
        trace = self.trace
        fields: dict[str, Any] = {
            "version": VERSION,
            "id": self.id,
            "source": self.source,
            "text": self.text,
            "beam": trace.beam,
            "outputs": [
                {"tokens": self.names(ids), "score": round(score, 6)} for ids, score in trace.outputs
            ],
            "steps": [[self._extension(item) for item in step.extensions] for step in trace.steps],
        }
        if trace.wished is not None:
            wished = trace.wished
            fields["wished"] = {
                "verdict": trace.verdict,
                "score": round(wished.score, 6),
                "left_step": wished.left,
                "left_by": wished.fate,
                "tokens": [self._forced(item) for item in wished.tokens],
            }
        if self.notes:
            fields["warnings"] = [note.text for note in self.notes]
        if self.word:
            fields["word"] = {"text": self.word, "instead_of": [self._forced(item) for item in trace.word]}
        return to_line(fields)

    def _extension(self, item: TracedExtension) -> dict[str, Any]:
        (token,) = self.names([item.token])
        fields = {"parent": item.parent, "token": token, "score": round(item.score, 6), "fate": item.fate}
        return fields | ({"behind": round(item.behind, 6)} if item.fate == BEAM else {})

    def _forced(self, item: ForcedToken) -> dict[str, Any]:
        token, best = self.names([item.token, item.best])
        fields = {"token": token, "rank": item.rank, "log_p": round(item.log_p, 6)}
        return fields | {"best": best, "cost": round(item.cost, 6)}
