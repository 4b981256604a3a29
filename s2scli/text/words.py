"""Which word of a line each token is part of; words are what white space separates."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from s2scli.text.pieces import words_of_pieces
from s2scli.text.tokenizer import SplittingTokenizer, Tokenizer


@dataclass(frozen=True)
class Words:
    """texts: words in their order; of_token: for each token the place of its word, -1 for a token that is in none."""

    texts: Sequence[str]
    of_token: Sequence[int]


def words_of_line(tokenizer: Tokenizer, text: str, ids: Sequence[int]) -> Words:
    """The words of a line of raw text, for the ids that were made of it, perhaps cut.

    Where a word alone is split as in its line, its tokens are known to be its; else it is told from the decoded text.
    """
    texts, full = text.split(), tokenizer.encode(text)
    of_token = _match(tokenizer, texts, full)
    if of_token is None:
        decoded = tokenizer.decode(full)
        of_token = _places(tokenizer, full, decoded)
        # Normalization may have taken words away.
        texts = texts if len(decoded.split()) == len(texts) else decoded.split()
    return Words(texts, [of_token[place] for place in _kept(full, ids)])


def copied_words(tokenizer: Tokenizer, text: str, ids: Sequence[int]) -> Words:
    """What can be copied of a line in place of an unknown token: whole tokens, or of pieces of words whole words.

    They are as they stand in the raw text where that has one for each; subword models' words without the punctuation
    around them.
    """
    if not isinstance(tokenizer, SplittingTokenizer):
        words = words_of_line(tokenizer, text, ids)
        return Words([strip_punctuation(word) for word in words.texts], words.of_token)
    raw, tokens = text.split(), tokenizer.split_line(text)
    kept = _kept(tokenizer.encode(text), ids)
    texts = raw if len(raw) == len(tokens) else tokens
    word_of = words_of_pieces(texts, tokenizer.piece_kind)
    pieces: list[list[str]] = [[] for _ in range(word_of[-1] + 1)] if word_of else []
    for piece, word in zip(texts, word_of, strict=True):
        pieces[word].append(piece)
    joined = [tokenizer.whole_words(" ".join(own)) for own in pieces]
    return Words(joined, [word_of[place] for place in kept])


def tokens_of_line(tokenizer: SplittingTokenizer, text: str, ids: Sequence[int]) -> list[str]:
    """What the ids of a line, perhaps cut, stand for, one by one, unknown ones too."""
    tokens = tokenizer.split_line(text)
    if len(tokens) == len(ids):
        return tokens
    return [tokens[place] for place in _kept([*map(tokenizer.vocabulary.lookup, tokens)], ids)]


def extend(tokenizer: Tokenizer, text: str, ids: Sequence[int], words: Sequence[str]) -> list[int]:
    """The ids of a line, in which V + n stands for the n-th of some words that the vocabulary does not have."""
    ids, unknown = list(ids), tokenizer.special.unknown
    if not words or unknown not in ids or not isinstance(tokenizer, SplittingTokenizer):
        return ids
    numbers = {word: len(tokenizer) + number for number, word in enumerate(words)}
    tokens = tokens_of_line(tokenizer, text, ids)
    return [
        numbers.get(word, unknown) if token == unknown else token
        for token, word in zip(ids, tokens, strict=True)
    ]


def characters_of_tokens(tokenizer: Tokenizer, ids: Sequence[int], text: str) -> list[int]:
    """For each character of a decoded text that is no white space the place of the token that wrote it."""
    owners: list[int] = []
    for place in range(len(ids)):
        new = _visible(tokenizer.decode(ids[: place + 1])) - len(owners)
        owners += [place] * new
    # What a detokenizer does at the end of a line.
    total = _visible(text)
    return owners[:total] + [len(ids) - 1] * (total - len(owners))


def places_of_words(text: str, parts: Sequence[str]) -> list[list[int]]:
    """For the words of each of the parts that a text is put together from, which of its words they are in."""
    word_of_character = [number for number, word in enumerate(text.split()) for _ in word]
    found, at = [], 0
    for part in parts:
        places = []
        for word in part.split():
            places.append(word_of_character[at])
            at += len(word)
        found.append(places)
    return found


def strip_punctuation(word: str) -> str:
    """A word without the punctuation around it, unless it is nothing else."""
    inside = [place for place, character in enumerate(word) if not is_punctuation(character)]
    return word[inside[0] : inside[-1] + 1] if inside else word


def is_punctuation(character: str) -> bool:
    """Whether a character is of Unicode's categories P*."""
    return unicodedata.category(character).startswith("P")


def _visible(text: str) -> int:
    return sum(map(len, text.split()))


def _match(tokenizer: Tokenizer, texts: Sequence[str], ids: Sequence[int]) -> list[int] | None:
    """The word of each token, if each word is split as it is alone; white space goes with the word after it."""
    of_token: list[int] = []
    for number, word in enumerate(texts):
        own = tokenizer.encode(word)
        start = len(of_token)
        while own and ids[start : start + len(own)] != own:
            if start == len(ids) or not _is_blank(tokenizer, ids[start]):
                return None
            start += 1
        of_token += [number] * (start + len(own) - len(of_token))
    rest = ids[len(of_token) :]
    return [*of_token, *(-1 for _ in rest)] if all(_is_blank(tokenizer, token) for token in rest) else None


def _places(tokenizer: Tokenizer, ids: Sequence[int], decoded: str) -> list[int]:
    """The word of each token in the decoded text."""
    word_of_character = [number for number, word in enumerate(decoded.split()) for _ in word]
    found = [-1] * len(ids)
    for owner, word in reversed(
        list(zip(characters_of_tokens(tokenizer, ids, decoded), word_of_character, strict=True))
    ):
        found[owner] = word
    for place in range(1, len(ids)):
        # Such as the later bytes of a character.
        if found[place] < 0 and not _is_blank(tokenizer, ids[place]):
            found[place] = found[place - 1]
    return found


def _is_blank(tokenizer: Tokenizer, token: int) -> bool:
    return not tokenizer.decode([token]).strip()


def _kept(full: Sequence[int], ids: Sequence[int]) -> list[int]:
    """The places in a line's ids of those that are left of it when it was cut: at its end, or after its tag."""
    ids = list(ids)
    for head in (len(ids), 1, 0):
        kept = [*range(head), *range(len(full) - len(ids) + head, len(full))]
        if [full[place] for place in kept] == ids:
            return kept
    raise ValueError("the ids are not those of the line")
