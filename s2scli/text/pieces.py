"""Text that comes split into pieces of words: how pieces are marked, recognized and joined again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise

SUBWORD_NMT, SENTENCEPIECE, NONE = "subword-nmt", "sentencepiece", "none"
PIECES = (SUBWORD_NMT, SENTENCEPIECE, NONE)
# subword-nmt marks a piece that its word goes on after; SentencePiece one that a space goes before.
GOES_ON, SPACE_BEFORE = "@@", "\u2581"
# Text of whole words has next to none of either. The English side of a corpus with 10,000 merges had 5 % with "@@".
_SHARE = 0.02


def recognize(lines: Iterable[str], least: float = _SHARE) -> tuple[str, float]:
    """The kind of pieces that text is in, `none` for whole words, and the share of its tokens that have the mark."""
    counts: Counter[str] = Counter()
    total = 0
    for line in lines:
        for token in line.split():
            total += 1
            if token.endswith(GOES_ON):
                counts[SUBWORD_NMT] += 1
            elif token.startswith(SPACE_BEFORE):
                counts[SENTENCEPIECE] += 1
    kind, number = counts.most_common(1)[0] if counts else (NONE, 0)
    return (kind, number / total) if total and number >= least * total else (NONE, 0.0)


def join_pieces(text: str, kind: str) -> str:
    """A line of pieces with a space between each two as whole words, as fairseq's --remove-bpe has it."""
    if kind == SUBWORD_NMT:
        return f"{text} ".replace(f"{GOES_ON} ", "").rstrip(" ")
    if kind == SENTENCEPIECE:
        return text.replace(" ", "").replace(SPACE_BEFORE, " ").strip(" ")
    return text


def words_of_pieces(pieces: Sequence[str], kind: str) -> list[int]:
    """For each piece of a line the number of its word, from 0."""
    if not pieces or kind == NONE:
        return [*range(len(pieces))]
    numbers = [0]
    for before, piece in pairwise(pieces):
        goes_on = before.endswith(GOES_ON) if kind == SUBWORD_NMT else not piece.startswith(SPACE_BEFORE)
        numbers.append(numbers[-1] + (not goes_on))
    return numbers


def text_of_piece(piece: str, kind: str) -> str:
    """What a piece adds to a text, whatever it follows; the space between two words goes to one of them."""
    if kind == SUBWORD_NMT:
        return piece.removesuffix(GOES_ON) if piece.endswith(GOES_ON) else f"{piece} "
    if kind == SENTENCEPIECE:
        return piece.replace(SPACE_BEFORE, " ")
    return f" {piece}"
