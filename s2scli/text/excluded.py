"""Phrases that a text must not hold, however it is put together from tokens."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import accumulate

from s2scli.text.tokenizer import Tokenizer
from s2scli.text.word_boundaries import are_joined


class TokenTexts:
    """What each token of a vocabulary adds to a text, and which tokens hold or begin with something.

    The texts are UTF-8 with a character for each byte, so that those of byte tokens are like others.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self.of = [text.decode("ascii", errors="surrogateescape") for text in tokenizer.token_bytes()]
        self._sorted = sorted((text, token) for token, text in enumerate(self.of) if text)
        self._joined = "\0".join(self.of)
        self._starts = list(accumulate((len(text) + 1 for text in self.of[:-1]), initial=0))

    def of_phrase(self, phrase: str) -> str:
        """The text of a phrase without spaces around it."""
        ids = self._tokenizer.encode(phrase)
        if self._tokenizer.special.unknown in ids:
            # Words that are no tokens can be within some.
            text = self._tokenizer.normalization.apply(phrase, self._tokenizer.user_symbols)
            return text.encode().decode("ascii", errors="surrogateescape").strip(" ")
        return "".join(self.of[token] for token in ids).strip(" ")

    def beginning_with(self, text: str) -> Iterator[tuple[str, int]]:
        """The tokens whose texts begin with one, and those texts."""
        for place in range(bisect_left(self._sorted, (text,)), len(self._sorted)):
            if not self._sorted[place][0].startswith(text):
                return
            yield self._sorted[place]

    def holding(self, text: str) -> Iterator[tuple[int, int]]:
        """The tokens whose texts hold one, and where it begins in them."""
        place = self._joined.find(text)
        while place >= 0:
            token = bisect_right(self._starts, place) - 1
            yield token, place - self._starts[token]
            place = self._joined.find(text, place + 1)


class ExcludedPhrases:
    """Phrases, and single tokens, that an output must not hold, as an automaton that reads it token by token.

    A phrase counts as whole words, in scripts without spaces anywhere, and whatever tokens it is made of. What a token
    that ends with the phrase would be followed by is not waited for: that token is excluded too. So a longer word that
    begins with the phrase can only come from tokens that do not end there.
    The states are made as they are asked for, and numbered from 0, the state of the empty output.

    phrases: as `TokenTexts.of_phrase` gives them. is_of_tokens: whether there are none, so that `always` is all of it.
    """

    def __init__(self, texts: TokenTexts, phrases: Iterable[str], tokens: Collection[int] = ()) -> None:
        self._texts = texts
        always = set(tokens)
        at_a_start: set[int] = set()
        wanted = dict.fromkeys(phrases)
        self.is_of_tokens = not any(wanted)
        self._phrases = sorted(wanted)
        for phrase in wanted:
            if not phrase:
                continue
            for token, place in texts.holding(phrase):
                text = texts.of[token]
                end = place + len(phrase)
                if _joined_at(text, place) or _joined_at(text, end):
                    continue
                (always if place or not are_joined("a", _first(phrase)) else at_a_start).add(token)
        # Those that no output may have.
        self.always = frozenset(always)
        self._at_a_start = tuple(at_a_start - always)
        # What the last characters may begin, and whether a word may go on after the last one.
        self._states: list[tuple[frozenset[str], bool]] = []
        self._numbers: dict[tuple[frozenset[str], bool], int] = {}
        self._next: dict[tuple[int, int], int] = {}
        self._banned: list[tuple[int, ...]] = []
        self._number(frozenset(), within_word=False)

    def after(self, state: int, token: int) -> int:
        """The state after one more token."""
        key = (state, token)
        if key not in self._next:
            begun, within_word = self._states[state]
            text = self._texts.of[token]
            going_on = {prefix + text for prefix in begun}
            for place in range(len(text)):
                before = "a" if within_word and not place else _last(text[:place])
                if not are_joined(before, _first(text[place:])):
                    going_on.add(text[place:])
            may_go_on = are_joined(_last(text), "a") if text else within_word
            self._next[key] = self._number(
                frozenset(text for text in going_on if any(self._begun_by(text))), within_word=may_go_on
            )
        return self._next[key]

    def banned(self, state: int) -> tuple[int, ...]:
        """The tokens that must not come next, beside those that must not at all."""
        return self._banned[state]

    def state_of(self, ids: Iterable[int]) -> int:
        """The state after some tokens."""
        state = 0
        for token in ids:
            state = self.after(state, token)
        return state

    def occurs_in(self, ids: Sequence[int]) -> bool:
        """Whether one of the phrases or tokens is in a text of its own."""
        state = 0
        for token in ids:
            if token in self.always or token in self._banned[state]:
                return True
            state = self.after(state, token)
        return False

    def _number(self, begun: frozenset[str], *, within_word: bool) -> int:
        state = (begun, within_word)
        if state not in self._numbers:
            self._numbers[state] = len(self._states)
            self._states.append(state)
            banned = {token for prefix in begun for token in self._completing(prefix)}
            self._banned.append((*banned, *(() if within_word else self._at_a_start)))
        return self._numbers[state]

    def _begun_by(self, prefix: str) -> Iterator[str]:
        """The phrases that begin with some text, and go on after it."""
        for place in range(
            bisect_right(self._phrases, prefix) if prefix else len(self._phrases), len(self._phrases)
        ):
            if not self._phrases[place].startswith(prefix):
                return
            yield self._phrases[place]

    def _completing(self, prefix: str) -> Iterator[int]:
        """The tokens that complete a phrase of which this is there."""
        for phrase in self._begun_by(prefix):
            rest = phrase[len(prefix) :]
            for text, token in self._texts.beginning_with(rest):
                if not are_joined(_last(phrase), _first(text[len(rest) :])):
                    yield token


def _joined_at(text: str, place: int) -> bool:
    return are_joined(_last(text[:place]), _first(text[place:]))


# A character has four bytes at most; half a character is none of a word.
def _first(text: str) -> str:
    return _characters(text[:4])[:1]


def _last(text: str) -> str:
    return _characters(text[-4:])[-1:]


def _characters(text: str) -> str:
    return text.encode("ascii", errors="surrogateescape").decode("utf-8", errors="replace")
