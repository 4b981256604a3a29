"""What records show of where outputs come from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import isnan

from s2scli.errors import UsageError
from s2scli.inference.engine import Explaining
from s2scli.notes import Note
from s2scli.record import Attribution, Hypothesis
from s2scli.search.request import ScoredOutput
from s2scli.text.tokenizer import Tokenizer


def contrast_of(flag: str, word: str, target: Tokenizer) -> int | None:
    """The id of a word that outputs are held against, None for no word; UsageError where it is no token.

    A piece of the vocabulary is one too, as records and tables show it. flag: by which it is given.
    """
    if not word:
        return None
    ids, unknown = target.encode(word), target.special.unknown
    if len(ids) != 1 or ids[0] == unknown:
        piece = target.vocabulary.lookup(word)
        ids = ids if piece == unknown else [piece]
    if len(ids) == 1 and ids[0] != unknown:
        return ids[0]
    if unknown in ids:
        raise UsageError(f"{flag} {word}: the model has no token for it, and so gives it no probability")
    pieces = " ".join(target.pieces(ids))
    raise UsageError(
        f"{flag} {word}: is no token of the model but {len(ids)} ({pieces}); give a word that is one"
    )


def with_attribution(
    hypothesis: Hypothesis, output: ScoredOutput, explaining: Explaining, target: Tokenizer
) -> Hypothesis:
    """A hypothesis with what its output's explanation says."""
    explanation, settings = output.explanation, explaining.settings
    if explanation is None:
        return hypothesis
    return replace(
        hypothesis,
        attribution=Attribution(
            method=settings.method,
            contrast=settings.contrast,
            source=explanation.source.tolist(),
            prefix=explanation.prefix.tolist(),
            prefix_tokens=[*target.pieces([target.special.start]), *hypothesis.tokens[:-1]],
            error=explanation.error if explanation.steps else None,
            steps=explanation.steps or None,
        ),
    )


def incomplete(outputs: Sequence[ScoredOutput], explaining: Explaining) -> Iterator[Note]:
    """A note where integrated gradients have not come as near to their sum as they should."""
    allowed = explaining.settings.completeness
    found = [item.explanation.error for item in outputs if item.explanation is not None]
    if any(isnan(error) for error in found):
        yield Note(
            "have no integrated gradients, as the model's scores are no numbers",
            "the model's scores are no numbers, and so integrated gradients are none",
        )
        return
    worst = max(found, default=0.0)
    if worst > allowed:
        yield Note(
            f"have integrated gradients that are further than --completeness {allowed:g} from their sum",
            f"integrated gradients are {worst:.2g} from their sum, more than --completeness {allowed:g}",
        )


def num_explained(outputs: Sequence[ScoredOutput]) -> int:
    """How many tokens, or positions of frames, of a source its outputs were traced back to."""
    return next((item.explanation.source.shape[1] for item in outputs if item.explanation is not None), 0)
